"""The points of a run: every combination of the values of its axes, or those that go together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from nnbench.config import files
from nnbench.contract.errors import NnbenchError
from nnbench.data.workloads import derive
from nnbench.records.runs import Point

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    for number, point in enumerate(points):
        for other in points[:number]:
            one, same = point.workload, other.workload
            if one.name == same.name and (differing := one.differences(same)):
                raise NnbenchError(f"two workloads are called {one.name!r}: {', '.join(differing)}")
            if point.threads == other.threads and not one.differences(same):
                names = " and ".join(dict.fromkeys([same.name, one.name]))
                what = f"{names}, {point.threads} thread{'s' * (point.threads > 1)}"
                raise NnbenchError(f"a point is there twice: {what}")
    return points


def split_workloads(text: str) -> list[str]:
    """Return the workloads that a user named, with commas between them."""
    if text.endswith(files.SUFFIX) and Path(text).is_file():
        return [text]
    return [name.strip() for name in BETWEEN.split(text)]
