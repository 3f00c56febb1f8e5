"""States that are kept beside a run, so that anyone can prove it again: ``RUN/states/*.npy``.

A file has what one cell came to at each cut: one row of float32 for each, the parameters and then both
moments, where the backend shows them. Their hashes are in ``cells.jsonl``.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from math import ceil, prod
from tempfile import gettempdir
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from nnbench import files
from nnbench.contract.errors import ResultsError
from nnbench.records.judging import Cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from nnbench.records.cells import CellResult, Limits

FLOAT = np.dtype("<f4")
FOLDER = "states"
CHUNK = 1 << 24  #: bytes that are copied at once
PIECE = 1 << 18  #: likewise, out of a spool: what a line of a block has at most
MOST_BROUGHT = (
    1 << 29
)  #: bytes of a block that come from another machine: engines have all of it in memory
EPOCH_PARTS = 3  #: that an epoch has at least


def path(run: Path, cell: CellResult) -> Path:
    """Return where the states of a cell are kept, in the folder of its run."""
    block = f"{cell.round}.{cell.block_attempt}" if cell.block_attempt else f"{cell.round}"
    block = f"{cell.point}.{block}" if cell.point else block
    label = re.sub(r"[^\w.=@+-]", "-", cell.backend)
    return run / FOLDER / f"{block}-{label}-{cell.attempt}.npy"


def cut_size(parameters: int, *, has_moments: bool) -> int:
    """Return how many bytes the state at one cut has."""
    return parameters * (3 if has_moments else 1) * FLOAT.itemsize


def least_cuts(epochs: int, epoch_steps: int, limits: Limits | None = None) -> int:
    """Return how many cuts a cell has at least; None is a limit that is not known yet."""
    steps = limits.steps if limits else epochs * epoch_steps
    if epoch_steps == 1:  # parts span epochs
        return ceil(epochs / steps)
    return epochs * max(min(EPOCH_PARTS, epoch_steps), ceil(epoch_steps / steps))


class States(NamedTuple):
    """The states of a cell, as they are kept."""

    cuts: int
    values: int  #: of each: parameters, or these and their moments
    pieces: Iterable[bytes]  #: all values, one cut after the other


def in_spool(cuts: Sequence[Cut], spool: int, parameters: int) -> States:
    """Return the states of a cell that lie in a spool."""
    values = parameters * (3 if any(cut.has_moments for cut in cuts) else 1)

    def pieces() -> Iterator[bytes]:
        for cut in cuts:
            has = parameters * (3 if cut.has_moments else 1)
            yield from _read(spool, cut.offset, has * FLOAT.itemsize)
            if has < values:
                yield bytes((values - has) * FLOAT.itemsize)  # where others have moments

    return States(len(cuts), values, pieces())


def brought(cell: CellResult, pieces: Sequence[bytes], parameters: int) -> States:
    """Return the states of a cell that came from another machine.

    Raises
    ------
    ResultsError
        If they are not as many, or not as large, as the cell has been cut.
    """
    cuts = sum(part.state is not None for epoch in cell.epochs for part in epoch.parts)
    size = sum(map(len, pieces))
    sizes = {cut_size(parameters, has_moments=has_moments) * cuts for has_moments in (False, True)}
    if size not in sizes:
        raise ResultsError(f"it has {cuts:,} cuts, and {size:,} bytes of states")
    return States(cuts, size // FLOAT.itemsize // cuts if cuts else 0, pieces)


def keep(run: Path, cell: CellResult, states: States) -> None:
    """Write the states of a cell beside its run; nothing of one that has none.

    Raises
    ------
    ResultsError
        If they cannot be written; then there is no file.
    """
    if not states.cuts:
        return
    target = path(run, cell)
    with files.named(target.parent):
        target.parent.mkdir(exist_ok=True)
        with files.writing(target) as file:
            shape = states.cuts, states.values
            head = {"descr": FLOAT.str, "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, head)
            file.writelines(states.pieces)


def _read(spool: int, offset: int, count: int) -> Iterator[bytes]:
    while count:
        content = os.pread(spool, min(count, PIECE), offset)
        if not content:
            raise OSError(errno.EIO, "the states are shorter than they were")
        yield content
        offset, count = offset + len(content), count - len(content)


def load(run: Path, cell: CellResult, parameters: int, spool: BinaryIO) -> list[Cut] | None:
    """Copy the states of a cell into an empty spool, for its judges; None if there are none.

    Raises
    ------
    ResultsError
        If the file is none of them, or there is no room for a copy.
    """
    where = path(run, cell)
    try:
        file = files.open_regular(where)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultsError(f"cannot read {where}: {error.strerror}") from error
    with file:
        try:  # NumPy reads a header as Python does, and raises whatever that does
            npy.read_magic(file)
            shape, is_fortran, dtype = npy.read_array_header_1_0(file)
        except Exception as error:
            raise ResultsError(f"{where} is damaged: {error}") from error
        parts = [part for epoch in cell.epochs for part in epoch.parts if part.state is not None]
        known = {parameters, 3 * parameters}
        if is_fortran or dtype != FLOAT or len(shape) != 2 or shape[1] not in known:
            raise ResultsError(f"{where} holds no states of this network")
        if shape[0] != len(parts):
            states = f"it holds {shape[0]:,} states, and {len(parts):,} were written down"
            raise ResultsError(f"{where} is damaged: {states}")
        if os.fstat(file.fileno()).st_size - file.tell() != FLOAT.itemsize * prod(shape):
            raise ResultsError(f"{where} is damaged: it is not as long as it says")
        with files.named(gettempdir()):  # where the spool has its place
            spool.seek(0)
            spool.truncate()
            shutil.copyfileobj(file, spool, CHUNK)
            spool.flush()
    return [
        Cut(
            number * shape[1] * FLOAT.itemsize,
            has_moments=shape[1] > parameters and part.optimizer_steps is not None,
        )
        for number, part in enumerate(parts)
    ]
