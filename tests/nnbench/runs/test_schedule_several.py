"""Blocks that run side by side come in out of order: what ends a run, or leaves a backend out, does not depend on that."""

from dataclasses import replace

import pytest

from nnbench import catalog, hookimpl
from nnbench.data import seeding
from nnbench.execution.executor import LocalExecutor
from nnbench.records.cells import Status
from nnbench.records.events import BlockLost, CellFinished, Queue
from nnbench.records.runs import Block, Entry
from nnbench.runs import schedule, store
from tests.cells import load_again, read_final

NAMES = ["numpy", "second", "third"]
ENTRIES = [Entry(label=name, backend=name) for name in NAMES]
TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)


class Several(LocalExecutor):
    """Runs as many blocks at once as there is room for; those come in first that come first by a key."""

    def __init__(self, make_cell, slots, key, status_of):
        super().__init__()
        self.make_cell, self.room, self.key, self.status_of = make_cell, slots, key, status_of
        self.orders: dict[int, list[str]] = {}

    def run(self, blocks):
        running: list[Block] = []
        yield Queue(slots=self.room)
        while True:
            while len(running) < self.room and (block := next(blocks, None)):
                self.orders[block.round] = [entry.label for entry in block.entries]
                running.append(block)
            if not running:
                return
            block = min(running, key=lambda each: self.key(each.round))
            running.remove(block)
            if self.status_of(block.round, "") is Status.LOST:
                yield BlockLost(block, "gone", "node1")
                continue
            for position, entry in enumerate(block.entries):
                status = self.status_of(block.round, entry.label)
                cell = self.make_cell(
                    entry.label,
                    round=block.round,
                    point=block.point,
                    seed=block.seed,
                    position=position,
                    block_attempt=block.attempt,
                )
                yield CellFinished(replace(cell, status=status))


def well(*_):
    return Status.OK


@pytest.fixture
def folder(tmp_path):
    """Give where the run is."""
    return tmp_path / "run"


@pytest.fixture
def run(folder, make_info, make_plan, make_cell, monkeypatch):
    """Give a function that starts or resumes a run; it returns its executor."""
    monkeypatch.setattr("nnbench.execution.loading.load", load_again)

    def go(
        enough=schedule.never, *, slots=1, key=int, status_of=well, rounds=10, start=schedule.run
    ):
        info = make_info(*NAMES, workload=TOY, rounds=rounds, seed=7)
        if start is schedule.resume:
            info = store.read_info(folder)
        executor = Several(make_cell, slots, key, status_of)
        start(make_plan(info, ENTRIES)._replace(executor=executor), folder, lambda _: None, enough)
        return executor

    return go


def last_first(round_):
    return -round_


@pytest.mark.parametrize("key", [int, lambda round_: round_ ^ 1, lambda round_: round_ % 3])
def test_a_run_ends_by_its_first_rounds_in_their_order_whichever_come_in_first(run, key):
    seen = []

    def enough(so_far, _):
        seen.append([cell.round for cell in so_far.cells[:: len(NAMES)]])
        return len(seen[-1]) >= 4

    run(enough, slots=3, key=key)
    assert max(map(len, seen)) >= 4
    assert all(sorted(rounds) == [*range(len(rounds))] for rounds in seen)


def test_blocks_of_fast_machines_alone_end_no_run(run):
    shown = []

    def enough(so_far, times):
        shown.append(({cell.round for cell in so_far.cells}, times.given))
        return len(shown[-1][0]) >= 3

    executor = run(enough, slots=3, key=last_first)  # the first round comes in last
    assert executor.orders.keys() == {*range(10)}
    assert all(not rounds for rounds, _ in shown)


def test_a_run_goes_on_if_the_blocks_that_came_in_since_have_changed_what_it_shows(run):
    def enough(so_far, _):
        return len({cell.round for cell in so_far.cells}) not in {0, 1, 3, 4, 5}

    assert run(enough, slots=4).orders.keys() == {*range(9)}


def test_nobody_is_asked_again_before_a_block_has_come_in(run):
    asked = []

    def enough(so_far, _):
        asked.append(len(so_far.cells))
        return True

    assert not run(enough).orders
    assert asked == [0]


def test_round_that_is_lost_for_good_is_not_waited_for(run):
    def lost(round_, _):
        return Status.LOST if round_ == 1 else Status.OK

    def enough(so_far, _):
        return len({cell.round for cell in so_far.cells if cell.status.ran}) >= 3

    assert run(enough, status_of=lost).orders.keys() == {0, 1, 2, 3}


def stops(*rounds):
    """Return what becomes of cells of which the budget ends one backend's, in some rounds."""

    def status_of(round_, label):
        return Status.BUDGET if label == "second" and round_ in rounds else Status.OK

    return status_of


def rounds_of(executor, name):
    return sorted(round_ for round_, labels in executor.orders.items() if name in labels)


@pytest.mark.parametrize(
    ("slots", "key", "stopped", "made"),
    [
        (1, int, range(10), [0, 1, 2]),
        (3, int, range(10), [0, 1, 2, 3, 4]),
        (3, last_first, range(10), [0, 1, 2, 3, 4]),
        (3, last_first, [9], [*range(10)]),
        (1, int, [0, 4, 5], [*range(6)]),
    ],
)
def test_backend_is_left_out_when_the_budget_has_stopped_it_in_three_blocks(
    run, slots, key, stopped, made
):
    executor = run(slots=slots, key=key, status_of=stops(*stopped))
    assert rounds_of(executor, "second") == made
    assert rounds_of(executor, "third") == [*range(10)]


def test_order_within_a_block_is_that_of_a_serial_run(run):
    executor = run(slots=4, key=last_first, status_of=stops(*range(10)))
    for round_, labels in executor.orders.items():
        assert labels == [name for name in seeding.block_order(NAMES, 7 + round_) if name in labels]


def test_slow_backend_stays_left_out_of_a_run_whose_rounds_came_in_out_of_order(run, folder):
    def five_are_enough(_, times):
        return times.given == 5

    first = run(five_are_enough, slots=3, key=last_first, status_of=stops(*range(10)))
    assert rounds_of(first, "second") == [*range(5)]
    path = folder / "cells.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"round":1' not in line))
    kept: list[tuple[int, str]] = []

    class Listening:
        @hookimpl
        def nnbench_cell_kept(self, result):
            kept.append((result.round, result.backend))

    listening = Listening()
    catalog.manager().register(listening)
    try:
        resumed = run(slots=3, status_of=stops(*range(10)), start=schedule.resume)
    finally:
        catalog.manager().unregister(listening)
    assert resumed.orders.keys() == {1, *range(5, 10)}
    assert rounds_of(resumed, "second") == []
    assert len(kept) == len(set(kept)) == 4 * len(NAMES)
    assert len(read_final(folder)) == 10 * 2 + 4
