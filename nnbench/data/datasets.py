"""Datasets: MNIST as it ships, any folder of IDX files, and the five rows of the toy.

Folders are taken as people have them: files in MNIST's naming, or in EMNIST's, several datasets in one
folder, classes of any numbers. What cannot be taken is refused by the headers, before a large file is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnbench import kernel
from nnbench.contract import hookimpl
from nnbench.contract.bounds import Line, Name
from nnbench.contract.errors import DatasetError
from nnbench.contract.spec import Examples
from nnbench.data import idx

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nnbench.data.idx import Header

MNIST_FOLDER = Path(__file__).parent / "mnist"
MNIST_SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FILES = {name: 3 if "images" in name else 1 for name in MNIST_SHA256}  #: of any dataset: dimensions
#: How people have them: MNIST's names, also with a point for a dash as some unpack them, and after the name of the
#: dataset, as EMNIST's.
NAME = re.compile(
    r"(?P<plain>((?P<family>.+)[-_.])?((?P<train>train)|t10k|test)-"
    r"((?P<images>images[-.]idx3)|labels[-.]idx1)-ubyte)(\.gz)?",
    re.IGNORECASE,
)
MOST_NAMED = 8  #: datasets in a folder
DIGESTS = {  #: of the datasets that ship, as :func:`digest` has them
    "mnist": "1a93a1a638d12c16141de9dc9b082dcc0b23fda6804677a17a193daf43c4a3e0",
    "toy": "d28fff7bf986970d31e37e128c8568c1e3956e1affbe826c00ce1ce535eba9da",
}


class Splits(NamedTuple):
    """A dataset in memory."""

    train: Examples
    test: Examples
    outputs: int  #: K, the number of classes or of target values
    #: Where the source of the data calls the classes otherwise than 0 to K - 1: what it calls each.
    classes: tuple[int, ...] = ()


def digest(splits: Splits) -> str:
    """Return the SHA-256 sum of everything in a dataset that training and tests can see."""
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


# Folders of IDX files


def is_folder(name: str) -> bool:
    """Tell whether a dataset is a folder, or one of those in a folder, as in raw/emnist-letters."""
    # Unlike Path.is_dir, isdir is false for a name that the system refuses.
    if os.path.isdir(name):  # noqa: PTH112 - see above
        return True
    return Path(name).name in _named_beside(name)


def beside(name: str) -> list[str]:
    """Return names of datasets in the folder in which one of a name would be."""
    return [str(Path(name).parent / each) for each in _named_beside(name)[:MOST_NAMED]]


def _named_beside(name: str) -> list[str]:
    with suppress(OSError, ValueError):
        return [each for each in _families(Path(name).parent) if each]
    return []


def find_files(folder: Path) -> dict[str, Path]:
    """Return the files of a dataset by MNIST's names for them.

    Parameters
    ----------
    folder
        What :func:`is_folder` takes. In a folder of several datasets, files with MNIST's own names come first.

    Raises
    ------
    DatasetError
        If one is missing, or several could be meant.
    """
    is_whole = os.path.isdir(folder)  # noqa: PTH112 - as above
    where, family = (folder, "") if is_whole else (folder.parent, folder.name)
    try:
        families = _families(where)
    except (OSError, ValueError) as error:  # a path may hold what no path can
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"{folder}: {reason}") from error
    if is_whole and families and "" not in families:
        family, *others = families
        if others:
            several = ", ".join([family, *others[: MOST_NAMED - 1]])
            more = " and others" if len(others) >= MOST_NAMED else ""
            text = f"several datasets are in it, {several}{more}"
            raise DatasetError(f"{folder}: {text}; write which, as in {folder / family}")
    known = families.get(family, {})
    return {role: where / _only_one(where, family, role, known.get(role, {})) for role in FILES}


def _families(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return the names of files in a folder, by the dataset that they are of, and by MNIST's names for them.

    A dataset is told from others by what stands before these names; MNIST has nothing there. Of a file and
    itself gzipped, the former is taken.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name in sorted(path.name for path in folder.iterdir()):
        if match := NAME.fullmatch(name):
            split = "train" if match["train"] else "t10k"
            role = f"{split}-{'images-idx3' if match['images'] else 'labels-idx1'}-ubyte"
            names = found.setdefault(match["family"] or "", {}).setdefault(role, {})
            names.setdefault(match["plain"], name)
    return found


def _only_one(where: Path, family: str, role: str, names: Mapping[str, str]) -> str:
    """Return the name of a file, if there is one."""
    if len(names) > 1:
        alike = " and ".join(names.values())
        raise DatasetError(f"{where}: {alike} are the same file of a dataset; leave one in it")
    for name in names.values():
        return name
    wanted = f"{family}-{role.replace('t10k', 'test')}" if family else role  # as EMNIST has it
    raise DatasetError(f"{where}: no {wanted} or {wanted}.gz in it")


class _Split(NamedTuple):
    """The headers of the two files of a split."""

    images: Header
    labels: Header

    def check(self) -> None:
        """Refuse files that do not belong together, or hold nothing."""
        (count, *_), (labels,) = self.images.shape, self.labels.shape
        if count != labels:
            counts = f"{count:,} images, but {labels:,} labels in {self.labels.path.name}"
            raise DatasetError(f"{self.images.path}: {counts}; they do not belong together")
        if not prod(self.images.shape):
            text = f"{count:,} images of {self.pixels} are nothing to train on"
            raise DatasetError(f"{self.images.path}: {text}")

    @property
    def pixels(self) -> str:
        """The size of an image."""
        _, rows, columns = self.images.shape
        return f"{rows} × {columns} pixels"

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        return 4 * prod(self.images.shape) + 8 * self.labels.shape[0]


def load_folder(folder: Path, sums: Mapping[str, str] | None = None) -> Splits:
    """Load a dataset of four IDX files, gzipped or not.

    Labels that are not 0 to K - 1 become that, in their order, and ``classes`` has what they were.

    Parameters
    ----------
    folder
        Holds ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, with or without ``.gz``, or files that are
        called alike: see :func:`find_files`.
    sums
        SHA-256 of the unpacked files by name, where they are known.

    Raises
    ------
    DatasetError
        If a file is missing, damaged, or does not fit the others.
    """
    import numpy as np

    paths = find_files(folder)
    headers = [idx.read_header(paths[role], dimensions) for role, dimensions in FILES.items()]
    train, test = splits = _Split(*headers[:2]), _Split(*headers[2:])
    for split in splits:
        split.check()
    if train.pixels != test.pixels:
        text = f"images of {test.pixels}, but {train.pixels} in {train.images.path.name}"
        raise DatasetError(f"{test.images.path}: {text}; they do not belong together")
    if beyond := beyond_memory(sum(split.size for split in splits)):
        raise DatasetError(f"{folder}: its images take {beyond}; take fewer, or smaller ones")
    labels = [idx.read_items(split.labels, sums) for split in splits]
    classes = np.unique(labels[0])
    if len(classes) < 2:
        text = f"all labels are {classes[0]}; at least two classes are needed"
        raise DatasetError(f"{train.labels.path}: {text}")
    if unknown := np.setdiff1d(labels[1], classes).astype(str).tolist():
        text = f"no training image has label {' or '.join(unknown)}, so that nothing can learn it"
        raise DatasetError(
            f"{test.labels.path}: {text}; leave such images out, or add some to learn from"
        )

    def examples(split: _Split, own: NDArray[np.uint8]) -> Examples:
        places = np.searchsorted(classes, own).astype(np.int64)
        return Examples(_read_inputs(split.images, sums), places, None)

    is_plain = classes[-1] == len(classes) - 1
    names = () if is_plain else tuple(classes.tolist())
    return Splits(examples(train, labels[0]), examples(test, labels[1]), len(classes), names)


def beyond_memory(size: int) -> str:
    """Say that so many bytes are more than this machine, or its container, has; nothing if they are not."""
    here = kernel.memory_bytes()
    if size <= here:
        return ""
    return f"{size / 2**30:,.0f} GiB of memory, and this machine has {here / 2**30:,.1f} GiB"


def _read_inputs(header: Header, sums: Mapping[str, str] | None) -> NDArray[np.float32]:
    """Return the pixels of each image in a row, from 0 to 1."""
    import numpy as np

    images = idx.read_items(header, sums)
    pixels = images.reshape(len(images), -1)
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


# The toy

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
