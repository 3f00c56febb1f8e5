"""Blocks whose machine is lost: they run again, whole, and count once; what is lost for good is no backend's fault."""

import itertools
from dataclasses import replace

import pytest

from nnbench import catalog, hookimpl
from nnbench.contract.errors import ExecutorError, ExitCode
from nnbench.data import seeding
from nnbench.execution.executor import LocalExecutor
from nnbench.proof import judge
from nnbench.records.cells import Status
from nnbench.records.events import BlockLost, CellFinished, MachineJoined
from nnbench.records.runs import Entry
from nnbench.runs import schedule, store
from nnbench.runs.run import Run
from nnbench.show.text import cell_line
from tests.cells import load_again, read_final

NAMES = ["numpy", "second"]
ENTRIES = [Entry(label=name, backend=name) for name in NAMES]
TOY = replace(catalog.workloads()["toy-sigmoid"], epochs=1)
GONE = "KilledWorker: its worker died"


class Losing(LocalExecutor):
    """Loses some attempts at blocks; of the others all cells go well, on a machine that comes late."""

    def __init__(self, make_cell, machine, lost, end, found):
        super().__init__()
        self.make_cell, self.machine, self.lost, self.end = make_cell, machine, lost, end
        self.found, self.blocks, self.adopted = found, [], []

    def run(self, blocks):
        self.adopted = [blocks.adopt(block) for block in self.found]
        found = [b for b, is_wanted in zip(self.found, self.adopted, strict=True) if is_wanted]
        blocks = itertools.chain(found, blocks)
        while (block := next(blocks, None)) is not None:
            self.blocks.append(block)
            if (block.round, block.attempt) in self.lost:
                yield BlockLost(block, GONE, "node1")
                continue
            if self.end and block.round == self.end:
                yield BlockLost(block, GONE, "node1")
                raise ExecutorError("the scheduler is gone")
            for name in ("node2", "node3"):
                yield MachineJoined(name, self.machine)
            for position, entry in enumerate(block.entries):
                cell = self.make_cell(
                    entry.label,
                    round=block.round,
                    seed=block.seed,
                    block_attempt=block.attempt,
                    position=position,
                    machine="node2",
                )
                yield CellFinished(cell)


class Runs:
    """Starts or resumes a run of three rounds in which some attempts are lost."""

    def __init__(self, folder, make_info, make_plan, make_cell):
        self.folder, self.make_plan, self.make_cell = folder, make_plan, make_cell
        self.make_info = make_info
        self.blocks = []  #: that were given out, or adopted
        self.adopted = []  #: whether each that was found was

    def __call__(self, *lost, start=schedule.run, end=None, seed=7, found=()):
        info = self.make_info(*NAMES, workload=TOY, rounds=3, seed=seed)
        if start is schedule.resume:
            info = store.read_info(self.folder)
        executor = Losing(self.make_cell, info.machine, lost, end, found)
        plan = self.make_plan(info, ENTRIES)._replace(executor=executor)
        try:
            start(plan, self.folder, lambda _: None)
        finally:
            self.blocks, self.adopted = executor.blocks, executor.adopted
        return list(store.read_cells(self.folder))


@pytest.fixture
def run(tmp_path, make_info, make_plan, make_cell, monkeypatch):
    """Give a function that starts or resumes a run."""
    monkeypatch.setattr("nnbench.execution.loading.load", load_again)
    return Runs(tmp_path / "run", make_info, make_plan, make_cell)


def attempts(cells):
    return [(c.round, c.block_attempt, c.status.value, c.final) for c in cells[:: len(NAMES)]]


def test_lost_block_runs_again_at_once_and_only_its_last_attempt_counts(run):
    cells = run((1, 0), (1, 1))
    assert attempts(cells) == [
        (0, 0, "ok", True),
        (1, 0, "lost", False),
        (1, 1, "lost", False),
        (1, 2, "ok", True),
        (2, 0, "ok", True),
    ]
    assert {c.message for c in cells if c.status is Status.LOST} == {GONE}
    assert [c.machine for c in cells[2:8:2]] == ["node1", "node1", "node2"]
    assert judge.exit_code(Run.open(run.folder).cells, ()) is ExitCode.OK


def test_machines_that_join_at_once_are_written_down_at_once_with_the_first_cell(run, monkeypatch):
    written, rewrite = [], store.rewrite

    def noting(folder, info):
        written.append([*info.machines])
        assert not (folder / store.CELLS).exists()
        rewrite(folder, info)

    monkeypatch.setattr(store, "rewrite", noting)
    run()
    assert written == [["local", "node2", "node3"]]
    assert [*store.read_info(run.folder).machines] == written[0]


def test_block_has_three_attempts_and_is_then_lost_for_good(run):
    cells = run((1, 0), (1, 1), (1, 2))
    assert attempts(cells)[1:5] == [
        (1, 0, "lost", False),
        (1, 1, "lost", False),
        (1, 2, "lost", True),
        (2, 0, "ok", True),
    ]
    done = Run.open(run.folder)
    assert judge.exit_code(done.cells, ()) is ExitCode.BACKEND_FAILED
    rows = done.timing
    assert [row.rounds for row in rows] == [2, 2]  # as if the lost round had not been made
    assert [row.status for row in rows] == ["ok", "ok"]
    assert {row.rank for row in rows} == {1, 2}


def test_line_of_a_lost_cell_says_whether_its_block_runs_again(run):
    cells = run((1, 0), (2, 0), (2, 1), (2, 2))
    lines = [cell_line(c) for c in cells if c.status is Status.LOST and c.backend == "numpy"]
    assert lines[0] == f"round 2 numpy: lost: {GONE}; runs again"
    assert lines[-1] == f"round 3 numpy: lost: {GONE}"


def test_attempts_share_a_seed_that_was_given_and_none_that_is_drawn(run):
    run((1, 0))
    assert [block.seed for block in run.blocks] == [7, 8, 8, 9]


def test_another_attempt_has_another_seed_and_its_order_if_seeds_are_drawn(run):
    run((1, 0), seed=None)
    seeds = [block.seed for block in run.blocks]
    assert len(set(seeds)) == 4
    for block in run.blocks:
        assert [e.label for e in block.entries] == seeding.block_order(NAMES, block.seed)


def test_lost_block_runs_when_the_run_is_resumed(run):
    run((1, 0), (1, 1), (1, 2))
    cells = run(start=schedule.resume)
    assert [(block.round, block.attempt) for block in run.blocks] == [(1, 3)]
    assert {(c.round, c.backend, c.status) for c in cells if c.final} == {
        (round_, name, Status.OK) for round_ in range(3) for name in NAMES
    }


def test_run_whose_engine_is_gone_can_be_resumed(run):
    with pytest.raises(ExecutorError, match="the scheduler is gone"):
        run(end=1)
    assert not any(cell.final for cell in store.read_cells(run.folder) if cell.round == 1)
    run(start=schedule.resume)
    assert [(block.round, block.attempt) for block in run.blocks] == [(1, 1), (2, 0)]
    assert len(read_final(run.folder)) == 3 * len(NAMES)


def test_machine_that_joins_is_written_down_once(run):
    run()
    info = store.read_info(run.folder)
    assert list(info.machines) == ["local", "node2", "node3"]


def test_every_attempt_that_is_lost_is_announced(run, observe):
    class Listening:
        heard: list[object] = []  # noqa: RUF012 - one observer, one list

        @hookimpl
        def nnbench_cell_finished(self, result):
            if result.round == 1:
                self.heard.append((result.status.value, result.final))

    seen = observe(Listening())
    run((1, 0))
    assert seen.heard == [*[("lost", False)] * 2, *[("ok", True)] * 2]


def test_block_that_still_runs_is_adopted_if_it_is_the_next_attempt_at_its_round(run):
    with pytest.raises(ExecutorError):
        run(end=1)
    first, second = run.blocks
    found = [
        first,  # it is finished
        replace(second, attempt=5),
        replace(second, attempt=1),
        replace(second, round=99, attempt=0),
        replace(second, round=2, attempt=0, entries=[Entry(label="x", backend="x")]),
    ]
    run(start=schedule.resume, found=found)
    assert run.adopted == [False, False, True, False, False]
    assert [(block.round, block.attempt) for block in run.blocks] == [(1, 1), (2, 0)]
    assert len(read_final(run.folder)) == 3 * len(NAMES)
