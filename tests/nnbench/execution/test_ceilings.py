"""The ceiling: measured with a worker's threads and CPUs, once, and by torch where it must be."""

import math

import pytest

from nnbench.execution import ceilings
from nnbench.execution.process import THREAD_VARIABLES
from tests.cells import make_spec

ASKED_ALL = ["numpy cpu", "torch cpu", "jax cpu"]


@pytest.fixture
def spec():
    return make_spec()


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements by figures for each library; give the list of what was measured."""
    asked = []

    def install(**figures):
        def measure(what, library, device, *_):
            assert what == "product"
            asked.append(f"{library} {device}")
            return figures.get(library)

        monkeypatch.setattr(ceilings, "measure", measure)
        return asked

    return install


def test_ceiling_is_measured_once_in_a_process_of_its_own(spec):
    found = ceilings.for_cell(spec, "cpu", 0.0)
    assert math.isfinite(found)
    assert found > 0.1  # a computer of this century
    assert ceilings.for_cell(spec, "cpu", 0.0) == found  # kept: no two measurements agree


@pytest.mark.parametrize("what", ["product", "copy"])
def test_library_that_is_missing_has_no_ceiling(what):
    assert ceilings.measure(what, "tenser", "cpu", 1, ()) is None


def test_interpreter_that_is_missing_has_no_ceiling():
    assert ceilings.measure("product", "numpy", "cpu", 1, (), "/nowhere/python") is None


@pytest.mark.parametrize(("library", "threads"), [("numpy", 1), ("numpy", 2), ("torch", 1)])
def test_copies_have_a_ceiling(library, threads, monkeypatch):
    monkeypatch.setenv(THREAD_VARIABLES[0], str(threads))
    monkeypatch.setitem(ceilings.SIZES, ("copy", "cpu"), (256,))
    monkeypatch.setattr(ceilings, "MEASURE_S", 0.02)
    assert 0.1 < ceilings.best("copy", library, "cpu") < 1e5  # GB/s, of a small array in the cache


def test_the_shortest_of_several_times_counts(monkeypatch):
    clock = [0.0]
    durations = iter([0.1, 3.0, 2.0, 4.0, 1.0])  # the first warms up, the last comes too late

    def action():
        clock[0] += next(durations)

    monkeypatch.setattr(ceilings, "perf_counter", lambda: clock[0])
    assert ceilings.shortest_s(action, 8.0) == pytest.approx(2.0)
    assert list(durations) == [1.0]


@pytest.mark.parametrize(
    ("figures", "achieved", "expected", "asked"),
    [
        ({"numpy": 100.0}, 109.0, 100.0, ["numpy cpu"]),
        ({"numpy": 100.0, "torch": 80.0, "jax": 180.0}, 120.0, 180.0, ASKED_ALL),
        ({"numpy": 100.0, "torch": 180.0}, 120.0, 180.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": 100.0, "torch": 80.0}, 120.0, 100.0, ASKED_ALL),
        ({"numpy": 100.0, "torch": None}, 120.0, 100.0, ASKED_ALL),
        ({"numpy": None, "torch": 80.0}, 10.0, 80.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": None, "torch": None}, 10.0, None, ASKED_ALL),
    ],
)
def test_others_are_asked_where_numpy_is_not_enough(
    spec, measured, figures, achieved, expected, asked
):
    seen = measured(**figures)
    assert ceilings.for_cell(spec, "cpu", achieved) == expected
    assert seen == asked


def test_gpu_has_a_ceiling_of_its_own(spec, measured):
    seen = measured(torch=40_000.0)
    assert ceilings.for_cell(spec, "cuda", 3000.0) == 40_000
    assert seen == ["torch cuda"]
