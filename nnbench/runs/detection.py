"""Tell when a run that looks for a difference has found it, or excluded it, for every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnbench.figures.statistics import Comparison
    from nnbench.runs.run import Run

MOST_ROUNDS = 100  #: unless the user asks for more, or fewer


def has_begun(run: Run) -> bool:
    """Tell whether a cell ran; those that cannot are known before the first block."""
    return any(cell.status.ran for cell in run.cells)


def is_over(run: Run) -> bool:
    """Tell whether no verdict is missing; before the first block all are."""
    return has_begun(run) and not undecided(run)


def undecided(run: Run) -> dict[str, Comparison]:
    """Return the comparisons with the baseline that have no verdict yet, by backend."""
    from nnbench.figures import frames

    # Not those of the run, which keeps its first ones.
    groups = frames.groups(run.info, run.cells, run.further)
    base = groups.pop(run.info.baseline, None)
    if base is None:
        return {}
    found = {name: frames.compare(run.info, group, base) for name, group in groups.items()}
    return {name: c for name, c in found.items() if c and c.verdict == "inconclusive"}
