"""Several points on the command line: trained, shown, drawn, compared and gone on with."""

import csv
import json

import pytest

from nnbench.runs import store

ASKED = ("-w", "toy-sigmoid", "--epochs", "1", "--hidden", "4", "--hidden", "5,5", "-b", "numpy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give the folder of a run of two points."""
    return tmp_path_factory.mktemp("sweep") / "run"


def train(call, folder):
    """Train once for all tests of this module."""
    if not (folder / "run.json").exists():
        done = call("run", *ASKED, "--rounds", "2", "--no-progress", "-o", folder)
        assert done.code == 0, done.stderr
        assert "hidden" in done.stdout
    return folder


def test_two_points_are_trained_and_have_their_rows(call, folder):
    train(call, folder)
    info = store.read_info(folder)
    assert [point.workload.hidden for point in info.points] == [(4,), (5, 5)]
    cells = [*store.read_cells(folder)]
    assert [(c.round, c.point) for c in cells] == [(r, p) for r in (0, 1) for p in (0, 1)]
    assert all(c.proof and c.proof.proved for c in cells)
    for name in ("accuracy", "timing"):
        rows = [*csv.DictReader((folder / f"{name}.csv").read_text().splitlines())]
        assert [row["hidden"] for row in rows] == ["4", "5,5"]
        assert "| hidden | backend |" in (folder / f"{name}.md").read_text()


def test_it_goes_on_after_blocks_were_lost(call, folder, tmp_path):
    train(call, folder)
    lines = (folder / "cells.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text((folder / "run.json").read_text())
    (tmp_path / "torn" / "cells.jsonl").write_text("".join(lines[:3]))
    done = call("run", "--resume", tmp_path / "torn", "--no-progress")
    assert done.code == 0, done.stderr
    cells = [*store.read_cells(tmp_path / "torn")]
    assert [(c.round, c.point) for c in cells[3:]] == [(1, 1)]


def test_points_are_chosen(call, folder):
    train(call, folder)
    done = call("show", folder, "--at", "hidden=5,5", "--format", "json")
    assert {row["hidden"] for row in json.loads(done.stdout)} == {"5,5"}
    done = call("show", folder, "--workload", "toy-sigmoid", "--format", "csv", "--sort", "backend")
    assert [line["hidden"] for line in csv.DictReader(done.stdout.splitlines())].count("4") == 1
    assert call("show", folder, "--pairs", "--format", "json").code == 0
    assert call("show", folder, "--columns", "hidden,ratio", "--format", "md").code == 0


@pytest.mark.parametrize(
    "name", ["csv", "junit", "bencher", "step-summary", "github-action-benchmark"]
)
def test_exports_tell_the_points_apart(call, folder, name):
    train(call, folder)
    done = call("export", folder, "--to", name)
    assert done.code == 0, done.stderr
    assert done.stdout.count("toy-sigmoid+epochs=1,hidden=4") or "hidden" in done.stdout


def test_it_is_drawn(call, folder, tmp_path):
    train(call, folder)
    done = call("plot", folder, "-f", "scaling", "-o", tmp_path / "x.svg")
    assert (done.code, done.stderr) == (
        2,
        "nnbench: error: no axis of the run has several numbers\n",
    )
    done = call("plot", folder, "-o", tmp_path / "x.svg")
    assert done.code == 2
    assert "has 2 points (hidden 4; hidden 5,5): choose one by --workload and --at" in done.stderr
    chosen = ("-f", "rounds", "--at", "hidden=4")
    assert call("plot", folder, *chosen, "-o", tmp_path / "x.svg").code == 0
    assert call("report", folder, "-o", tmp_path / "x.html").code == 0
    assert (tmp_path / "x.html").read_text().count("<article") == 3


def test_it_is_compared_with_a_run_of_one_of_its_points(call, folder):
    train(call, folder)
    done = call("compare", folder, folder)
    assert done.code == 0, done.stderr
    assert "| point | backend |" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch-size", "4,4"), "a point is there twice: toy-sigmoid+batch_size=4"),
        (("--threads", "1,x"), "Invalid value for '--threads'"),
        (("--threads", "1,,2"), "Invalid value for '--threads'"),
        (("--epochs", ",".join(map(str, range(1, 102)))), "101 points are more than the 100"),
        (("-w", "toy-sigmoid,no-such"), "no workload named 'no-such'"),
        (("--target", "90,95"), "'90,95' is not a number"),
        (("--rounds", "1,2"), "'1,2' is not a valid integer"),
    ],
)
def test_bad_input_is_told_in_a_line(call, arguments, message):
    done = call("run", "-w", "toy-sigmoid", "-b", "numpy", *arguments, "-o", "x")
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_bad_choices_are_told_in_a_line(call, folder):
    train(call, folder)
    for words in (["--at", "hidden"], ["--at", "hidden=9"], ["--at", "x=1"], ["-w", "mnist"]):
        done = call("show", folder, *words)
        assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_what_it_will_take_is_said_of_each_point_and_of_all(call):
    done = call("run", *ASKED, "--threads", "1,2", "--dry-run")
    assert done.code == 0, done.stderr
    assert done.stdout.count("2 threads: 3 rounds of 1 backend") == 2
    assert "together: at most 12 cells of 4 points" in done.stdout


def test_typed_values_take_the_place_of_a_files_axis(call, tmp_path):
    (tmp_path / "nnbench.toml").write_text(
        'workload = "toy-sigmoid"\nbackends = "numpy"\n[sweep.grid]\nepochs = [1, 2]\nthreads = [1, 2]\n'
    )
    done = call("run", "--config", "nnbench.toml", "--epochs", "3", "--dry-run")
    assert "cells of 2 points" in done.stdout
    done = call("run", "--config", "nnbench.toml", "--quick", "--dry-run")
    assert "cells of 4 points" in done.stdout
