"""Hooks that a plugin may implement.

Plugins are installed under the entry-point group ``nnbench``, and so are the built-in
backends: nothing in this package imports them. A hook that lists things is called by every
command, so it must be cheap: import a numerical library in ``create`` or ``load``, never in the
module of the hook.

There are two kinds of hooks, and what they return tells which: one that returns a sequence lists
things, each with a ``name``; one that returns nothing observes. A hook that is added here is
known to the catalog, and to ``nnbench list --plugins``.

A run loads plugins in processes of their own, never in the one that has its clock; so do ``list`` and ``info``. Hooks that list are
called in one of them, datasets are loaded in another, and backends make networks in their workers. All
observers are called in a third, off the clock, with copies of the arguments; one that fails is a warning.
Only the engine of an executor that the user has named runs in nnbench's own process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnbench.contract import hookspec
from nnbench.contract.backend import Backend
from nnbench.contract.engine import Engine
from nnbench.data.datasets import Dataset
from nnbench.data.workloads import Workload
from nnbench.records.cells import CellResult, CellSpec
from nnbench.records.events import Event, Queue
from nnbench.records.runs import RunInfo


@hookspec
def nnbench_backends() -> Sequence[Backend]:
    """List the backends that this plugin provides."""
    return ()


@hookspec
def nnbench_workloads() -> Sequence[Workload]:
    """List the workloads that this plugin provides."""
    return ()


@hookspec
def nnbench_datasets() -> Sequence[Dataset]:
    """List the datasets that this plugin provides; their ``load`` runs only when needed."""
    return ()


@hookspec
def nnbench_executors() -> Sequence[Engine]:
    """List the executors that this plugin provides, for ``run --executor``: engines, which run blocks elsewhere.

    One that is named there runs in nnbench's own process, and has to be trusted with all of it.
    """
    return ()


@hookspec
def nnbench_run_started(run: RunInfo, folder: Path) -> None:
    """Observe that ``run`` is about to start; its results go to ``folder``.

    A run that was interrupted starts again with ``--resume``: ``folder`` then holds the cells that
    are finished, and those are not announced again, but by ``nnbench_cell_kept``.
    """


@hookspec
def nnbench_queue_changed(queue: Queue) -> None:
    """Observe which blocks wait to be trained, where several may run at once: on other machines."""


@hookspec
def nnbench_cell_started(spec: CellSpec, machine: str) -> None:
    """Observe that a cell is about to start, or to start again: disturbed, or as a baseline for others.

    Its machine is a key of ``machines`` in the run.
    """


@hookspec
def nnbench_cell_event(spec: CellSpec, event: Event) -> None:
    """Observe what the worker of a cell has sent, without losses. It waits meanwhile, so return at once."""


@hookspec
def nnbench_cell_kept(result: CellResult) -> None:
    """Observe that a cell of a resumed run need not run again.

    The losses of its steps are left on disk: ``result.losses`` is empty.
    """


@hookspec
def nnbench_cell_finished(result: CellResult) -> None:
    """Observe a finished cell, whatever its status; it is already on disk.

    Each attempt at a cell is one; ``result.final`` tells whether it is the one that counts.
    """


@hookspec
def nnbench_run_finished(run: RunInfo, folder: Path) -> None:
    """Observe that the run has ended and its tables stand in ``folder``.

    It comes after every ``nnbench_run_started``, whatever ended the run, but for a kill.
    """
