"""Others' datasets are loaded in a process of their own, and nothing that it says is taken on trust."""

import gc
import mmap
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from nnbench.contract.errors import DatasetError
from nnbench.data import arrays
from nnbench.data.datasets import DIGESTS, digest, load_folder
from nnbench.data.task import draw_task, fit_splits, load_task
from nnbench.execution import children, listing, loading
from tests.cells import TOY
from tests.plugins.helpers import PLUGINS, count_open, variables

BASE = replace(TOY, loss="cross_entropy", activation="relu", target_accuracy=None)


@pytest.fixture(autouse=True)
def shelves(monkeypatch, tmp_path):
    """Let children find the plugin, and not this process."""
    monkeypatch.setenv("PYTHONPATH", variables("shelves")["PYTHONPATH"])
    monkeypatch.setenv("NNBENCH_FAULTY_FOLDER", str(tmp_path))
    yield
    assert "nnbench_shelves" not in sys.modules


def load(name, **changes):
    """Load a dataset; return it mapped, and its sum."""
    stored = loading.load(replace(BASE, dataset=name, **changes))
    splits = [arrays.view_examples(each) for each in (stored.train, stored.test)]
    arrays.release(arrays.descriptors(stored.train, stored.test))
    return *splits, stored.sha256


def refused(name):
    """Return why a dataset is refused; nothing stays open."""
    before = count_open()
    try:
        load(name)
    except DatasetError as error:
        reason = str(error)
    gc.collect()  # the error's frames held what is mapped
    assert count_open() <= before
    return reason


def equal(one, other):
    return all(
        (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b))
        for a, b in zip(one, other, strict=True)
    )


def test_arrays_arrive_as_they_are_loaded(folder):
    splits = load_folder(folder)
    train, test, sha256 = load(str(folder))
    assert equal(train, splits.train)
    assert equal(test, splits.test)
    assert sha256 == digest(splits)


def test_names_of_classes_arrive(tmp_path, write_folder):
    folder = write_folder(tmp_path / "own", train=[3, 8, 8], test=[8, 3])
    stored = {
        name: loading.load(replace(BASE, dataset=name)) for name in (str(folder), "named", "plain")
    }
    assert [each.classes for each in stored.values()] == [[3, 8], [5, 7], []]
    for each in stored.values():
        arrays.release(arrays.descriptors(each.train, each.test))


@pytest.mark.parametrize(
    "changes",
    [{}, {"validation": 10}, {"loss": "squared_error"}, {"validation": 7, "loss": "squared_error"}],
)
def test_task_is_that_of_a_dataset_loaded_here(mnist, folder, changes):
    workload = replace(mnist, dataset=str(folder), **changes)
    stored = loading.load(workload)
    splits = fit_splits(workload, load_folder(folder))
    for one, other in ((stored.train, splits.train), (stored.test, splits.test)):
        assert equal(arrays.view_examples(one), other)
    assert stored.sha256 == digest(load_folder(folder))
    task, here = draw_task(workload, splits, 3), load_task(workload, 3)
    assert equal(task.train, here.train)
    assert equal(task.test, here.test)
    assert np.array_equal(task.labels, here.labels)
    arrays.release(arrays.descriptors(stored.train, stored.test))


def test_training_set_does_not_hold_what_it_is_tested_on(mnist, folder):
    stored = loading.load(replace(mnist, dataset=str(folder), validation=10))
    sizes = [os.fstat(d).st_size for d in arrays.descriptors(stored.train)]
    assert sizes == [50 * 20 * 4, 50 * 8]
    arrays.release(arrays.descriptors(stored.train, stored.test))


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="seals are Linux's")
def test_nobody_can_write_to_what_is_loaded():
    stored = loading.load(replace(BASE, dataset="plain"))
    descriptor = stored.train.inputs.descriptor
    with pytest.raises(OSError, match="not permitted"):
        os.pwrite(descriptor, b"x", 0)
    with pytest.raises(OSError, match="not permitted"):
        os.truncate(descriptor, 0)
    with pytest.raises(OSError, match="not permitted"):
        mmap.mmap(descriptor, 0)
    assert not arrays.view(stored.train.inputs).flags.writeable
    arrays.release(arrays.descriptors(stored.train, stored.test))


def test_array_in_another_order_arrives_in_its_own():
    assert load("backwards")[0].labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("name", ["mnist", "toy"])
def test_dataset_that_ships_is_known_by_its_sum(monkeypatch, mnist, name):
    workload = replace(TOY if name == "toy" else mnist, dataset=name)
    stored = loading.load(workload)
    arrays.release(arrays.descriptors(stored.train, stored.test))
    assert stored.sha256 == DIGESTS[name]
    monkeypatch.setitem(DIGESTS, name, "0" * 64)
    with pytest.raises(DatasetError, match=f"^{name} is not the dataset that ships with nnbench$"):
        loading.load(workload)


@pytest.mark.parametrize(("name", "loads"), [("beds", ["garden", ""]), ("toy", [""])])
def test_only_the_plugin_that_brings_it_is_loaded_and_none_for_what_ships(
    monkeypatch, folder, name, loads
):
    asked = []

    class Child(children.Child):
        def send(self, question):
            asked.append(question)
            super().send(question)

    path = variables("garden", "shelves")["PYTHONPATH"]
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(sys, "path", [*path.split(os.pathsep), *sys.path])
    with listing.relied_on(lambda: None):
        monkeypatch.setattr(children, "Child", Child)
        for each in (name, str(folder)):
            load(each, loss="squared_error")
    assert [question.plugin for question in asked] == loads


def test_plugin_that_patches_its_process_changes_nothing():
    assert load("patching")[2] == load("plain")[2]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("leaving", "SystemExit: I am off"),
        ("dying", "its process ended with status 3"),
        ("aborting", "its process was killed by SIGABRT"),
        ("doubles", "training inputs are of type <f8, not <f4"),
        ("short labels", "training labels are of type <i4, not <i8"),
        ("flat", "training inputs must be rows of features"),
        ("few labels", "training labels must be one for each of 4 rows"),
        ("wild labels", "training label 2 outside classes 0-1"),
        ("negative labels", "training label -1 outside classes 0-1"),
        ("nothing", "training examples have neither labels nor targets"),
        ("infinite", "training inputs are not all finite"),
        ("narrow test", "test inputs have 2 features, but training inputs 3"),
        ("narrow targets", "training targets must have 2 values for each of 4 rows"),
        ("infinite targets", "training targets are not all finite"),
        ("empty", "training inputs are no array of shape (0, 3)"),
        ("few classes", "classes must be one for each of 2 outputs"),
        ("negative classes", "its process answered nonsense: Expected `int` >= 0"),
        ("worded classes", "ValueError: invalid literal for int() with base 10: 'cat'"),
        ("objects", "training labels are of type |O, not <i8"),
        ("no splits", "AttributeError: 'int' object has no attribute 'train'"),
    ],
)
def test_what_is_no_dataset_is_refused(name, reason):
    assert refused(name).startswith(f"{name}: {reason}")


@pytest.mark.parametrize("name", ["", "fashion", "x" * 300])
def test_unknown_name_is_refused_as_ever(name):
    assert refused(name).startswith(f"no dataset or folder named '{name}'; known: ")


def test_dataset_that_does_not_fit_is_refused():
    with pytest.raises(
        DatasetError, match=r"^toy: target values, but cross-entropy needs classes$"
    ):
        load("toy")


def test_dataset_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(loading, "LIMIT_S", 1.0)
    assert refused("hanging") == "hanging: its process did not answer in time"


def test_print_goes_to_standard_error_and_a_warning_is_ours(capfd):
    with pytest.warns(UserWarning, match="there are newer files"):
        load("complaining")
    assert capfd.readouterr() == ("", "on the way\n")


def test_plugin_that_is_left_out_is_not_warned_of_again(monkeypatch, capfd, folder):
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS / "unimportable"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(str(folder), loss="cross_entropy")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known of a daemon")
def test_daemon_of_a_dataset_does_not_outlive_its_load(tmp_path):
    load("daemonic")
    assert not psutil.pid_exists(int(Path(tmp_path, "daemon").read_text()))
