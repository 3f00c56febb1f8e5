"""Length and tolerance of parts come from what rounding does to each workload."""

from __future__ import annotations

import numpy as np
import pytest

from nnbench import catalog
from nnbench.data import datasets
from nnbench.data.task import make_task
from nnbench.proof import calibration
from nnbench.proof.calibration import BASE, FRESH_BASE, calibrate
from nnbench.records import Deviations


@pytest.fixture(scope="module")
def splits():
    return datasets.load_mnist()


def limits(splits, workload="mnist", **options):
    task = make_task(catalog.workloads()[workload], splits, seed=0)
    return calibrate(task.network, task.train, task.batch_size, task.layers, **options)


def test_mnist_has_long_parts_and_the_base_tolerance(splits):
    found = limits(splits)
    assert (found.steps, found.tolerance) == (100, BASE)


def test_the_base_is_what_the_documents_say():
    assert Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5) == BASE


def test_a_step_that_takes_signs_of_gradients_has_short_parts(splits):
    found = limits(splits, "mnist-lesson5")
    assert (found.steps, found.tolerance) == (2, FRESH_BASE)


def test_the_base_of_such_steps_is_what_the_documents_say():
    assert Deviations(loss=3e-4, displacement=1e-3, first=2e-5, second=2e-5) == FRESH_BASE


def test_a_precision_class_has_a_tolerance_of_its_own(splits):
    assert limits(splits, precision="bf16").tolerance.first > BASE.first


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
    assert (found.steps, found.tolerance) == (1, BASE)


def test_a_calibration_is_the_same_each_time(splits):
    assert limits(splits) == limits(splits)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "float16"])
def test_short_parts_of_a_precision_class_have_room_for_what_rounds_either_way(splits, precision):
    found = limits(splits, precision=precision)
    assert found.steps <= 20
    assert found.tolerance.first >= 1e-3
    assert found.tolerance.displacement < 5e-3  # what one step in another class moves
