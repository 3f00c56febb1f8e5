"""Load a dataset in a process of its own, which hands over arrays: ``python -m nnbench.execution.loading``.

Whatever loads it, a plugin's code or a file that anybody may have written, is there alone. The parent takes nothing
on trust: it checks types, shapes and values, and computes the SHA-256 sum of what it has got. Only what ships with
nnbench it loads itself.
"""

from __future__ import annotations

import os
import warnings
from math import prod
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from nnbench import catalog
from nnbench.catalog.flaws import LIMIT, shorten
from nnbench.contract.bounds import Number
from nnbench.contract.errors import DatasetError, NnbenchError, PluginWarning
from nnbench.contract.spec import Examples
from nnbench.data import arrays, datasets
from nnbench.data.datasets import Dataset, Splits
from nnbench.data.task import check_fit, find_dataset, fit_splits, load_dataset
from nnbench.execution import children
from nnbench.records.worker import Stored, StoredExamples, StoredSplits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nnbench.data.arrays import Memory
    from nnbench.data.workloads import Workload

LIMIT_S = 600.0  #: for one dataset: it may have to be fetched first
TYPES: dict[str, np.dtype[Any]] = {
    "inputs": np.dtype("<f4"),
    "labels": np.dtype("<i8"),
    "targets": np.dtype("<f4"),
}
FIELDS = [(split, field) for split in ("training", "test") for field in Examples._fields]


class Asked(msgspec.Struct, frozen=True):
    """A dataset, and the descriptors of the memory for each of FIELDS."""

    name: str
    descriptors: list[int]
    plugin: str | None = None  #: to be loaded for it, and no other; empty is none, None all


class Found(msgspec.Struct, frozen=True):
    """Type and shape of each of FIELDS that was written, or None."""

    arrays: list[tuple[str, list[int]] | None]
    outputs: int
    classes: list[Number] = []


def load(workload: Workload) -> StoredSplits:
    """Return the dataset of a workload, as it fits that, in memory that nobody can write to.

    Its SHA-256 sum is that of the whole dataset. The descriptors are the caller's.

    Raises
    ------
    DatasetError
        If it cannot be loaded, is none, or does not fit the workload.
    """
    if workload.dataset in datasets.DIGESTS:  # what a plugin calls so is left out
        return _fitted(workload, load_dataset(workload.dataset, _known("")), {})
    memories = [arrays.Memory() for _ in FIELDS]
    used: list[int] = []
    try:
        splits, known = _receive(workload.dataset, memories)
        stored = _fitted(workload, splits, known)
        used = arrays.descriptors(stored.train, stored.test)
        return stored
    finally:
        for memory in memories:
            if memory.reader not in used:
                memory.close()


def _fitted(workload: Workload, splits: Splits, known: Mapping[int, Stored]) -> StoredSplits:
    """Return what a workload takes of a dataset, in memory; what of that is known lies there already."""
    check_fit(workload, splits)
    sha256 = datasets.digest(splits)
    if sha256 != datasets.DIGESTS.get(workload.dataset, sha256):
        raise DatasetError(f"{workload.dataset} is not the dataset that ships with nnbench")
    fitted = fit_splits(workload, splits)
    train, test = (_store(examples, known) for examples in (fitted.train, fitted.test))
    return StoredSplits(train, test, splits.outputs, sha256, list(splits.classes))


def _store(examples: Examples, known: Mapping[int, Stored]) -> StoredExamples:
    """Store what the fitting has made; what it has left alone is stored already."""

    def store(array: NDArray[Any] | None) -> Any:
        return None if array is None else known.get(id(array)) or arrays.store(array)

    return StoredExamples(*map(store, examples))


def _receive(name: str, memories: Sequence[Memory]) -> tuple[Splits, dict[int, Stored]]:
    """Return a dataset, mapped, and where each of its arrays is stored."""
    writers = [memory.writer for memory in memories if memory.writer is not None]
    plugin = None
    if catalog.relies():
        find_dataset(name, catalog.datasets())
        owner = catalog.owner("datasets", name)
        plugin = catalog.limit_to(owner) if owner else ""
    try:
        with children.Child(__name__, writers) as child:
            found = child.ask(Asked(name, writers, plugin), Found, LIMIT_S)
        for memory in memories:
            memory.seal()
    except children.ChildError as error:
        raise DatasetError(f"{name}: {error}") from error
    except NnbenchError as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(
            f"{name}: what loads it still writes to it ({error.strerror})"
        ) from error
    views: list[Any] = []
    known: dict[int, Stored] = {}
    for (split, field), described, memory in zip(FIELDS, found.arrays, memories, strict=True):
        stored = described and _stored(f"{name}: {split} {field}", field, described, memory.reader)
        views.append(arrays.view(stored) if stored else None)
        known |= {id(views[-1]): stored} if stored else {}
    half = len(Examples._fields)
    for split, inputs in (("training", views[0]), ("test", views[half])):
        if inputs is None:
            raise DatasetError(f"{name}: there are no {split} inputs")
    train, test = Examples(*views[:half]), Examples(*views[half:])
    splits = Splits(train, test, found.outputs, tuple(found.classes))
    check(name, splits)
    return splits, known


def _stored(where: str, field: str, described: tuple[str, list[int]], descriptor: int) -> Stored:
    """Return where an array is stored, if its memory is as large as it must be."""
    kind, shape = described
    if kind != TYPES[field].str:
        raise DatasetError(f"{where} are of type {kind}, not {TYPES[field].str}")
    size = prod(shape) * TYPES[field].itemsize
    if min(shape, default=0) < 1 or os.fstat(descriptor).st_size != size:
        raise DatasetError(f"{where} are no array of shape {tuple(shape)}")
    return Stored(descriptor, kind, tuple(shape))


def check(name: str, splits: Splits) -> None:
    """Refuse a dataset that is inconsistent, or has values that nothing can be trained on.

    Raises
    ------
    DatasetError
        If so; the message says what is wrong.
    """
    for split, examples in (("training", splits.train), ("test", splits.test)):
        if problem := _problem(examples, splits):
            raise DatasetError(f"{name}: {split} {problem}")
    if splits.classes and len(splits.classes) != splits.outputs:
        raise DatasetError(f"{name}: classes must be one for each of {splits.outputs} outputs")


def _problem(examples: Examples, splits: Splits) -> str | None:
    inputs, labels, targets = examples
    if inputs.ndim != 2:
        return "inputs must be rows of features"
    width = splits.train.inputs.shape[1]
    if inputs.shape[1] != width:
        return f"inputs have {inputs.shape[1]} features, but training inputs {width}"
    if labels is None and targets is None:
        return "examples have neither labels nor targets"
    if labels is not None:
        if labels.shape != inputs.shape[:1]:
            return f"labels must be one for each of {len(inputs):,} rows"
        if wrong := [v for v in (labels.min(), labels.max()) if not 0 <= v < splits.outputs]:
            return f"label {wrong[0]} outside classes 0-{splits.outputs - 1}"
    if targets is not None and targets.shape != (len(inputs), splits.outputs):
        return f"targets must have {splits.outputs} values for each of {len(inputs):,} rows"
    for field, array in (("inputs", inputs), ("targets", targets)):
        if array is not None and not np.isfinite([array.min(), array.max()]).all():
            return f"{field} are not all finite"
    return None


# The process


def _answer(asked: Asked) -> Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # of plugins left out, which is known
        try:
            return _write(load_dataset(asked.name, _known(asked.plugin)), asked.descriptors)
        except NnbenchError:
            raise
        except (
            BaseException
        ) as error:  # a plugin may raise anything, and nobody presses Ctrl-C here
            raise DatasetError(f"{asked.name}: {shorten(error)}") from error


def _known(plugin: str | None) -> dict[str, Dataset] | None:
    if plugin == "":
        return {dataset.name: dataset for dataset in datasets.nnbench_datasets()}
    if plugin:
        os.environ[LIMIT] = plugin
    return None


def _write(splits: Splits, descriptors: Sequence[int]) -> Found:
    found: list[tuple[str, list[int]] | None] = []
    for array, descriptor in zip((*splits.train, *splits.test), descriptors, strict=True):
        if array is None:
            found.append(None)
        else:
            arrays.write(descriptor, array)
            found.append((array.dtype.str, list(array.shape)))
    return Found(found, int(splits.outputs), [int(number) for number in splits.classes])


if __name__ == "__main__":
    children.serve(Asked, _answer)
