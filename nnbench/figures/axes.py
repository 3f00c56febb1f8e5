"""What tells the points of a run apart: the values of its axes, as tables, names and pictures have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nnbench.records.runs import Point

    Value = str | int | float
    Setting = Mapping[str, Value]  #: of a point: the axes in which it differs from others

WORKLOAD = "workload"


def _dataset(point: Point) -> str:
    return Path(point.workload.dataset).name or point.workload.dataset


def _hidden(point: Point) -> str:
    return ",".join(map(str, point.workload.hidden)) or "none"


#: Each axis by its name, which is that of the option: what a point has of it.
AXES: dict[str, Callable[[Point], Value]] = {
    WORKLOAD: lambda point: point.workload.base,  # what was derived from it, other axes have
    "dataset": _dataset,
    "hidden": _hidden,
    "activation": lambda point: point.workload.activation,
    "optimizer": lambda point: point.workload.optimizer.kind,
    "learning_rate": lambda point: point.workload.optimizer.learning_rate,
    "batch_size": lambda point: point.workload.batch_size or "full",
    "epochs": lambda point: point.workload.epochs,
    "threads": lambda point: point.threads,
}


def settings(points: Sequence[Point]) -> list[Setting]:
    """Return what tells each of some points from the others: nothing of one alone.

    Points whose workloads have one name differ by their axes, others by the name; what is left is in the whole name.
    """
    if len(points) == 1:
        return [{}]
    alike: dict[Value, list[Point]] = {}
    for point in points:
        alike.setdefault(point.workload.base, []).append(point)
    varying = [
        axis
        for axis, of in AXES.items()
        if (len(alike) > 1 and axis == WORKLOAD)
        or any(len({of(each) for each in own}) > 1 for own in alike.values())
    ]
    found = [{axis: AXES[axis](point) for axis in varying} for point in points]
    if len({tuple(each.items()) for each in found}) == len(points):
        return [*found]
    return [
        {WORKLOAD: point.workload.name, **each} for point, each in zip(points, found, strict=True)
    ]


def described(setting: Setting) -> str:
    """Return a point in words; nothing if there is one alone."""
    return ", ".join(
        str(value) if axis == WORKLOAD else f"{axis.replace('_', ' ')} {value}"
        for axis, value in setting.items()
    )


def number(value: Value) -> float | None:
    """Return a value as a place on an axis of numbers; None if it has none."""
    try:
        return float(value)
    except ValueError:
        return None
