"""A run as the charts and the page need it: its cells, its tables, and what is wrong with it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

from nnbench.figures import frames
from nnbench.runs import comparison
from nnbench.show.rendering import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnbench.figures.values import Row
    from nnbench.records import CellResult, RunInfo


class Source(NamedTuple):
    """A run that was read."""

    name: str
    groups: dict[str, list[CellResult]]  #: by backend and round, the attempts that count
    summary: Summary
    warnings: list[str]  #: about its files

    @property
    def info(self) -> RunInfo:
        """What was asked of the run."""
        return self.summary.info

    @property
    def ranked(self) -> list[Row]:
        """Rows of the timing table that have figures, the fastest first."""
        timing = self.summary.timing
        if "train_s_per_epoch" not in timing:
            return []
        return list(timing[timing["train_s_per_epoch"].notna()].itertuples())

    def of(self, backend: str) -> list[CellResult]:
        """Return the cells of a backend, round by round."""
        return self.groups.get(backend, [])

    def by_pace(self) -> dict[str, list[CellResult]]:
        """Return the cells of each backend, in the order of the tables."""
        timing = self.summary.timing
        return {name: self.of(name) for name in (timing["backend"] if len(timing) else ())}

    def why_nothing(self) -> str:
        """Say why a run without figures has none."""
        return "no backend was measured" if self.groups else "no cell was finished"


def read(folder: Path) -> Source:
    """Read a run; warnings about its files are kept, and given again.

    Raises
    ------
    ResultsError
        If the folder holds no run, or a damaged one.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        info, cells = comparison.read(folder)
    for warning in caught:
        warnings.warn(warning.message, stacklevel=2)
    return derive(info, cells, folder.resolve().name, [str(w.message) for w in caught])


def derive(
    info: RunInfo, cells: Sequence[CellResult], name: str, warnings: Sequence[str] = ()
) -> Source:
    """Make the tables of some cells."""
    groups: dict[str, list[CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: cell.round):
        groups.setdefault(cell.backend, []).append(cell)
    summary = Summary(info, frames.accuracy(info, cells), frames.timing(info, cells))
    return Source(name, groups, summary, list(warnings))
