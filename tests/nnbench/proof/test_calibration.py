"""Length and tolerance of parts come from what rounding does to each workload."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nnbench import catalog
from nnbench.data import datasets
from nnbench.data.task import make_task
from nnbench.proof import calibration
from nnbench.proof.calibration import BASES, FRESH, NARROW, calibrate
from nnbench.records.cells import Deviations, Limits


@pytest.fixture(scope="module")
def splits():
    return datasets.load_mnist()


def limits(splits, workload="mnist", **options):
    task = make_task(catalog.workloads()[workload], splits, seed=0)
    return calibrate(task.network, task.train, task.batch_size, task.layers, **options)


def test_mnist_has_long_parts_and_the_base_tolerance(splits):
    assert limits(splits) == BASES[-1]


def test_the_base_is_what_the_documents_say():
    short, long = BASES
    usual = Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5)
    assert short == Limits(steps=100, tolerance=usual)
    assert long == Limits(steps=300, tolerance=replace(usual, loss=2e-5))


def test_a_step_that_takes_signs_of_gradients_has_short_parts(splits):
    assert limits(splits, "mnist-lesson5") == FRESH


def test_the_base_of_such_steps_is_what_the_documents_say():
    assert (FRESH.steps, FRESH.typical) == (20, 5e-3)
    assert FRESH.tolerance == Deviations(loss=1e-2, displacement=6e-2, first=2e-5, second=2e-5)


def test_such_steps_in_a_precision_class_are_held_by_each_part_alone(splits):
    found = limits(splits, "mnist-lesson5", precision="tf32")
    assert (found.steps <= NARROW.steps, found.typical) == (True, None)


def test_a_precision_class_has_a_tolerance_of_its_own(splits):
    assert limits(splits, precision="bf16").tolerance.first > BASES[0].tolerance.first


def test_what_is_followed_from_parameters_alone_has_ten_times_the_tolerance(splits):
    exact, wide = limits(splits), limits(splits, from_parameters=True)
    assert wide.tolerance.displacement == pytest.approx(10 * exact.tolerance.displacement)


def test_a_calibration_is_kept(splits, tmp_path, monkeypatch):
    first = limits(splits, folder=tmp_path / "kept", sha256="one")
    monkeypatch.setattr(calibration, "_measure", lambda *_: pytest.fail("measured again"))
    assert limits(splits, folder=tmp_path / "kept", sha256="one") == first


def test_a_damaged_calibration_is_made_anew(splits, tmp_path):
    first = limits(splits, folder=tmp_path, sha256="one")
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"{")
    assert limits(splits, folder=tmp_path, sha256="one") == first
    assert file.read_bytes() != b"{"


@pytest.mark.parametrize(
    "change",
    [
        {"tolerance": {"loss": 5e-5}},
        {"tolerance": {"displacement": 1e9}},
        {"tolerance": {"second": None}},
        {"tolerance": {"first": 0.0}},
        {"steps": 301},
        {"steps": 7},
        {"typical": 5e-3},
    ],
    ids=str,
)
def test_a_calibration_that_cannot_be_is_made_anew(splits, tmp_path, monkeypatch, change):
    """Whoever has the user's rights can write there, backends too."""
    first = BASES[-1]
    monkeypatch.setattr(calibration, "_measure", lambda *_: first)
    assert limits(splits, folder=tmp_path, sha256="one") == first
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    tolerance = kept["tolerance"] | change.pop("tolerance", {})
    file.write_text(json.dumps(kept | change | {"tolerance": tolerance}))
    assert limits(splits, folder=tmp_path, sha256="one") == first
    assert json.loads(file.read_text()) == kept


@pytest.mark.parametrize("change", [{"sha256": "two"}, {"precision": "tf32"}])
def test_another_task_is_another_calibration(splits, tmp_path, change):
    limits(splits, folder=tmp_path, sha256="one")
    limits(splits, folder=tmp_path, **{"sha256": "one", **change})
    assert len(list(tmp_path.iterdir())) == 2


def test_a_training_that_diverges_has_a_finite_tolerance():
    splits = datasets.load_toy()
    workload = catalog.workloads()["toy-sigmoid"]
    task = make_task(workload, splits, seed=0)
    layers = [layer._replace(weight=layer.weight * np.nan) for layer in task.layers]
    found = calibrate(task.network, task.train, task.batch_size, layers)
    assert (found.steps, found.tolerance) == (1, BASES[0].tolerance)


def test_a_calibration_is_the_same_each_time(splits):
    assert limits(splits) == limits(splits)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "float16"])
def test_short_parts_of_a_precision_class_have_room_for_what_rounds_either_way(splits, precision):
    found = limits(splits, precision=precision)
    assert found.steps <= 10
    assert found.tolerance.first >= 5e-3
    most = found.typical or found.tolerance.displacement
    assert most < 9e-3  # what a learning rate 1% too large moves
