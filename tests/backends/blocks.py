"""Runs that have their blocks elsewhere, and what becomes of them."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from nnbench.runs import store
from tests.clusters import trains
from tests.plugins.helpers import NNBENCH, survivors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nnbench.records.cells import CellResult

TOY = ("-w", "toy-sigmoid", "--no-progress")
SLOW = ("-b", "slow,steady", "-r", "2", "--budget", "4")


def finals(folder: Path) -> dict[tuple[int, str], CellResult]:
    """Return what became of each cell that counts: none is there twice."""
    cells = [cell for cell in store.read_cells(folder) if cell.final]
    found = {(cell.round, cell.backend): cell for cell in cells}
    assert len(found) == len(cells)
    return found


@contextmanager
def submitting(env: Mapping[str, str], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Have nnbench run blocks elsewhere, in a group of processes of its own."""
    command = [*NNBENCH, *map(str, arguments)]
    with subprocess.Popen(
        command, env=dict(env), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def workers(mark: Path) -> list[tuple[psutil.Process, dict[str, str]]]:
    """Return the workers of a test whose block trains a cell, with their variables."""
    found = []
    for process in survivors(mark):
        with suppress(psutil.Error):  # it may be ending
            if "distributed.cli.dask_worker" in process.cmdline() and trains(process.pid):
                found.append((process, process.environ()))
    return found
