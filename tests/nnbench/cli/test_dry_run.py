"""``nnbench run --dry-run`` says what a run takes, trains nothing, writes nothing, and refuses what the run would."""

import pytest

from nnbench.execution import process

TOY = ["-b", "numpy,python", "-w", "toy-sigmoid", "-r", "2"]


@pytest.fixture(autouse=True)
def no_worker(monkeypatch):
    """Have no worker start."""
    monkeypatch.setattr(process.Worker, "__init__", pytest.fail)


def test_it_says_what_would_run_and_writes_nothing(call, tmp_path):
    done = call("run", *TOY, "--dry-run", "--roofline", "--keep-states")
    assert done.code == 0
    title, *_ = done.stdout.splitlines()
    assert title == "toy-sigmoid: 2 rounds of 2 backends, in turns"
    heads = [line.partition(":")[0] for line in done.stdout.splitlines()[-5:]]
    assert heads == ["cells", "training", "time", "memory", "disk"]
    assert (
        "cells: 4\ntraining: at most 60 s, 15 s a cell; a cell that hangs is killed after 300 s\n"
        in (done.stdout)
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["-b", "nothing-of-that-name"],
        [*TOY, "--dataset", "nowhere"],
        [*TOY, "-t", "100000"],
        [*TOY, "-o", "taken"],
    ],
)
def test_it_refuses_what_the_run_would(call, write_run, make_cell, arguments):
    write_run(make_cell(), name="taken")
    dry, real = (call("run", *arguments, *more) for more in (["--dry-run"], []))
    assert dry.code == real.code != 0
    assert dry.stderr.splitlines()[-1] == real.stderr.splitlines()[-1]
    assert dry.stdout == ""
