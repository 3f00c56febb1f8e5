"""Cells of a block take turns: one runs at a time, for about as long as each other one; nobody waits in vain."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, replace

import pytest

from nnbench import Backend
from nnbench.execution import ceilings, disturbance, executor, loading, memory, process, turns
from nnbench.execution.executor import LocalExecutor
from nnbench.execution.supervisor import KNOWN, read_stat
from nnbench.execution.tree import STOPPED
from nnbench.records.events import (
    CellEvent,
    CellFinished,
    CellStarted,
    Failed,
    Finished,
    Progress,
    Ready,
)
from nnbench.records.runs import Block, Entry
from tests.cells import TOY, load_again
from tests.nnbench.runs.conftest import Judges
from tests.plugins import helpers


@dataclass
class Trainee:
    """Trains so many parts, each for so long."""

    name: str
    part_s: float
    left: int
    spent_s: float = 0.0

    @property
    def goes_on(self):
        return self.left > 0


def play(*trainees):
    """Have them take turns; give the names of those who trained a part, turn by turn."""
    found = defaultdict(list)
    for each, turn in turns.take(trainees, itertools.count()):
        found[turn].append(each.name)
        each.spent_s += each.part_s
        each.left -= 1
    assert list(found) == list(range(len(found)))
    return list(found.values())


def test_in_a_turn_all_train_for_about_the_same_time():
    half, whole, long = turns.TURN_S / 2, turns.TURN_S, turns.TURN_S * 20
    for turn in play(
        Trainee("half", half, 8), Trainee("whole", whole, 4), Trainee("long", long, 4)
    ):
        assert sorted(turn) == ["half", "half", "long", "whole"]


@pytest.mark.parametrize(
    ("part_s", "parts"), [(0.2, 5), (0.24, 4), (0.3, 3), (0.6, 2), (0.7, 1), (3.0, 1)]
)
def test_turn_ends_where_it_comes_nearest_to_its_length(part_s, parts):
    first, *_ = play(Trainee("a", part_s * turns.TURN_S, 10))
    assert len(first) == parts


def test_parts_of_one_follow_each_other_within_a_turn():
    first, *_ = play(*(Trainee(name, turns.TURN_S / 4, 8) for name in "abc"))
    assert [len(list(group)) for _, group in itertools.groupby(first)] == [4, 4, 4]


def test_who_has_finished_drops_out():
    found = play(Trainee("short", 1.0, 1), Trainee("long", 1.0, 3), Trainee("never", 1.0, 0))
    assert [sorted(turn) for turn in found] == [["long", "short"], ["long"], ["long"]]


def test_order_is_drawn_anew_in_each_turn():
    found = play(*(Trainee(name, 1.0, 60) for name in "ab"))
    assert {tuple(turn) for turn in found} == {("a", "b"), ("b", "a")}


@pytest.fixture
def faulty(monkeypatch, tmp_path):
    """Have workers find the faulty backends, and judges that find all right; leave nothing behind."""
    for key, value in helpers.variables("faulty", mark=tmp_path).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(
        executor, "_backend", lambda e: Backend(name=e.backend, summary="", create=pytest.fail)
    )
    monkeypatch.setattr(executor, "Judges", Judges)
    monkeypatch.setattr(loading, "load", load_again)
    monkeypatch.setattr(ceilings, "measure_speed", lambda result, _: result)
    monkeypatch.setattr(turns, "TURN_S", 0.0)  # a part each
    monkeypatch.setattr(process, "GRACE_S", 1.0)
    yield tmp_path
    left = helpers.survivors(tmp_path)
    for each in left:
        each.kill()
    assert left == []


def make_block(*names, **changes):
    """Ask for a block of some backends; the same one twice has a variant."""
    entries = [Entry(label=name, backend=name.partition("@")[0]) for name in names]
    given = {"workload": TOY, "threads": 1, "round": 0, "seed": 7, "turns": True}
    limits = {"budget_s": 5.0, "timeout_s": 60.0, "baseline": names[0]}
    return Block(entries=entries, **{**given, **limits, **changes})


def run(block):
    """Run a block; give all that happens, and the results."""
    happenings = list(LocalExecutor().run([block]))
    return happenings, [each.result for each in happenings if isinstance(each, CellFinished)]


def turns_of(result):
    return [part.turn for epoch in result.epochs for part in epoch.parts if part.state]


def events(happenings, kind):
    """Return the labels of the cells that said something of a kind, in order."""
    found = [each for each in happenings if isinstance(each, CellEvent)]
    return [each.spec.label for each in found if isinstance(each.event, kind)]


@pytest.mark.usefixtures("faulty")
def test_all_are_set_up_then_train_in_turns_then_are_inspected_one_at_a_time():
    names = ["steady", "numpy", "steady@b"]
    happenings, results = run(make_block(*names))
    order = [
        type(each.event if isinstance(each, CellEvent) else each).__name__ for each in happenings
    ]
    kinds = [kind for kind, _ in itertools.groupby(order) if kind != "EpochFinished"]
    ready = ["CellStarted", "Ready"] * 3
    assert [kind for kind, _ in itertools.groupby(kinds)] == [
        *ready,
        "Progress",
        "Finished",
        "CellFinished",
    ]
    assert events(happenings, Ready) == events(happenings, Finished) == names
    assert [result.backend for result in results] == names
    for position, result in enumerate(results):
        assert (result.status, result.complete, result.position) == ("ok", True, position)
        assert (result.attempt, result.final) == (0, True)
        assert turns_of(result) == list(range(len(turns_of(result))))
        assert len(turns_of(result)) >= 3
        assert result.phases is not None
    assert sorted(events(happenings, Progress)[:3]) == sorted(names)


@pytest.mark.usefixtures("faulty")
@pytest.mark.skipif(not KNOWN, reason="needs Linux")
def test_others_are_stopped_while_one_runs(monkeypatch):
    workers: list[process.Worker] = []
    awake: list[str] = []
    start, go_on = process.Worker.__init__, process.Worker.go_on

    def look(worker):
        """Note whoever is not stopped when another one is let go on, or started."""
        for other in workers:
            if other is not worker and other.process.poll() is None:
                states = [read_stat(pid).state for pid in other.tree.members()]
                awake.extend(state for state in states if state not in STOPPED)

    def started(worker, *given):
        look(worker)
        start(worker, *given)
        workers.append(worker)

    def going(worker):
        look(worker)
        go_on(worker)

    monkeypatch.setattr(process.Worker, "__init__", started)
    monkeypatch.setattr(process.Worker, "go_on", going)
    run(make_block("steady", "numpy", "hangs-at-exit", "leaves-grandchild"))
    assert len(workers) == 4
    assert awake == []


@pytest.mark.usefixtures("faulty")
def test_who_dies_or_hangs_in_its_turn_does_not_harm_the_others():
    names = ["steady", "kills-itself", "raises-in-create", "hangs", "numpy"]
    happenings, results = run(make_block(*names, timeout_s=6.0))
    assert {result.backend: result.status for result in results} == {
        "steady": "ok",
        "kills-itself": "crashed",
        "raises-in-create": "crashed",
        "hangs": "timeout",
        "numpy": "ok",
    }
    failed = events(happenings, Failed)
    assert sorted(failed) == ["hangs", "kills-itself", "raises-in-create"]
    for result in results:
        assert (result.status == "ok") is result.complete
        assert result.final
        if result.backend == "hangs":
            assert 5.0 < result.wall_s < 9.0
        else:
            assert result.wall_s < 5.0  # the others' time is not theirs


@pytest.mark.skipif(not KNOWN, reason="needs Linux")
def test_worker_that_ends_while_it_is_stopped_has_crashed(faulty):
    found = []
    for happening in LocalExecutor().run([make_block("steady", "numpy")]):
        if isinstance(happening, CellStarted) and happening.spec.label == "numpy":
            for victim in helpers.survivors(faulty):
                if "nnbench.worker" in " ".join(victim.cmdline()) and not victim.children():
                    victim.kill()
        if isinstance(happening, CellFinished):
            found.append((happening.result.backend, happening.result.status))
    assert found == [("steady", "crashed"), ("numpy", "ok")]


@pytest.mark.usefixtures("faulty")
def test_disturbed_cell_is_marked_and_not_repeated(monkeypatch):
    monkeypatch.setattr(disturbance, "is_disturbed", lambda _: True)
    happenings, results = run(make_block("steady", "numpy"))
    assert sum(isinstance(each, CellStarted) for each in happenings) == 2
    assert [(r.attempt, r.disturbed, r.final) for r in results] == [(0, True, True)] * 2
    assert all(result.flags for result in results)


@pytest.mark.usefixtures("faulty")
def test_budget_is_of_each_cell():
    workload = replace(TOY, batch_size=1)
    _, results = run(make_block("slow", "steady", workload=workload, budget_s=0.3))
    assert [(r.backend, r.status) for r in results] == [("slow", "budget"), ("steady", "ok")]


@pytest.mark.usefixtures("faulty")
def test_who_finds_no_room_comes_in_further_groups_with_the_baseline(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 0)
    names = ["numpy", "steady", "steady@b", "steady@c"]
    happenings, results = run(make_block(*names, baseline="steady"))
    assert [(r.backend, r.position, r.attempt, r.final) for r in results] == [
        ("numpy", 0, 0, True),
        ("steady", 1, 0, True),
        ("steady", 1, 1, False),
        ("steady@b", 2, 0, True),
        ("steady", 1, 2, False),
        ("steady@c", 3, 0, True),
    ]
    assert {result.status for result in results} == {"ok"}
    assert events(happenings, Ready) == [result.backend for result in results]
    groups = [
        set(turns_of(one)) | set(turns_of(other))
        for one, other in zip(results[::2], results[1::2], strict=True)
    ]
    for before, after in itertools.pairwise(groups):  # a turn names its group
        assert max(before) < min(after)


@pytest.mark.usefixtures("faulty")
def test_baseline_that_failed_does_not_come_again(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 0)
    _, results = run(make_block("kills-itself", "steady", "numpy"))
    assert [(r.backend, r.attempt) for r in results] == [
        ("kills-itself", 0),
        ("steady", 0),
        ("numpy", 0),
    ]


@pytest.mark.usefixtures("faulty")
def test_without_a_baseline_each_group_has_one_cell_at_least(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 0)
    _, results = run(make_block("steady", "numpy", baseline=""))
    assert [(r.backend, r.status) for r in results] == [("steady", "ok"), ("numpy", "ok")]
    assert max(turns_of(results[0])) < min(turns_of(results[1]))


def interrupt(block, at):
    """Run a block until something happens, interrupt it there, and give what is judged all the same."""
    happenings = LocalExecutor().run([block])
    for happening in happenings:
        if at(happening):
            break
    found = [happenings.throw(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        found.extend(happenings)
    return [each.result for each in found]


@pytest.mark.usefixtures("faulty")
def test_interruption_leaves_what_was_trained():
    def is_inspected(happening):
        return isinstance(happening, CellEvent) and isinstance(happening.event, Finished)

    first, second = interrupt(make_block("steady", "numpy"), is_inspected)
    assert [(r.status, r.complete, r.final) for r in (first, second)] == [("ok", True, True)] * 2
    assert first.phases is not None
    assert second.phases is None
    assert second.changed


@pytest.mark.usefixtures("faulty")
def test_interruption_drops_what_was_not_trained_to_its_end():
    def is_over(happening):
        return isinstance(happening, CellEvent) and isinstance(happening.event, Failed)

    [result] = interrupt(make_block("steady", "exits-in-create", "numpy"), is_over)
    assert (result.backend, result.status) == ("exits-in-create", "crashed")


@pytest.mark.usefixtures("faulty")
def test_time_of_a_cell_is_its_own():
    _, results = run(make_block("steady", "numpy", "steady@b"))
    started = [result.started for result in results]
    assert started == sorted(started)
    for result in results:
        timed = sum(p.wall_s + (p.dump_s or 0.0) for e in result.epochs for p in e.parts)
        assert timed < result.wall_s
