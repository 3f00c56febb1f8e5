"""Datasets: MNIST as it ships, folders of IDX files, and the toy."""

import gzip
import os
from dataclasses import replace

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.errors import DatasetError, NnbenchError
from nnbench.data.datasets import MNIST_FOLDER, MNIST_SHA256, TOY_ROWS, load_folder, load_toy
from nnbench.data.task import load_splits, load_task

FILES = list(MNIST_SHA256)
TRAIN_LABELS = "train-labels-idx1-ubyte"
DAMAGES = {
    "empty": (lambda _: b"", "the file is empty"),
    "no IDX": (lambda _: b"hello", "wrong magic number 0x68656c6c, expected 0x00000"),
    "floats": (lambda content: b"\0\0\x0d" + content[3:], "wrong magic number 0x00000d"),
    "truncated": (lambda content: content[:-7], "truncated: "),
    "header only": (lambda content: content[:6], "truncated in its header"),
    "trailing": (lambda content: content + b"\0", "longer than its header says: "),
    "truncated gzip": (lambda content: gzip.compress(content)[:-9], "damaged gzip file ("),
    "truncated in gzip": (lambda content: gzip.compress(content[:-7]), "truncated: "),
}


def refuse(folder, sums=None) -> str:
    """Return the message with which a folder is refused; it is one line."""
    with pytest.raises(DatasetError) as raised:
        load_folder(folder, sums)
    (line,) = str(raised.value).splitlines()
    return line


@pytest.fixture(scope="module")
def shipped():
    return catalog.datasets()["mnist"].load()


def test_shipped_mnist_has_all_images(shipped):
    assert shipped.train.inputs.shape == (60_000, 784)
    assert shipped.test.inputs.shape == (10_000, 784)


@pytest.mark.parametrize("split", ["train", "test"])
def test_shipped_pixels_lie_between_0_and_1(shipped, split):
    inputs = getattr(shipped, split).inputs
    assert (inputs.dtype, inputs.min(), inputs.max()) == (np.float32, 0.0, 1.0)
    assert inputs.flags.c_contiguous


def test_shipped_mnist_has_ten_classes(shipped):
    assert shipped.outputs == 10
    assert np.bincount(shipped.train.labels).min() == 5421
    assert np.bincount(shipped.test.labels).min() == 892


@pytest.mark.parametrize("name", FILES)
def test_wrong_checksum_is_refused(tmp_path, name):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for other in FILES:
        (folder / f"{other}.gz").symlink_to(MNIST_FOLDER / f"{other}.gz")
    content = bytearray(gzip.decompress((folder / f"{name}.gz").read_bytes()))
    content[-1] ^= 1
    (folder / f"{name}.gz").unlink()
    (folder / name).write_bytes(content)
    message = refuse(folder, MNIST_SHA256)
    assert message == f"{folder / name}: its SHA-256 sum is wrong; install nnbench again"


@pytest.mark.parametrize("zipped", [False, True])
def test_folder_of_own_sizes_is_loaded(tmp_path, write_folder, zipped):
    splits = load_folder(write_folder(tmp_path / "own", zipped=zipped))
    assert splits.train.inputs.shape == (60, 20)
    assert splits.test.inputs.shape == (30, 20)
    assert splits.outputs == 3
    assert splits.train.labels is not None
    assert splits.train.labels.tolist() == [0, 1, 2] * 20
    assert splits.train.labels.dtype == np.int64


def test_pixels_are_divided_by_255(folder, idx_bytes):
    images = np.zeros((60, 4, 5))
    images[0, 0] = [0, 1, 51, 254, 255]
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    row = load_folder(folder).train.inputs[0]
    assert row[:5] == pytest.approx([0, 1 / 255, 0.2, 254 / 255, 1])
    assert row.max() == 1.0


def test_plain_and_zipped_files_may_be_mixed(folder):
    path = folder / TRAIN_LABELS
    path.with_name(f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert load_folder(folder).outputs == 3


def test_labels_from_1_are_accepted(tmp_path, write_folder):
    letters = [1 + i % 26 for i in range(52)]
    splits = load_folder(write_folder(tmp_path / "letters", train=letters, test=letters[:26]))
    assert splits.outputs == 27  # output 0 is never right
    assert splits.test.labels is not None
    assert splits.test.labels.max() == 26


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_refused(folder, name, damage):
    change, reason = DAMAGES[damage]
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    assert refuse(folder).startswith(f"{path}: {reason}")


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    assert refuse(folder) == f"{folder}: no {name} or {name}.gz in it"


@pytest.mark.parametrize("name", FILES)
def test_folder_in_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    assert refuse(folder) == f"{folder / name}: Is a directory"


def test_unreadable_file_is_refused(folder):
    path = folder / TRAIN_LABELS
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    assert refuse(folder) == f"{path}: Permission denied"


def test_missing_folder_is_refused(tmp_path):
    assert refuse(tmp_path / "nowhere").startswith(f"{tmp_path}/nowhere: no train-images")


def test_name_that_the_system_refuses_is_an_error(tmp_path):
    folder = tmp_path / ("x" * 300)
    assert refuse(folder) == f"{folder}: File name too long"


def test_locked_folder_is_refused(folder):
    folder.chmod(0)
    try:
        if os.access(folder / TRAIN_LABELS, os.R_OK):
            pytest.skip("root reads everything")
        assert refuse(folder) == f"{folder}: Permission denied"
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize(("prefix", "images"), [("train", 60), ("t10k", 30)], ids=["train", "test"])
def test_different_counts_are_refused(folder, idx_bytes, prefix, images):
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(7)))
    assert refuse(folder) == f"{folder}: {prefix} has {images} images but 7 labels"


@pytest.mark.parametrize("prefix", ["train", "t10k"])
def test_split_without_images_is_refused(folder, idx_bytes, prefix):
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((0, 4, 5))))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(0)))
    assert refuse(folder) == f"{folder}: {prefix} is empty"


def test_images_without_pixels_are_refused(folder, idx_bytes):
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((60, 0, 5))))
    assert refuse(folder) == f"{folder}: train is empty"


def test_different_sizes_of_images_are_refused(tmp_path, write_folder):
    folder = write_folder(tmp_path / "mixed", test_pixels=(4, 6))
    reason = "training and test images differ in size: 20 and 24 pixels"
    assert refuse(folder) == f"{folder}: {reason}"


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 1, 2, 9], "label 9 outside classes 0-2"),
        ([0, 1, 3, 4], "label 3 outside classes 0-1"),
        ([1, 2, 19, 2], "label 19 outside classes 0-2"),
        ([0, 0, 0, 0], "all labels are 0; at least two classes are needed"),
        ([5, 5, 5, 5], "all labels are 5; at least two classes are needed"),
    ],
)
def test_odd_training_labels_are_refused(tmp_path, write_folder, labels, reason):
    folder = write_folder(tmp_path / "odd", train=labels)
    assert refuse(folder) == f"{folder}/{TRAIN_LABELS}: {reason}"


def test_test_label_outside_the_classes_is_refused(tmp_path, write_folder):
    folder = write_folder(tmp_path / "odd", test=[0, 1, 2, 3])
    assert refuse(folder) == f"{folder}/t10k-labels-idx1-ubyte: label 3 outside classes 0-2"


def test_test_split_may_lack_classes(tmp_path, write_folder):
    assert load_folder(write_folder(tmp_path / "few", test=[0, 0])).outputs == 3


def test_toy_has_five_rows_of_three_features():
    splits = load_toy()
    assert splits.train.inputs.shape == (5, 3)
    assert splits.train.labels is None
    assert splits.outputs == 1
    assert splits.train.targets is not None
    assert splits.train.targets[:, 0] == pytest.approx([row[3] / 100 for row in TOY_ROWS])
    assert splits.test is splits.train


def test_workload_loads_a_folder(mnist, folder):
    assert load_splits(replace(mnist, dataset=str(folder))).outputs == 3


@pytest.mark.parametrize("name", ["", "fashion", "/no/where", "x" * 300])
def test_unknown_dataset_is_refused(mnist, name):
    with pytest.raises(NnbenchError, match=f"^no dataset or folder named '{name}'; known: mnist"):
        load_splits(replace(mnist, dataset=name))


@pytest.mark.parametrize("held_out", [60, 10_000])
def test_dataset_too_small_to_hold_out_is_refused(mnist, folder, held_out):
    workload = replace(mnist, dataset=str(folder), validation=held_out)
    with pytest.raises(DatasetError, match=r"60 training examples are too few to hold out \d"):
        load_splits(workload)


def test_held_out_examples_are_the_last_ones(mnist, folder):
    task = load_task(replace(mnist, dataset=str(folder), validation=10), seed=0)
    whole = load_folder(folder).train
    np.testing.assert_array_equal(task.train.inputs, whole.inputs[:50])
    np.testing.assert_array_equal(task.test.inputs, whole.inputs[50:])
    assert task.labels is not None
    assert whole.labels is not None
    assert task.labels.tolist() == whole.labels[50:].tolist()


def test_classes_become_one_hot_for_the_squared_error(mnist, folder):
    task = load_task(replace(mnist, dataset=str(folder), loss="squared_error"), seed=0)
    assert task.train.labels is None
    assert task.train.targets is not None
    assert task.train.targets[:3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert task.labels is not None  # accuracy is still known


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target_accuracy": None}, "toy: target values, but cross-entropy needs classes"),
        ({"loss": "squared_error"}, "toy: no classes, so a target accuracy means nothing"),
    ],
)
def test_dataset_without_classes_is_refused_where_they_are_needed(mnist, changes, reason):
    with pytest.raises(DatasetError, match=f"^{reason}$"):
        load_splits(replace(mnist, dataset="toy", **changes))


@pytest.mark.parametrize(("asked", "given"), [(16, 16), (60, 60), (10**12, 60), (None, 60)])
def test_batch_is_never_larger_than_the_split(mnist, folder, asked, given):
    task = load_task(replace(mnist, dataset=str(folder), batch_size=asked), seed=0)
    assert task.batch_size == given
