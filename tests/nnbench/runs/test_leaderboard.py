"""Who stands how on a leaderboard, and what of the runs is left out."""

import json
import shutil
from dataclasses import replace

import pytest

from nnbench.contract.errors import ExitCode, ResultsError
from nnbench.records.runs import Machine
from nnbench.runs import leaderboard, store


@pytest.fixture
def write(write_run, make_cell):
    """Give a function that writes a run of ``numpy`` and of others, which take so many times as long in each round."""

    def run(name, *, day=1, of=None, more=(), base="numpy", rounds=3, changes=None, **times):
        number = len(name) + 31 * day + sum(map(ord, name))
        cells = [
            make_cell(
                backend,
                round=at,
                seed=at,
                train_s=seconds[at] if isinstance(seconds, list) else seconds * (1 + at / 1000),
                wall_s=1.0 + number,
                **(of or {}),
            )
            for at in range(rounds)
            for backend, seconds in {base: 1.0, **times}.items()
        ]
        started = f"2026-01-{day:02}T00:00:00Z"
        given = {"started": started, "rounds": rounds, "baseline": base, **(changes or {})}
        return write_run(*cells, *more, name=f"runs/{name}", **given)

    return run


def boards(folder):
    """Return the boards of all courses: each backend with the run in which it stands best."""
    found = leaderboard.collect([folder])
    return {
        (course.workload.name, course.threads, course.baseline, board.machine): {
            each.row.backend: each.folder.name for each in board.standings
        }
        for course in found.courses
        for board in course.boards
    }


def test_best_is_who_is_surely_fast_and_not_who_was_lucky(write):
    write("sure", day=1, a=[0.50, 0.51, 0.50], b=0.9)
    folder = write("lucky", day=2, a=[0.45, 0.9, 0.40], b=0.8).parent
    assert boards(folder) == {
        ("mnist", 1, "numpy", "A CPU"): {"a": "sure", "b": "lucky", "numpy": "lucky"}
    }
    [course] = leaderboard.collect([folder]).courses
    assert [each.runs for each in course.boards[0].standings] == [2, 2, 2]
    assert [*course.runs] == [folder / "sure", folder / "lucky"]


def test_what_was_proved_goes_before_what_was_not(write):
    write("before", a=0.1, of={"proof": None}, changes={"proof": None})
    folder = write("proved", a=0.5).parent
    assert boards(folder)["mnist", 1, "numpy", "A CPU"] == {"a": "proved", "numpy": "proved"}


def test_runs_are_held_against_the_baseline_of_the_most_and_others_stand_alone(write):
    write("one", day=1, a=0.5)
    write("two", day=2, a=0.6)
    write("other", day=3, base="a", numpy=2.5)  # has it, too
    folder = write("alone", day=4, base="c", d=0.5).parent
    assert boards(folder) == {
        ("mnist", 1, "numpy", "A CPU"): {"a": "other", "numpy": "other"},
        ("mnist", 1, "c", "A CPU"): {"d": "alone", "c": "alone"},
    }
    [course, _] = leaderboard.collect([folder]).courses
    assert course.boards[0].standings[0].row.ratio == pytest.approx(0.4)


def test_workloads_threads_and_hardware_are_kept_apart_and_software_is_not(write, mnist, machine):
    write("a-1", a=0.5)
    write("newer", day=2, a=0.4, changes={"environment": replace(machine, versions={"x": "9"})})
    write("cpu", a=0.5, changes={"environment": replace(machine, cpu="B CPU", memory_bytes=2**32)})
    write("threads", a=0.5, changes={"threads": 2})
    write("epochs", a=0.5, changes={"workload": replace(mnist, epochs=1)})
    folder = write("wide", a=0.5, changes={"workload": replace(mnist, name="wide")}).parent
    found = [
        [{each.folder.name for each in board.standings} for board in course.boards]
        for course in leaderboard.collect([folder]).courses
    ]
    assert sorted(map(str, found)) == sorted(
        map(str, [[{"newer"}, {"cpu"}], [{"threads"}], [{"epochs"}], [{"wide"}]])
    )


def test_run_on_unlike_machines_stands_on_the_board_of_each(write_run, make_cell, machine):
    cells = [
        make_cell(name, round=at, seed=at, machine=where, train_s=seconds)
        for at, where in enumerate(("x", "y", "x", "y"))
        for name, seconds in (("numpy", 1.0), ("a", 0.5 if where == "x" else 0.2))
    ]
    one, other = (replace(machine, cpu=name) for name in ("A CPU", "B CPU"))
    folder = write_run(*cells)
    info = store.read_info(folder)
    machines = {"x": Machine(environment=one), "y": Machine(environment=other)}
    store.rewrite(folder, replace(info, rounds=4, machines=machines))
    [course] = leaderboard.collect([folder]).courses
    found = {board.machine: board.standings[0].row.ratio for board in course.boards}
    assert found == pytest.approx({"A CPU": 0.5, "B CPU": 0.2})


def test_who_has_no_rank_comes_last_and_who_could_not_run_not_at_all(write, make_cell, make_failed):
    more = [
        *(make_cell("late", round=at, complete=False, train_s=0.1, wall_s=77) for at in range(3)),
        make_failed("bad", message="killed"),
        make_failed("absent", "skipped", message="no GPU"),
    ]
    folder = write("run", a=2.0, more=more).parent
    [board] = leaderboard.collect([folder]).courses[0].boards
    found = {each.row.backend: (each.ranks, each.runs) for each in board.standings}
    assert found == {
        "numpy": (True, 1),
        "a": (True, 1),
        "bad": (False, 0),
        "late": (False, 0),
    }
    assert [*found][:2] == ["numpy", "a"]


def test_bad_runs_and_copies_are_left_out_with_a_line_each(write):
    good = write("good", a=0.5)
    shutil.copytree(good, good.with_name("copy"))
    damaged = write("damaged", a=0.6)
    (damaged / store.CELLS).write_bytes(b"{}\n" + (damaged / store.CELLS).read_bytes())
    (write("gone", a=0.7) / store.RUN).unlink()
    found = leaderboard.collect([good.parent])
    names = {folder.name for folder in found.runs}
    assert len(names) == 1
    [copy] = {"good", "copy"} - names
    place = good.parent
    assert found.notes == [
        f"left out: {place}/gone holds no run (run.json: No such file or directory)",
        f"left out: {place}/damaged/cells.jsonl:1 is damaged: Object missing required field `backend`",
        f"left out: {place}/{copy}: all of its cells are in {place}/{names.pop()}",
    ]


def test_folder_without_runs_and_one_of_bad_ones_are_errors(tmp_path, write):
    with pytest.raises(ResultsError, match="holds no runs") as caught:
        leaderboard.collect([tmp_path])
    assert caught.value.exit_code == ExitCode.USAGE
    folder = write("bad")
    (folder / store.RUN).write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ResultsError, match=r"no run that can be read; left out: .*version 99"):
        leaderboard.collect([folder.parent])


def test_several_runs_have_a_history_of_what_they_share(write):
    write("one", day=1, a=0.5, b=0.5)
    [course] = leaderboard.collect([write("two", day=2, a=0.6).parent]).courses
    assert course.history
    [series] = course.history.series
    assert (series.backend, len(series.points)) == ("a", 2)
    assert leaderboard.collect([write("three", base="q", r=1.0)]).courses[0].history is None


def test_damaged_sweep_is_left_out_with_one_line(write_sweep, write_run, make_cell):
    sweep = write_sweep(numpy=(1.0, 1.0, 1.0))
    (sweep / store.CELLS).write_bytes(b"{}\n" + (sweep / store.CELLS).read_bytes())
    one = write_run(make_cell("numpy"), name="one")
    found = leaderboard.collect([sweep, one])
    assert [*found.runs] == [one]
    [note] = found.notes
    assert note.startswith(f"left out: {sweep / store.CELLS}:1 is damaged")


def test_each_point_of_a_sweep_stands_beside_runs_of_the_same(write_sweep, write_run, make_cell):
    sweep = write_sweep(numpy=(1.0, 1.0, 1.0), a=(0.5, 1.0, 2.0))
    point = store.read_info(sweep).points[0]
    one = write_run(
        *(make_cell(name, wall_s=9.0, train_s=s) for name, s in (("numpy", 1.0), ("a", 0.9))),
        name="one",
        workload=point.workload,
    )
    courses = leaderboard.collect([sweep, one]).courses
    found = {course.workload.name: course for course in courses}
    assert [[*each.runs] for each in found.values()].count([sweep]) == 2
    assert {*found[point.workload.name].runs} == {sweep, one}
    speeds = sorted(
        next(each.row.ratio for each in course.boards[0].standings if each.row.backend == "a")
        for course in courses
    )
    assert speeds == pytest.approx([0.5, 1.0, 2.0])
