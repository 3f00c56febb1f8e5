"""A run that is opened: its cells are read once, and their losses only where something asks."""

import warnings
from dataclasses import replace

import pytest

from nnbench import files
from nnbench.files import TornLineWarning
from nnbench.runs import store
from nnbench.runs.run import Run
from nnbench.runs.sweep import Sweep


@pytest.fixture
def readings(monkeypatch):
    """Give a list that has an entry for each time that cells are read."""
    read, real = [], files.read_lines

    def watched(path, **options):
        read.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(files, "read_lines", watched)
    return read


@pytest.fixture
def folder(write_run, make_cell, make_failed):
    """Give a run of two backends and three rounds, with an attempt that does not count."""
    cells = [
        make_cell(name, train_s=s, round=i)
        for i in range(3)
        for name, s in (("numpy", 2.0), ("a", 1.0))
    ]
    disturbed = make_cell("a", disturbed=True, final=False, round=3)
    return write_run(*cells, disturbed, make_cell("a", attempt=1, round=3), make_failed("bad"))


def test_cells_count_and_leave_their_losses_on_disk(folder):
    run = Run.open(folder)
    assert [(c.backend, c.round, c.attempt) for c in run.of("a")] == [
        *(("a", 0, 0), ("a", 1, 0), ("a", 2, 0), ("a", 3, 1)),
    ]
    assert [cell.losses for cell in run.cells] == [[]] * 8
    assert [cell.steps for cell in run.cells] == [2] * 7 + [0]


@pytest.fixture
def in_groups(write_run, make_cell, in_turns):
    """Give a function that writes rounds in which ``b`` found no room, and the machine was slow for its group."""

    def write(**changes):
        cells = [
            in_turns(
                make_cell(name, round=i, final=not attempt, attempt=attempt, **more), parts, first
            )
            for i in range(3)
            for name, first, attempt, parts, more in (
                ("numpy", 0, 0, [(1.0, 10), (1.0, 10)], {}),
                ("a", 0, 0, [(2.0, 10), (2.0, 10)], {}),
                ("numpy", 2, 1, [(5.0, 10), (5.0, 10)], changes),
                ("b", 2, 0, [(10.0, 10), (10.0, 10)], {}),
            )
        ]
        return write_run(*cells)

    return write


def ratios(run):
    return {row.backend: row.ratio for row in run.timing}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2.0),
        (
            {"status": "invalid"},
            1.0,
        ),  # nothing wrong is what others are held against: whole cells are
        ({"proof": None}, 1.0),
    ],
)
def test_backend_is_held_against_what_trained_beside_it(in_groups, make_proof, changes, expected):
    run = Run.open(in_groups(**{"proof": make_proof(), **changes}))
    assert ratios(run) == {"numpy": 1.0, "a": 2.0, "b": pytest.approx(expected)}
    assert [cell.backend for cell in run.cells] == ["numpy", "a", "b"] * 3


def test_run_that_goes_on_knows_what_trained_beside(in_groups, make_proof):
    folder = in_groups(proof=make_proof())
    run, added = Sweep.go_on(folder).alone, Run(store.read_info(folder), [])
    for cell in run.attempts():
        added.add(cell)
    assert ratios(run)["b"] == ratios(added)["b"] == pytest.approx(2.0)
    assert [cell.losses for cell in (*run.further, *added.further)] == [[]] * 6
    again = replace(run.further[0], block_attempt=1)
    added.add(again)
    assert [cell for cell in added.further if cell.round == again.round] == [again]


def test_attempts_are_all_there_with_their_losses(folder):
    attempts = list(Run.open(folder).attempts())
    assert [cell.final for cell in attempts].count(False) == 1
    assert [cell.losses for cell in attempts] == [[2.0, 1.0]] * 8 + [[]]


def test_losses_are_those_of_cells_that_count(folder):
    run = Run.open(folder)
    assert list(run.losses({"numpy", "bad"})) == [("numpy", [2.0, 1.0])] * 3
    assert len(list(run.losses({"a"}))) == 4


def test_losses_of_a_run_in_memory_are_those_of_its_cells(make_info, make_cell):
    run = Run(make_info(), [make_cell()])
    assert list(run.losses({"numpy"})) == [("numpy", [2.0, 1.0])]


def test_backends_are_ranked_and_those_without_figures_last(folder):
    run = Run.open(folder)
    assert list(run.groups) == ["a", "numpy", "bad"]
    assert [row.backend for row in run.ranked] == ["a", "numpy"]
    assert run.of("absent") == []


def test_cells_are_not_read_before_something_asks_and_then_once(folder, readings):
    run = Run.open(folder)
    assert readings == []
    for _ in range(2):
        assert len(run.frame) == len(run.timing) == len(run.accuracy) == 3
        assert len(run.cells) == 8
        assert run.warnings == []
    assert readings == [store.CELLS]


def test_torn_line_is_warned_of_once_and_kept(folder):
    with (folder / store.CELLS).open("a") as file:
        file.write('{"backend": "num')
    run = Run.open(folder)
    with pytest.warns(TornLineWarning):
        assert len(run.cells) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(run.attempts())) == 9
        [warning] = run.warnings
    assert warning.endswith("the last line is torn, as by a kill, and left out")


def test_cells_are_added_to_a_run_without_their_losses(folder, make_cell):
    run = Sweep.go_on(folder).alone
    cell = make_cell("numpy", round=4)
    store.append(folder, cell)
    run.add(cell)
    run.add(make_cell("numpy", round=4, final=False))
    assert run.cells[8].losses == []
    assert run.cells == Run.open(folder).cells
    assert cell.losses == [2.0, 1.0]  # observers have it, too


def test_cell_of_a_first_attempt_is_held_against_no_other(folder, make_cell, monkeypatch):
    run = Sweep.go_on(folder).alone
    monkeypatch.setattr(store, "supersedes", pytest.fail)  # a run of many would take their square
    run.add(make_cell("numpy", round=4))
    assert len(run.cells) == 9


def test_torn_line_is_cut_off_before_cells_are_added(folder):
    before = (folder / store.CELLS).read_bytes()
    (folder / store.CELLS).write_bytes(before + b'{"backend"')
    with pytest.warns(TornLineWarning):
        assert len(Sweep.go_on(folder).alone.cells) == 8
    assert (folder / store.CELLS).read_bytes() == before


def test_run_reads_no_cells_and_resuming_it_reads_them_once(call, readings, tmp_path):
    asked = ["-w", "toy-sigmoid", "-b", "numpy", "-r", "2", "--no-progress"]
    assert call("run", *asked, "-o", tmp_path / "run").code == 0
    assert readings == []
    cells = tmp_path / "run" / store.CELLS
    cells.write_bytes(cells.read_bytes().splitlines(keepends=True)[0])
    assert call("run", "--resume", tmp_path / "run").code == 0
    assert readings == [store.CELLS]
    assert len(cells.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        ("show {run}", 1),
        ("show {run} --format json", 1),
        ("compare {run} {run}", 2),  # two runs
        ("export {run} --to csv", 1),
        ("export {run} --to parquet -o {out}", 1),
        ("export {run} --to junit", 1),
        ("export {run} --to bencher", 1),
        ("export {run} --to step-summary -o {out}", 1),
        ("plot {run} -o {out}.svg", 1),
        ("plot {run} -o {out}.svg --figure loss", 2),  # the losses, once more
        ("report {run} -o {out}", 2),
    ],
)
def test_commands_read_cells_once(call, folder, readings, tmp_path, arguments, times):
    call(*arguments.format(run=folder, out=tmp_path / "out").split())
    assert readings == [store.CELLS] * times
