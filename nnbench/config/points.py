"""The points of a run: every combination of the values of its axes, or those that go together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnbench.config import files
from nnbench.contract.errors import NnbenchError
from nnbench.data.workloads import derive
from nnbench.records.runs import Point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnbench.config.axes import Axes
    from nnbench.data.workloads import Workload

#: What is between two workloads: no comma of mnist+hidden=128,64,epochs=1.
BETWEEN = re.compile(r",(?!\s*\d+\s*(?:[,+]|$)|[a-z_]+=)")


def make(
    workload: str | Workload, overrides: Mapping[str, object], threads: int, axes: Axes
) -> list[Point]:
    """Return the points of a run.

    Parameters
    ----------
    workload, overrides, threads
        What a point has of which no axis says otherwise; see :func:`nnbench.data.workloads.derive`.
    axes
        What differs.

    Raises
    ------
    NnbenchError
        If a workload is unknown, a point is there twice, or two workloads have one name.
    """
    axes.check()
    points: list[Point] = []
    for values in axes.combinations():
        base = values.pop("workload", workload)
        count = values.pop("threads", threads)
        found = files.find_workload(base) if isinstance(base, str) else base
        points.append(Point(workload=derive(found, {**overrides, **values}), threads=count))
    _check(points)
    return points


def _check(points: Sequence[Point]) -> None:
    """Refuse points that no table could tell apart."""
    names: dict[str, Workload] = {}
    trained: dict[tuple[Workload, int], str] = {}
    for point in points:
        own = point.workload
        known = names.setdefault(own.name, own)
        if known != own and (differing := own.differences(known)):
            raise NnbenchError(f"two workloads are called {own.name!r}: {', '.join(differing)}")
        what = replace(own, name="", summary=""), point.threads
        if what in trained:
            both = " and ".join(dict.fromkeys([trained[what], own.name]))
            many = f"{point.threads} thread{'s' * (point.threads > 1)}"
            raise NnbenchError(f"a point is there twice: {both}, {many}")
        trained[what] = own.name


def split_workloads(text: str) -> list[str]:
    """Return the workloads that a user named, with commas between them."""
    if text.endswith(files.SUFFIX) and Path(text).is_file():
        return [text]
    return [name.strip() for name in BETWEEN.split(text)]
