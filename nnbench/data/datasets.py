"""Datasets: MNIST as it ships, any folder of IDX files, and the five rows of the toy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnbench import files
from nnbench.contract import hookimpl
from nnbench.contract.bounds import Line, Name
from nnbench.contract.errors import DatasetError
from nnbench.contract.spec import Examples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 1 << 34  #: bytes of an IDX file
UNSIGNED_BYTE = 0x08  #: the type of the items in an IDX file
MNIST_FOLDER = Path(__file__).parent / "mnist"
MNIST_SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


DIGESTS = {  #: of the datasets that ship, as :func:`digest` has them
    "mnist": "1a93a1a638d12c16141de9dc9b082dcc0b23fda6804677a17a193daf43c4a3e0",
    "toy": "d28fff7bf986970d31e37e128c8568c1e3956e1affbe826c00ce1ce535eba9da",
}


class Splits(NamedTuple):
    """A dataset in memory."""

    train: Examples
    test: Examples
    outputs: int  #: K, the number of classes or of target values


def digest(splits: Splits) -> str:
    """Return the SHA-256 sum of everything in a dataset."""
    import hashlib

    import numpy as np

    total = hashlib.sha256(str(splits.outputs).encode())
    for array in (*splits.train, *splits.test):
        if array is not None:
            total.update(f"{array.shape} {array.dtype}".encode())
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset by name; ``load`` may be slow and may raise DatasetError."""

    name: Name
    summary: Line
    load: Callable[[], Splits]


def load_mnist() -> Splits:
    """Load the MNIST files that ship with nnbench; their SHA-256 sums are checked."""
    return load_folder(MNIST_FOLDER, MNIST_SHA256)


def load_folder(folder: Path, sums: Mapping[str, str] | None = None) -> Splits:
    """Load a folder of four IDX files in MNIST's naming, gzipped or not.

    Parameters
    ----------
    folder
        Holds ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, with or without ``.gz``.
    sums
        SHA-256 of the unpacked files by name, where they are known.

    Raises
    ------
    DatasetError
        If a file is missing, damaged, or does not fit the others.
    """
    train, test = (_load_split(folder, prefix, sums or {}) for prefix in ("train", "t10k"))
    if train.inputs.shape[1] != test.inputs.shape[1]:
        sizes = f"{train.inputs.shape[1]} and {test.inputs.shape[1]}"
        raise DatasetError(f"{folder}: training and test images differ in size: {sizes} pixels")
    assert train.labels is not None  # noqa: S101 - so says _load_split
    assert test.labels is not None  # noqa: S101 - likewise
    classes = _count_classes(train.labels, folder)
    if test.labels.max() >= classes:
        name = f"{folder}/t10k-labels-idx1-ubyte"
        raise DatasetError(f"{name}: label {test.labels.max()} outside classes 0-{classes - 1}")
    return Splits(train, test, classes)


def _load_split(folder: Path, prefix: str, sums: Mapping[str, str]) -> Examples:
    import numpy as np

    images = _load_file(folder, f"{prefix}-images-idx3-ubyte", 3, sums)
    labels = _load_file(folder, f"{prefix}-labels-idx1-ubyte", 1, sums)
    if len(images) != len(labels):
        counts = f"{len(images):,} images but {len(labels):,} labels"
        raise DatasetError(f"{folder}: {prefix} has {counts}")
    if images.size == 0:
        raise DatasetError(f"{folder}: {prefix} is empty")
    pixels = images.reshape(len(images), -1)
    inputs = np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    return Examples(inputs, labels.astype(np.int64), None)


def _load_file(
    folder: Path, name: str, dimensions: int, sums: Mapping[str, str]
) -> NDArray[np.uint8]:
    import hashlib

    try:
        path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    except OSError as error:
        raise DatasetError(f"{folder}: {error.strerror}") from error
    if path is None:
        raise DatasetError(f"{folder}: no {name} or {name}.gz in it")
    content = read_idx(path)
    if name in sums and hashlib.sha256(content).hexdigest() != sums[name]:
        raise DatasetError(f"{path}: its SHA-256 sum is wrong; install nnbench again")
    return parse_idx(content, dimensions, path)


def read_idx(path: Path) -> bytes:
    """Return the content of an IDX file, unpacked if it is gzipped.

    Raises
    ------
    DatasetError
        If the file cannot be read, or its compressed content is damaged.
    """
    import gzip
    import zlib

    try:
        content = files.read_regular(path, LARGEST)
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error


def parse_idx(content: bytes, dimensions: int, name: object) -> NDArray[np.uint8]:
    """Return the items of an IDX file of unsigned bytes, in its shape.

    Source of the format: Y. LeCun's MNIST page. Four bytes of magic number (two zeros, the type of
    the items, the number of dimensions), each dimension as a big-endian uint32, then the items.

    Parameters
    ----------
    content
        The unpacked file.
    dimensions
        How many dimensions are expected: 3 for images, 1 for labels.
    name
        What to call the file in messages.

    Raises
    ------
    DatasetError
        If the file is empty, the magic number is wrong, or the sizes and the length disagree.
    """
    import numpy as np

    if not content:
        raise DatasetError(f"{name}: the file is empty")
    magic, expected = content[:4], bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if magic != expected:
        message = f"wrong magic number 0x{magic.hex()}, expected 0x{expected.hex()}"
        raise DatasetError(f"{name}: {message}; is it an IDX file of bytes?")
    offset = 4 + 4 * dimensions
    if len(content) < offset:
        raise DatasetError(f"{name}: truncated in its header")
    shape = tuple(int(size) for size in np.frombuffer(content[4:offset], ">u4"))
    items = len(content) - offset
    if items != prod(shape):
        state = "truncated" if items < prod(shape) else "longer than its header says"
        raise DatasetError(f"{name}: {state}: {items:,} items, expected {prod(shape):,}")
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


def _count_classes(labels: NDArray[np.int64], folder: Path) -> int:
    """Count the classes; a gap (other than at 0, as in EMNIST letters) marks a wrong label."""
    import numpy as np

    present = np.unique(labels)
    gaps = np.flatnonzero(np.diff(present) > 1)
    name = f"{folder}/train-labels-idx1-ubyte"
    if len(gaps):
        last, odd = present[gaps[0]], present[gaps[0] + 1]
        raise DatasetError(f"{name}: label {odd} outside classes 0-{last}")
    if len(present) < 2:
        raise DatasetError(f"{name}: all labels are {present[0]}; at least two classes are needed")
    return int(present[-1]) + 1


TOY_ROWS = (  # hours of study a day, hours of sleep a day, days missed a week; mark in percent
    (4.0, 8.0, 0.0, 96.0),
    (3.0, 7.0, 0.5, 88.0),
    (2.0, 8.0, 1.0, 75.0),
    (1.0, 6.0, 2.0, 61.0),
    (0.5, 5.0, 3.0, 50.0),
)


def load_toy() -> Splits:
    """Make five rows of three features; targets are percentages divided by 100, shape (5, 1).

    There is no test split: the loss is taken over the same rows.
    """
    import numpy as np

    table = np.array(TOY_ROWS, np.float32)
    rows = Examples(table[:, :3].copy(), None, table[:, 3:] / np.float32(100))
    return Splits(rows, rows, 1)


@hookimpl
def nnbench_datasets() -> Sequence[Dataset]:
    """Register the datasets that ship with nnbench."""
    return [
        Dataset(name="mnist", summary="60,000 + 10,000 handwritten digits", load=load_mnist),
        Dataset(name="toy", summary="five rows of three features", load=load_toy),
    ]
