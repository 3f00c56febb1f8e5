"""Datasets: MNIST as it ships, folders of IDX files, and the toy."""

import gzip
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnbench import catalog, kernel
from nnbench.contract.errors import DatasetError, NnbenchError
from nnbench.data.datasets import (
    MNIST_FOLDER,
    MNIST_SHA256,
    TOY_ROWS,
    digest,
    find_files,
    is_folder,
    load_folder,
    load_toy,
)
from nnbench.data.task import load_splits, load_task
from tests import nasty

FILES = list(MNIST_SHA256)
TRAIN_LABELS, TEST_LABELS = "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"
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


def test_plain_file_comes_before_itself_gzipped(folder):
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(b"half of it")
    assert load_folder(folder).outputs == 3


LETTERS = [1 + i % 26 for i in range(52)]


@pytest.mark.parametrize(
    ("train", "test", "classes"),
    [
        (LETTERS, LETTERS[:26], range(1, 27)),
        ([3, 8, 8, 3], [8, 3, 8, 8], [3, 8]),
        ([255, 0], [0, 255], [0, 255]),
        ([8, 3, 5], [5, 3], [3, 5, 8]),
        ([0, 1, 2, 9], [2, 9, 1, 0], [0, 1, 2, 9]),
        ([4, 3], [4, 4, 4], [3, 4]),  # a class that is not tested
    ],
    ids=["letters", "3 and 8", "ends", "order", "a gap", "only in training"],
)
def test_labels_of_any_numbers_become_classes(tmp_path, write_folder, train, test, classes):
    splits = load_folder(write_folder(tmp_path / "own", train=train, test=test))
    assert (splits.outputs, splits.classes) == (len(classes), tuple(classes))
    for examples, labels in ((splits.train, train), (splits.test, test)):
        assert examples.labels is not None
        assert examples.labels.dtype == np.int64
        assert [splits.classes[label] for label in examples.labels] == labels


def test_labels_that_are_classes_have_no_other_name(folder):
    assert load_folder(folder).classes == ()


def test_digest_is_of_the_classes_that_are_trained(tmp_path, write_folder, idx_bytes):
    folder = write_folder(tmp_path / "own", train=[3, 8, 8], test=[8, 3])
    first = load_folder(folder)
    (folder / TRAIN_LABELS).write_bytes(idx_bytes(np.array([0, 1, 1])))
    (folder / TEST_LABELS).write_bytes(idx_bytes(np.array([1, 0])))
    second = load_folder(folder)
    assert (first.classes, second.classes) == ((3, 8), ())
    assert digest(first) == digest(second)
    (folder / TRAIN_LABELS).write_bytes(idx_bytes(np.array([0, 1, 0])))
    assert digest(load_folder(folder)) != digest(second)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_refused(folder, name, damage):
    change, reason = DAMAGES[damage]
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    assert refuse(folder).startswith(f"{path}: {reason}")


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_unpacked_that_others_show_to_be_wrong(folder, name):
    path, head = folder / name, 4 + 4 * (3 if "images" in name else 1)
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content[:4] + b"\xff" * (head - 4) + content[head:]))
    assert refuse(folder).endswith("; they do not belong together")


def test_dataset_that_no_memory_holds_is_refused_unread(folder):
    for name in FILES:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:4] + b"\xff" * 12)
    assert refuse(folder).startswith(f"{folder}: its images take 590,295,8")


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
    assert refuse(tmp_path / "no" / "where") == f"{tmp_path}/no/where: No such file or directory"


@pytest.mark.parametrize(
    ("name", "reason"),
    [(f"{'x' * 300}/x", "File name too long"), ("\0/x", "embedded null ")],
)
def test_name_that_the_system_refuses_is_an_error(tmp_path, name, reason):
    told = refuse(tmp_path / name)
    assert told.startswith(f"{tmp_path / name}: ")
    assert reason in told


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
    reason = f"{images} images, but 7 labels in {prefix}-labels-idx1-ubyte"
    path = folder / f"{prefix}-images-idx3-ubyte"
    assert refuse(folder) == f"{path}: {reason}; they do not belong together"


@pytest.mark.parametrize("prefix", ["train", "t10k"])
def test_split_without_images_is_refused(folder, idx_bytes, prefix):
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((0, 4, 5))))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(0)))
    path = folder / f"{prefix}-images-idx3-ubyte"
    assert refuse(folder) == f"{path}: 0 images of 4 × 5 pixels are nothing to train on"


def test_images_without_pixels_are_refused(folder, idx_bytes):
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((60, 0, 5))))
    path = folder / "train-images-idx3-ubyte"
    assert refuse(folder) == f"{path}: 60 images of 0 × 5 pixels are nothing to train on"


@pytest.mark.parametrize("pixels", [(4, 6), (5, 4)])
def test_different_sizes_of_images_are_refused(tmp_path, write_folder, pixels):
    folder = write_folder(tmp_path / "mixed", test_pixels=pixels)
    size = f"{pixels[0]} × {pixels[1]} pixels"
    reason = f"images of {size}, but 4 × 5 pixels in train-images-idx3-ubyte"
    path = folder / "t10k-images-idx3-ubyte"
    assert refuse(folder) == f"{path}: {reason}; they do not belong together"


@pytest.mark.parametrize("label", [0, 5, 255])
def test_labels_of_one_class_are_refused(tmp_path, write_folder, label):
    folder = write_folder(tmp_path / "one", train=[label] * 4)
    reason = f"all labels are {label}; at least two classes are needed"
    assert refuse(folder) == f"{folder / TRAIN_LABELS}: {reason}"


@pytest.mark.parametrize(
    ("train", "test", "unknown"),
    [([0, 1, 2], [0, 1, 2, 3], "3"), ([3, 8], [0, 3, 8, 9], "0 or 9"), ([1, 2], [0, 1], "0")],
)
def test_class_that_nothing_learns_is_refused(tmp_path, write_folder, train, test, unknown):
    folder = write_folder(tmp_path / "odd", train=train, test=test)
    reason = f"no training image has label {unknown}, so that nothing can learn it"
    assert refuse(folder).startswith(f"{folder / TEST_LABELS}: {reason}; leave such images out")


def test_test_split_may_lack_classes(tmp_path, write_folder):
    assert load_folder(write_folder(tmp_path / "few", test=[0, 0])).outputs == 3


def emnist(name, before="emnist-letters-"):
    """Call a file as EMNIST does."""
    return before + name.replace("t10k", "test")


@pytest.mark.parametrize(
    "call",
    [
        lambda name: name.replace("-idx", ".idx"),
        emnist,
        str.upper,
        lambda name: name.replace("t10k", "test"),
        lambda name: f"qmnist_{name}",
        lambda name: f"my.own test set.{name}",
    ],
    ids=["point", "EMNIST", "capitals", "test", "underscore", "point before"],
)
@pytest.mark.parametrize("end", ["", ".gz", ".GZ"])
def test_files_are_called_as_people_have_them(tmp_path, write_folder, call, end):
    folder = write_folder(tmp_path / "own", zipped=bool(end), call=call)
    if end == ".GZ":
        for path in folder.iterdir():
            path.rename(path.with_suffix(".GZ"))
    assert load_folder(folder).outputs == 3


@pytest.mark.parametrize(
    "name",
    [
        "train-images-idx3-ubyte.zip",
        "train-images-idx1-ubyte",
        "train-labels-idx3-ubyte",
        "train-images-idx3-ubyte.gz.part",
        "mytrain-images-idx3-ubyte",
        "train-images-idx3-int",
        "train images-idx3-ubyte",
    ],
)
def test_other_files_are_none_of_a_dataset(folder, name):
    (folder / FILES[0]).rename(folder / name)
    assert refuse(folder) == f"{folder}: no {FILES[0]} or {FILES[0]}.gz in it"


@pytest.fixture
def raw(tmp_path, write_folder):
    """Give a folder of three datasets, one of them MNIST."""
    for before, classes in (("emnist-letters-", 26), ("emnist-digits-", 10)):
        labels = [1 + i % classes for i in range(60)]
        call = partial(emnist, before=before)
        write_folder(tmp_path / "raw", train=labels, test=labels, call=call)
    return write_folder(tmp_path / "raw", train=[0, 1, 2], test=[0, 1, 2])


def test_of_several_datasets_one_is_named(raw):
    assert load_folder(raw / "emnist-letters").outputs == 26
    assert load_folder(raw / "emnist-digits").outputs == 10
    assert load_folder(raw).outputs == 3  # whose files are called as MNIST's


def test_several_datasets_are_refused_with_what_to_write(raw):
    for name in FILES:
        (raw / name).unlink()
    reason = "several datasets are in it, emnist-digits, emnist-letters"
    assert refuse(raw) == f"{raw}: {reason}; write which, as in {raw}/emnist-digits"


def test_many_datasets_are_named_in_part(tmp_path):
    for number in range(100):
        (tmp_path / f"{number:02}-{FILES[0]}").touch()
    reason = "several datasets are in it, 00, 01, 02, 03, 04, 05, 06, 07 and others"
    assert refuse(tmp_path) == f"{tmp_path}: {reason}; write which, as in {tmp_path}/00"


def test_name_that_is_nearly_one_of_several_is_told_which(raw, mnist, monkeypatch):
    monkeypatch.chdir(raw.parent)
    known = "known: mnist, raw/emnist-digits, raw/emnist-letters, toy"
    hints = {"raw/emnist-leters": "did you mean raw/emnist-letters? ", "raw/x": ""}
    for name, hint in hints.items():
        with pytest.raises(NnbenchError) as raised:
            load_splits(replace(mnist, dataset=name))
        assert str(raised.value) == f"no dataset or folder named '{name}'; {hint}{known}"


def test_missing_file_of_one_of_several_is_refused(raw):
    (raw / "emnist-letters-test-labels-idx1-ubyte").unlink()
    name = "emnist-letters-test-labels-idx1-ubyte"
    assert refuse(raw / "emnist-letters") == f"{raw}: no {name} or {name}.gz in it"
    assert refuse(raw / "emnist") == f"{raw}: no emnist-{FILES[0]} or emnist-{FILES[0]}.gz in it"


@pytest.mark.parametrize("other", ["test-labels-idx1-ubyte", "t10k-labels.idx1-ubyte.gz"])
def test_file_that_is_there_in_two_ways_is_refused(folder, other):
    (folder / other).write_bytes((folder / TEST_LABELS).read_bytes())
    alike = " and ".join(sorted([other, TEST_LABELS]))
    reason = f"{alike} are the same file of a dataset; leave one in it"
    assert refuse(folder) == f"{folder}: {reason}"


def test_folder_is_told_from_what_is_none(raw, monkeypatch):
    monkeypatch.chdir(raw)
    names = [str(raw), ".", f"{raw}/emnist-letters", "emnist-letters", "../raw/emnist-digits"]
    assert [name for name in names if not is_folder(name)] == []
    others = ["", "emnist", f"{raw}/", "x" * 300, "x\0", "\0/x", FILES[0], "no/emnist-letters"]
    assert [name for name in others if is_folder(name)] == [f"{raw}/"]


PARTS = st.tuples(
    st.sampled_from(["", "", "emnist-letters-", "a.", "-", "x_y_"]),
    st.sampled_from(["train", "t10k", "test", "Test", "valid"]),
    st.sampled_from(
        ["-images-idx3", "-labels-idx1", "-labels.idx1", "-images.IDX3", "-images-idx1"]
    ),
    st.sampled_from(["-ubyte", "-ubyte", "-ubyte.gz", "-ubyte.gz.gz", ""]),
)


@settings(max_examples=nasty.EXAMPLES or 50)
@given(st.sets(PARTS.map("".join), max_size=12))
def test_any_folder_has_four_files_or_one_line(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("any")
    for name in names:
        (folder / name).touch()
    assert is_folder(str(folder))
    meant = [folder, *(folder / each for each in ("emnist-letters", "a", "-", "x_y"))]
    for each in meant:
        try:
            found = find_files(each)
        except DatasetError as error:
            told = str(error)
        else:
            assert list(found) == FILES
            assert len({path.name for path in found.values()} & names) == 4
            told = f"{folder}: "
        assert told.startswith(f"{folder}")
        assert len(told.splitlines()) == 1


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


@pytest.mark.parametrize("hidden", [(10**12,), (10**15, 10**15), (10**6, 10**6)])
def test_network_that_no_memory_holds_is_refused_undrawn(mnist, folder, hidden):
    workload = replace(mnist, name="wide", dataset=str(folder), hidden=hidden)
    with pytest.raises(
        NnbenchError, match=r"^wide: the [\d,]+ parameters of its network take [\d,]+ GiB"
    ):
        load_splits(workload)


def test_network_that_a_container_does_not_hold_is_refused(mnist, folder, monkeypatch):
    monkeypatch.setattr(kernel, "memory_bytes", lambda: 1 << 20)
    with pytest.raises(
        NnbenchError, match=r" GiB of memory, and this machine has 0\.0 GiB; take fewer"
    ):
        load_splits(replace(mnist, dataset=str(folder), hidden=(10_000,)))


def test_network_of_more_layers_than_make_sense_is_refused_in_a_line(mnist, folder):
    load_splits(replace(mnist, dataset=str(folder), hidden=(1,) * 1000))
    with pytest.raises(NnbenchError) as refused:
        load_splits(replace(mnist, dataset=str(folder), hidden=(1,) * 100_000))
    assert str(refused.value) == "the network has 100,000 hidden layers; take at most 1,000"


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
