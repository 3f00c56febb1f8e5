"""A run of several points: its blocks, what is read of it, and what is made of it."""

from dataclasses import replace
from functools import partial

import pytest

from nnbench.contract.errors import IncomparableError, NnbenchError, ResultsError
from nnbench.figures import metrics
from nnbench.records.cells import Status
from nnbench.records.runs import Entry
from nnbench.runs import comparison, scaling, schedule, store
from nnbench.runs.run import Run
from nnbench.runs.sweep import Sweep
from tests.cells import points_of_toy
from tests.nnbench.runs.test_schedule_several import Several

POINTS = points_of_toy(4, 8, 16)
NAMES = ["first", "second"]
CRASHED = {"status": Status.CRASHED, "message": "killed"}
SKIPPED = {"status": Status.SKIPPED, "message": "no such network"}


@pytest.fixture
def begin(tmp_path, make_info, make_plan, answer):
    """Give a function that runs two rounds at three points; it gives what came, in order."""

    def go(outcome_of=lambda _: CRASHED, start=schedule.run, enough=schedule.never, **changes):
        asked = {"rounds": 2, "seed": 7, "baseline": "first", **changes}
        info = replace(make_info(*NAMES, **asked), points=POINTS)
        if start is schedule.resume:
            info = store.read_info(tmp_path / "run")
        seen = []

        def note(spec):
            seen.append((spec.round, spec.point, spec.label))
            return outcome_of(spec)

        answer(note)
        entries = [Entry(label=name, backend=name) for name in NAMES]
        try:
            start(make_plan(info, entries), tmp_path / "run", lambda _: None, enough)
        except KeyboardInterrupt:
            seen.append("interrupted")
        return seen

    return go


def blocks(seen):
    return [*dict.fromkeys(each[:2] for each in seen if each != "interrupted")]


def test_a_round_has_a_block_of_each_point(begin, tmp_path):
    seen = begin()
    assert blocks(seen) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    cells = list(store.read_cells(tmp_path / "run"))
    assert [(c.round, c.point, c.backend) for c in cells] == seen
    assert {c.workload for c in cells} == {point.workload.name for point in POINTS}
    assert {(c.round, c.seed) for c in cells} == {(0, 7), (1, 8)}  # as a run of its own would have


def test_each_point_has_its_dataset_on_disk(begin, tmp_path):
    begin()
    info = store.read_info(tmp_path / "run")
    assert len({point.dataset_sha256 for point in info.points} - {""}) == 1
    assert (info.schema_version, len(info.points)) == (3, 3)
    with pytest.raises(ValueError, match="too many values"):
        _ = info.workload  # whoever forgets that there are several


def test_a_sweep_that_was_interrupted_goes_on_where_it_was(begin, tmp_path):
    def stop(spec):
        if (spec.round, spec.point) == (1, 1):
            raise KeyboardInterrupt
        return CRASHED

    assert begin(stop)[-1] == "interrupted"
    assert blocks(begin(start=schedule.resume)) == [(1, 1), (1, 2)]
    cells = [c for c in store.read_cells(tmp_path / "run") if c.final]
    assert len({(c.round, c.point, c.backend) for c in cells}) == len(cells) == 12


def test_what_a_point_does_not_support_goes_on_at_others(begin, tmp_path):
    seen = begin(lambda s: SKIPPED if (s.label, s.point) == ("second", 1) else CRASHED)
    labels = {at: {each[2] for each in seen if each[:2] == (1, at)} for at in range(3)}
    assert labels == {0: {*NAMES}, 1: {"first"}, 2: {*NAMES}}
    rows = {(row.hidden, row.backend): row for row in Sweep.open(tmp_path / "run").every("timing")}
    assert rows["8", "second"].status.startswith("skipped")
    assert rows["16", "second"].status.startswith("crashed")


def test_a_backend_without_a_device_is_told_of_at_each_point(begin, tmp_path):
    begin(unavailable={"second": "no device"})
    told = [c.point for c in store.read_cells(tmp_path / "run") if c.backend == "second"]
    assert told == [0, 1, 2]
    run = Sweep.open(tmp_path / "run")
    assert [point.of("second")[0].message for point in run] == ["no device"] * 3


def test_a_point_ends_when_there_is_enough_of_it(begin):
    asked = []

    def enough(run, _):
        asked.append((run.setting["hidden"], len(run.cells)))
        return run.setting["hidden"] == "8" and len(run.cells) >= 2

    assert blocks(begin(enough=enough)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]
    assert [count for hidden, count in asked if hidden == "8"][:2] == [0, 2]


def test_a_block_that_is_lost_runs_again_at_its_point(tmp_path, make_info, make_plan, make_cell):
    lost = iter([Status.LOST])  # the first block that is over

    def status_of(_, label):
        return Status.OK if label else next(lost, Status.OK)

    executor = Several(make_cell, 4, lambda round_: -round_, status_of)
    info = replace(make_info(*NAMES, rounds=2, baseline="first"), points=POINTS)
    entries = [Entry(label=name, backend=name) for name in NAMES]
    plan = make_plan(info, entries)._replace(executor=executor)
    schedule.run(plan, tmp_path / "run", lambda _: None)
    cells = [*store.read_cells(tmp_path / "run")]
    assert [(c.point, c.round, c.final) for c in cells[:2]] == [(0, 1, False)] * 2
    final = {(c.point, c.round, c.backend): c.block_attempt for c in cells if c.final}
    assert len(final) == 12
    assert {place for place, attempt in final.items() if attempt} == {(0, 1, n) for n in NAMES}


TIMES = {"a": (1.0, 2.0, 4.0), "b": (2.0, 2.5, 3.0)}


def test_each_point_is_read_as_a_run_of_its_own(write_sweep):
    run = Sweep.open(write_sweep(**TIMES))
    assert [point.setting for point in run] == [{"hidden": "4"}, {"hidden": "8"}, {"hidden": "16"}]
    assert [len(point.cells) for point in run] == [8, 8, 8]
    assert [[row.backend for row in point.ranked] for point in run] == [
        *(["a", "b"], ["a", "b"], ["b", "a"])
    ]
    assert [len(list(point.attempts())) for point in run] == [8, 8, 8]
    found = [(row.hidden, row.backend, row.rank) for row in run.every("timing")]
    assert found[:2] == [("4", "a", 1), ("4", "b", 2)]
    for table in (*run.tables, run.pairs_table):
        assert [column.name for column in table.columns][:2] == ["hidden", "backend"]
    assert {table.name: len(table.rows) for table in run.tables}["timing"] == 6


def test_values_of_an_axis_are_written_as_options_take_them(write_sweep):
    points = [
        replace(
            POINTS[0], workload=replace(POINTS[0].workload, batch_size=size, name=f"toy+{size}")
        )
        for size in (64, 4096)
    ]
    run = Sweep.open(write_sweep(points=points, a=(1.0, 2.0)))
    [table] = [table for table in run.tables if table.name == "timing"]
    assert [table.columns[0].text(row) for row in table.rows] == ["64", "4096"]


def test_one_point_is_asked_for_where_one_is_needed(write_sweep):
    run = Sweep.open(folder := write_sweep(**TIMES))
    with pytest.raises(
        NnbenchError, match=r"has 3 points \(hidden 4; hidden 8; hidden 16\): choose"
    ):
        _ = run.alone
    with pytest.raises(ResultsError, match="has 3 points, and this takes one"):
        Run.open(folder)
    assert run.at(chosen={"hidden": "8"}).alone.setting == {"hidden": "8"}
    assert run.at("toy-sigmoid+hidden=16").alone.setting == {"hidden": "16"}
    assert len(run.at("toy-sigmoid").runs) == 3


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"workload": "mnist"}, "has no workload 'mnist'; known: toy-sigmoid.hidden=4, toy-"),
        ({"chosen": {"hiden": "8"}}, "no axis 'hiden'; known: workload, dataset, hidden"),
        ({"chosen": {"hidden": "9"}}, "has no point with hidden=9; known: 4, 8, 16"),
    ],
)
def test_points_that_are_not_there_are_told(write_sweep, chosen, message):
    with pytest.raises(NnbenchError, match=message):
        Sweep.open(write_sweep(**TIMES)).at(**chosen)


def test_a_cell_of_no_point_is_damage(write_sweep, make_cell):
    folder = write_sweep(**TIMES)
    store.append(folder, make_cell("a", point=3))
    with pytest.raises(ResultsError, match="a cell is of point 3 of 3"):
        Sweep.open(folder)


def crossed(write_sweep, **seconds):
    points = points_of_toy(4, 8, 16, 32, 64)
    return scaling.sentences(Sweep.open(write_sweep(points=points, **seconds)))


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ((1, 1, 1, 1, 1), (2, 2, 2, 2, 2), ["a leads at every hidden"]),
        ((1, 1, 3, 3, 3), (2, 2, 2, 2, 2), ["along hidden, a leads to 8, then b"]),
        # The same at 16: who is ahead there by a hair has not overtaken anybody.
        ((1, 1, 2.001, 3, 3), (2, 2, 2, 2, 2), ["along hidden, a leads to 8, b from 32 on"]),
        ((1, 1, 1.999, 3, 3), (2, 2, 2, 2, 2), ["along hidden, a leads to 8, b from 32 on"]),
        (
            (1, 3, 1, 1, 1),
            (2, 2, 2, 2, 2),
            ["along hidden, a leads to 4, then b; b leads to 8, then a"],
        ),
        # Never apart, or only on one side.
        ((2, 2, 2, 2.001, 2.001), (2.001, 2.001, 2.001, 2, 2), []),
        ((1, 2, 2, 2.001, 2.001), (2, 2.001, 2.001, 2, 2), []),
    ],
)
def test_crossings_are_told_where_both_sides_differ(write_sweep, a, b, told):
    assert crossed(write_sweep, a=a, b=b) == told


def test_points_that_differ_in_another_axis_are_apart(write_sweep):
    points = [replace(point, threads=n) for n in (1, 2) for point in POINTS]
    times = {name: own + own for name, own in TIMES.items()}
    run = Sweep.open(write_sweep(points=points, **times))
    first, second = scaling.panels(run)
    assert (first.axis, first.title, second.title) == ("hidden", "threads 1", "threads 2")
    assert [place for place, _ in second.points] == [4.0, 8.0, 16.0]
    assert scaling.sentences(run)[1] == "threads 2: along hidden, a leads to 8, then b"


def test_equal_points_are_compared_and_the_others_are_told(write_sweep):
    base = Sweep.open(write_sweep("base", POINTS[:2], **TIMES))
    slower = {name: tuple(2 * s for s in own[1:]) for name, own in TIMES.items()}
    new = Sweep.open(write_sweep("new", POINTS[1:], **slower))
    pairs = comparison.pair(base, new)
    assert (pairs.base, pairs.new) == (
        ["toy-sigmoid+hidden=4, 1 thread"],
        ["toy-sigmoid+hidden=16, 1 thread"],
    )
    [(one, other)] = pairs.common
    assert one.info.workload == other.info.workload
    changes = comparison.compare_points(pairs, metrics.parse_gates(["train_s_per_epoch:5%"]), 0.01)
    assert {(c.backend, c.point, c.outcome.value) for c in changes} == {
        ("a", "hidden 8", "regression"),
        ("b", "hidden 8", "regression"),
    }
    with pytest.raises(IncomparableError, match="the runs have no point in common"):
        comparison.pair(base.at(chosen={"hidden": "4"}), new)
    whole = partial(comparison.pair, base)
    assert len(whole(base).common) == 2
