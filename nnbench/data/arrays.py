"""Arrays in memory that processes share: the dataset is loaded once, by a process of its own.

The memory has no name, and is gone with the last process that holds it. Whoever maps it may not
write to it; a worker copies it, so that its pages are like those of any other array.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench.contract.spec import Examples
from nnbench.records import Stored, StoredExamples

if TYPE_CHECKING:
    from numpy.typing import NDArray


def store(array: NDArray[Any]) -> Stored:
    """Copy an array into shared memory; whoever gets its descriptor can read it."""
    descriptor = os.memfd_create("nnbench") if hasattr(os, "memfd_create") else _unlinked()
    whole = np.ascontiguousarray(array)
    os.truncate(descriptor, max(1, whole.nbytes))
    with mmap.mmap(descriptor, max(1, whole.nbytes)) as memory:
        memory[: whole.nbytes] = whole.tobytes()
    return Stored(descriptor, whole.dtype.str, whole.shape)


def _unlinked() -> int:
    """Open a file without a name, where the system has no memory for it."""
    from tempfile import TemporaryFile

    with TemporaryFile() as file:
        return os.dup(file.fileno())


def view(stored: Stored) -> NDArray[Any]:
    """Map a stored array, to be read only."""
    dtype = np.dtype(stored.dtype)
    count = int(np.prod(stored.shape))
    memory = mmap.mmap(stored.descriptor, max(1, count * dtype.itemsize), prot=mmap.PROT_READ)
    return np.frombuffer(memory, dtype, count).reshape(stored.shape)


def store_examples(examples: Examples) -> StoredExamples:
    """Copy a split into shared memory."""
    return StoredExamples(*(None if array is None else store(array) for array in examples))  # type: ignore[arg-type]


def view_examples(stored: StoredExamples) -> Examples:
    """Map a split, to be read only."""
    arrays = (stored.inputs, stored.labels, stored.targets)
    return Examples(*(None if array is None else view(array) for array in arrays))  # type: ignore[arg-type]
