"""Chart of the training loss over steps."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import altair as alt
import numpy as np

from nnbench.show.charts.figure import (
    LINES_HEIGHT,
    MOST_LINES,
    NUMBER,
    Figure,
    NothingToDrawError,
    color_of,
    column,
    scale_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench.records import CellResult
    from nnbench.show.charts.figure import Record
    from nnbench.show.source import Source

BINS = 120  #: of steps
THICKEST = 12.0  #: line of losses, pixels


def over_steps(source: Source, colors: dict[str, str]) -> Figure:
    """Show the training loss over steps, also of backends that went wrong."""
    groups = source.by_pace()
    trained = {name: curves for name, group in groups.items() if (curves := _curves(group))}
    if not trained:
        raise NothingToDrawError(source.why_nothing())
    names = list(trained)[:MOST_LINES]
    thicker = min(3.0, THICKEST / len(names))
    edges = _edges(max(len(curve) for name in names for curve in trained[name]))
    records: list[Record] = [
        {"backend": name, "step": step, "loss": value, "width": 2 + thicker * i}
        for i, name in reversed(list(enumerate(reversed(names))))
        for step, value in binned(trained[name], edges)
    ]
    pick = alt.selection_point(fields=["backend"], bind="legend")
    steps = alt.Axis(format=",d", title="step")
    losses = scale_of(column(records, "loss"))
    chart = (
        alt.Chart(alt.NamedData("losses"))
        .mark_line(strokeCap="round")
        .encode(
            x=alt.X("step:Q", scale=alt.Scale(type="log", nice=False), axis=steps),
            y=alt.Y("loss:Q", scale=losses, axis=alt.Axis(format=NUMBER, title="training loss")),
            color=color_of(names, colors, legend=True),
            strokeWidth=alt.StrokeWidth("width:Q", scale=None),
            opacity=alt.condition(pick, alt.value(1), alt.value(0.08)),
            tooltip=[
                alt.Tooltip("backend:N"),
                alt.Tooltip("step:Q", format=".1~f"),
                alt.Tooltip("loss:Q", format=".4~f"),
            ],
        )
        .add_params(pick)
        .properties(height=LINES_HEIGHT)
    )
    return Figure(
        title="Training loss over steps",
        caption="Mean over the rounds, and over bins of steps that grow with the logarithm: the first "
        "steps one by one, the later ones together. Equal networks lie on each other: a "
        "narrower line covers a wider one. A line stops where a loss was not finite.",
        chart=chart,
        records={"losses": records},
    )


def _curves(cells: Sequence[CellResult]) -> list[NDArray[np.float64]]:
    """Return the losses of each cell that has some; what is not finite is nan."""
    return [np.array(losses, dtype=np.float64) for cell in cells if (losses := cell.losses)]


def _edges(steps: int) -> NDArray[np.int64]:
    """Cut steps 0 to ``steps`` into bins of equal width in the logarithm, of one step at least."""
    return np.unique(np.geomspace(1, steps + 1, BINS + 1).astype(np.int64)) - 1


def binned(
    curves: Sequence[NDArray[np.float64]], edges: NDArray[np.int64]
) -> list[tuple[float, float | None]]:
    """Return the mean step, from 1, and the mean loss of each bin, over all curves.

    Parameters
    ----------
    curves
        The losses of each round, which may differ in length.
    edges
        Where each bin starts, from 0, and where the last one ends.
    """
    starts = edges[:-1]
    steps, losses, counts = (np.zeros(len(starts)) for _ in range(3))
    for curve in curves:
        own = starts[starts < len(curve)]
        losses[: len(own)] += np.add.reduceat(curve, own)
        steps[: len(own)] += np.add.reduceat(np.arange(1.0, len(curve) + 1), own)
        counts[: len(own)] += np.diff(own, append=len(curve))
    reached = counts > 0
    means = (losses[reached] / counts[reached]).tolist()
    places = (steps[reached] / counts[reached]).tolist()
    return [
        (round(place, 1), float(f"{mean:.5g}") if isfinite(mean) else None)
        for place, mean in zip(places, means, strict=True)
    ]
