"""The points of a run follow from options with several values."""

import re
from dataclasses import replace

import pytest

from nnbench import catalog
from nnbench.config import files, points
from nnbench.config.axes import MOST_POINTS, Axes
from nnbench.config.run_table import SEVERAL
from nnbench.contract.errors import ConfigError, NnbenchError
from nnbench.data.workloads import OVERRIDES
from nnbench.figures.axes import AXES

MNIST = catalog.workloads()["mnist"]


def make(axes, workload="mnist", threads=1, **overrides):
    return [(p.workload.name, p.threads) for p in points.make(workload, overrides, threads, axes)]


def test_without_axes_there_is_one():
    assert make(Axes(), threads=2, epochs=1) == [("mnist+epochs=1", 2)]


def test_a_grid_has_every_combination_and_the_last_axis_changes_first():
    axes = Axes({"threads": (1, 2), "batch_size": (64, 256), "workload": ("mnist", "mnist-wide")})
    assert make(axes) == [
        ("mnist", 1),
        ("mnist", 2),
        ("mnist+batch_size=256", 1),
        ("mnist+batch_size=256", 2),
        ("mnist-wide+batch_size=64", 1),
        ("mnist-wide+batch_size=64", 2),
        ("mnist-wide+batch_size=256", 1),
        ("mnist-wide+batch_size=256", 2),
    ]


def test_what_goes_together_goes_with_each_of_the_grid():
    axes = Axes({"threads": (1, 2)}, {"hidden": ((16,), (64, 64)), "learning_rate": (0.1, 0.01)})
    names = [
        "mnist+epochs=1,hidden=16,learning_rate=0.1",
        "mnist+epochs=1,hidden=64,64,learning_rate=0.01",
    ]
    assert make(axes, epochs=1) == [(name, n) for n in (1, 2) for name in names]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (Axes({"batch_size": (64, 64)}), "a point is there twice: mnist, 1 thread"),
        (
            Axes({"workload": ("mnist", "mnist+epochs=5+hidden=50")}),
            "a point is there twice: mnist, 1 thread",
        ),
        (
            Axes({}, {"hidden": ((1,), (2,)), "epochs": (1, 2, 3)}),
            "what goes together has one value for each of the others: hidden has 2, epochs has 3",
        ),
        (Axes({"epochs": (1,)}, {"epochs": (2,)}), "epochs is an axis of the grid, and of zip"),
        (Axes({"epochs": range(1, 12), "batch_size": range(1, 11)}), "110 points are more than"),
        (Axes({"workload": ("mnist", "mnst")}), "no workload named 'mnst'"),
        (
            Axes({"workload": (MNIST, replace(MNIST, hidden=(3,)))}),
            "two workloads are called 'mnist': hidden ((3,), (50,))",
        ),
    ],
)
def test_what_makes_no_points_is_told(axes, message):
    with pytest.raises(NnbenchError, match=re.escape(message)):
        make(axes)


def test_as_many_points_as_there_may_be():
    assert len(make(Axes({"epochs": range(1, MOST_POINTS + 1)}))) == MOST_POINTS


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mnist", ["mnist"]),
        ("mnist, mnist-wide", ["mnist", "mnist-wide"]),
        ("mnist+hidden=128,64,epochs=1", ["mnist+hidden=128,64,epochs=1"]),
        ("mnist+hidden=128,64,mnist-wide", ["mnist+hidden=128,64", "mnist-wide"]),
        ("a.toml,b.toml", ["a.toml", "b.toml"]),
    ],
)
def test_commas_between_workloads_are_told_from_those_within(text, names):
    assert points.split_workloads(text) == names


def test_a_file_may_have_a_comma_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.toml").touch()
    assert points.split_workloads("a,b.toml") == ["a,b.toml"]


SWEEP = """
backends = "numpy"
[sweep.grid]
workload = ["mnist", "my/own.toml"]
threads = [1, 2]
[sweep.zip]
hidden = [[16], [64, 64]]
epochs = [1, 2]
"""


def test_a_file_has_axes_relative_to_it(write):
    write('dataset = "mnist"\nhidden = [4]\nl2 = 0.1\n', "deep/my/own.toml")
    axes = files.read_run(write(SWEEP, "deep/nnbench.toml"))["sweep"]
    assert [each.name for each in axes.grid["workload"]] == ["mnist", "own"]
    assert axes.grid["threads"] == [1, 2]
    assert axes.zip == {"hidden": [(16,), (64, 64)], "epochs": [1, 2]}
    assert len(points.make("mnist", {}, 1, axes)) == 8
    assert len(points.make("mnist", {}, 1, axes.without(["threads", "hidden"]))) == 4


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[sweep.grid]\nbatchsize = [1, 2]", 2, "unknown key 'batchsize' in [sweep.grid]; known: "),
        ("[sweep]\nlist = 1", 2, "unknown key 'list' in [sweep]; known: grid, zip"),
        ("[sweep.grid]\nepochs = 2", 2, "sweep.grid.epochs must be a list"),
        ("[sweep.grid]\nepochs = []", 2, "sweep.grid.epochs must be a list of 1 or more items"),
        ("[sweep.grid]\nepochs = [1, 0]", 2, "sweep.grid.epochs[1] must be a whole number from 1"),
        ("epochs = 1\n[sweep.grid]\nepochs = [1]", 3, "epochs is an axis of [sweep], and set as"),
        ("[sweep.zip]\nepochs = [1]\nthreads = [1, 2]", 1, "what goes together has one value for"),
        ('[sweep.grid]\nworkload = ["mnst"]', 2, "no workload named 'mnst'"),
        ('[sweep.grid]\ndataset = ["nowhere"]', 2, "no dataset or folder named 'nowhere'"),
    ],
)
def test_wrong_axes_of_a_file_are_told_with_their_line(write, text, line, message):
    with pytest.raises(ConfigError, match=rf"\Anew.toml:{line}: {re.escape(message)}"):
        files.read_run(write(text, "new.toml"))


def test_every_axis_is_known_everywhere():
    assert tuple(AXES) == SEVERAL
    assert {*AXES} - {"workload", "threads"} == {*OVERRIDES} - {"target_accuracy"}
