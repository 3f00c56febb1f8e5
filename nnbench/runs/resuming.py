"""Go on with a run that was interrupted, exactly as it was planned."""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import TYPE_CHECKING

from nnbench import selection
from nnbench.contract.errors import ResultsError
from nnbench.data import datasets
from nnbench.execution import environment
from nnbench.records import OWN_NAMES
from nnbench.runs import planning, results

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nnbench.data.datasets import Splits
    from nnbench.records import CellResult, Environment, RunInfo
    from nnbench.selection import Selection


class ResumeWarning(UserWarning):
    """A run goes on with something changed that should not matter."""


def plan(folder: Path) -> tuple[RunInfo, list[Selection]]:
    """Return the run that ``folder`` holds, and its backends.

    Raises
    ------
    NnbenchError
        If there is none, or it cannot go on here, because the machine, a version or the
        availability of a backend has changed.
    """
    info = results.read_info(folder)
    if any("@" in label for label in info.backends):
        raise ResultsError(f"{folder} holds a selftest or a continuous run; start it again")
    selections = selection.parse(info.backends)
    check_environment(folder, info, environment.describe(info.environment.versions))
    planning.find_unavailable(selections)
    planning.check_machine(selections, info.threads)
    return info, selections


def check_environment(folder: Path, info: RunInfo, found: Environment) -> None:
    """Refuse another machine or other versions; warn of another nnbench."""
    before = info.environment
    changed = [f.name for f in fields(found) if getattr(found, f.name) != getattr(before, f.name)]
    if found.fingerprint != before.fingerprint:
        text = f"the machine or the versions changed ({', '.join(changed)}); times must not mix"
        raise ResultsError(f"{folder} cannot be resumed: {text}")
    was, now = _describe_nnbench(before), _describe_nnbench(found)
    if was != now:
        text = f"{folder} was started with {was}, and goes on with {now}"
        warnings.warn(text, ResumeWarning, stacklevel=2)


def _describe_nnbench(found: Environment) -> str:
    version = next((found.versions[name] for name in OWN_NAMES if name in found.versions), None)
    return f"nnbench {version} in a folder at {found.git or 'no commit'}"


def check_dataset(folder: Path, info: RunInfo, splits: Splits) -> None:
    """Refuse a dataset that is not the one that the run was started with."""
    if datasets.digest(splits) != info.dataset_sha256:
        name = info.workload.dataset
        raise ResultsError(f"{folder} cannot be resumed: the dataset {name} has changed")


def finished(cells: Iterable[CellResult]) -> dict[tuple[int, str], CellResult]:
    """Return the cells that need not run again, by round and backend."""
    return {(cell.round, cell.backend): cell for cell in cells if cell.final}
