"""Arrays in memory that processes share: the dataset is loaded once, by a process of its own.

The memory has no name, and is gone with the last process that holds it. Once it is sealed nobody can
write to it; a worker copies it, so that its pages are like those of any other array.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from math import prod
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench.contract.spec import Examples
from nnbench.records.worker import Stored, StoredExamples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


class Memory:
    """Memory that is written through one descriptor, then sealed, and read through another.

    Where the system has no such memory it is a file without a name, of which whoever reads has no
    descriptor to write with.
    """

    def __init__(self) -> None:
        self.writer: int | None
        if hasattr(os, "memfd_create"):
            self.writer = os.memfd_create("nnbench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            self.reader = os.dup(self.writer)
        else:
            with NamedTemporaryFile(prefix="nnbench-") as file:
                self.writer = os.dup(file.fileno())
                self.reader = os.open(file.name, os.O_RDONLY)

    def seal(self) -> None:
        """End the writing.

        Raises
        ------
        OSError
            If another process has mapped the memory so that it can write to it.
        """
        assert self.writer is not None  # noqa: S101 - it is sealed once
        if hasattr(os, "memfd_create"):
            size = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.writer, fcntl.F_ADD_SEALS, size | fcntl.F_SEAL_WRITE)
        os.close(self.writer)
        self.writer = None

    def close(self) -> None:
        """Give the descriptors back."""
        release([self.reader, *([] if self.writer is None else [self.writer])])


def write(descriptor: int, array: NDArray[Any]) -> None:
    """Write an array into memory."""
    left = np.ascontiguousarray(array).reshape(-1).data.cast("B")
    while left:
        left = left[os.write(descriptor, left) :]


def store(array: NDArray[Any]) -> Stored:
    """Copy an array into shared memory; whoever gets its descriptor can read it."""
    memory = Memory()
    assert memory.writer is not None  # noqa: S101 - it was not sealed yet
    write(memory.writer, array)
    memory.seal()
    return Stored(memory.reader, array.dtype.str, array.shape)


def view(stored: Stored) -> NDArray[Any]:
    """Map a stored array, to be read only; it lives on when the descriptor is closed."""
    dtype = np.dtype(stored.dtype)
    count = prod(stored.shape)
    if not count:
        return np.empty(stored.shape, dtype)
    # Not MAP_SHARED: up to Linux 6.6 that is refused for memory that is sealed, even to read it.
    memory = mmap.mmap(stored.descriptor, count * dtype.itemsize, mmap.MAP_PRIVATE, mmap.PROT_READ)
    return np.frombuffer(memory, dtype, count).reshape(stored.shape)


def view_examples(stored: StoredExamples) -> Examples:
    """Map a split, to be read only."""
    arrays = (stored.inputs, stored.labels, stored.targets)
    return Examples(*(None if array is None else view(array) for array in arrays))  # type: ignore[arg-type]  # inputs are stored


def descriptors(*splits: StoredExamples) -> list[int]:
    """List the descriptors of some splits, to be handed on to a process."""
    arrays = (array for s in splits for array in (s.inputs, s.labels, s.targets))
    return [array.descriptor for array in arrays if array]


def release(descriptors: Iterable[int]) -> None:
    """Close descriptors; what is mapped stays."""
    for descriptor in descriptors:
        os.close(descriptor)
