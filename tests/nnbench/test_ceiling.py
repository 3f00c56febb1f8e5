"""The ceiling: measured with a worker's threads and CPUs, once, and by torch where it must be."""

import math

import pytest

from nnbench import ceiling, registry
from nnbench.cell import CellSpec


@pytest.fixture
def spec():
    return CellSpec(
        label="numpy",
        backend="numpy",
        options={},
        workload=registry.workloads()["mnist"],
        round=0,
        seed=0,
        threads=1,
        cpus=(),
        budget_s=1.0,
        timeout_s=60.0,
    )


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements by figures for each library; give the list of what was measured."""
    asked = []

    def install(**figures):
        def measure(library, device, *_):
            asked.append(f"{library} {device}")
            return figures[library]

        monkeypatch.setattr(ceiling, "measure", measure)
        return asked

    return install


def test_ceiling_is_measured_once_in_a_process_of_its_own(spec):
    found = ceiling.find(spec, "cpu", 0.0, 1.1)
    assert math.isfinite(found)
    assert found > 0.1  # a computer of this century
    assert ceiling.find(spec, "cpu", 0.0, 1.1) == found  # kept: no two measurements agree


def test_library_that_is_missing_has_no_ceiling():
    assert ceiling.measure("tenser", "cpu", 1, ()) is None


def test_interpreter_that_is_missing_has_no_ceiling():
    assert ceiling.measure("numpy", "cpu", 1, (), "/nowhere/python") is None


def test_speed_counts_two_operations_for_each_product_and_its_sum():
    calls = []
    best = ceiling.speed(lambda: calls.append(1), 100, 0.01)
    assert len(calls) > 1
    assert best > 0


@pytest.mark.parametrize(
    ("figures", "achieved", "expected", "asked"),
    [
        ({"numpy": 100.0}, 109.0, 100.0, ["numpy cpu"]),
        ({"numpy": 100.0, "torch": 180.0}, 120.0, 180.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": 100.0, "torch": 80.0}, 120.0, 100.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": 100.0, "torch": None}, 120.0, 100.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": None, "torch": 80.0}, 10.0, 80.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": None, "torch": None}, 10.0, None, ["numpy cpu", "torch cpu"]),
    ],
)
def test_torch_is_asked_where_numpy_is_not_enough(
    spec, measured, figures, achieved, expected, asked
):
    seen = measured(**figures)
    assert ceiling.find(spec, "cpu", achieved, 1.1) == expected
    assert seen == asked


def test_gpu_has_a_ceiling_of_its_own(spec, measured):
    seen = measured(torch=40_000.0)
    assert ceiling.find(spec, "cuda", 3000.0, 1.1) == 40_000
    assert seen == ["torch cuda"]
