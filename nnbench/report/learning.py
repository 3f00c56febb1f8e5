"""Charts of learning: accuracy over training time, and loss over steps."""

from __future__ import annotations

from itertools import accumulate
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from nnbench.report.figure import (
    MOST_LINES,
    NUMBER,
    Figure,
    NothingToDrawError,
    color_of,
    left_out,
    lines,
    scale_of,
    shape_of,
)
from nnbench.tables.values import significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench.cells.records import CellResult, Epoch
    from nnbench.report.figure import Record
    from nnbench.report.source import Source
    from nnbench.tables.values import Row

HEIGHT = 300
MOST_ROUNDS = 20  #: drawn of each backend, over time
MOST_EPOCHS = 100  #: drawn of each round
BINS = 120  #: of steps
ROOM = 1.3  #: between two times that are written beside each other
THICKEST = 12.0  #: line of losses, pixels


class Quality(NamedTuple):
    """What tells how well a network does."""

    title: str
    unit: str
    field: str
    scale: float

    def of(self, epoch: Epoch) -> float | None:
        """Return the value after an epoch, or None."""
        value = getattr(epoch, self.field)
        return None if value is None else value * self.scale


ACCURACY = Quality("Accuracy", "test accuracy, %", "accuracy", 100)
TEST_LOSS = Quality("Test loss", "test loss", "test_loss", 1)


def accuracy(source: Source, colors: dict[str, str]) -> Figure:
    """Show accuracy over training time; the test loss where there are no classes."""
    names = lines(source)
    cells = [cell for name in names for cell in source.of(name)[:MOST_ROUNDS]]
    quality = _quality(cells)
    records = [record for cell in cells for record in _epochs(cell, quality)]
    if not records:
        raise NothingToDrawError("no epoch was evaluated")
    goal = (source.info.workload.target_accuracy or 0) * 100 if quality is ACCURACY else 0
    targets = _targets(source, names, goal) if goal else []
    scale = scale_of([*_column(records, "seconds"), *_column(targets, "seconds")])
    x = alt.X("seconds:Q", scale=scale, axis=alt.Axis(format=NUMBER, title="training time, s"))
    y_scale = alt.Scale(zero=False) if quality is ACCURACY else scale_of(_column(records, "value"))
    y = alt.Y("value:Q", scale=y_scale, title=quality.unit)
    pick = alt.selection_point(fields=["backend"], bind="legend")
    base = alt.Chart(alt.NamedData("epochs")).encode(
        x=x, y=y, color=color_of(names, colors, legend=True)
    )
    layers = [
        base.mark_line(strokeWidth=1.5).encode(
            detail="round:N", opacity=alt.condition(pick, alt.value(0.55), alt.value(0.08))
        ),
        base.mark_point(filled=True, size=40).encode(
            shape=shape_of(names),
            opacity=alt.condition(pick, alt.value(0.9), alt.value(0.08)),
            tooltip=[
                alt.Tooltip("backend:N"),
                alt.Tooltip("round:Q"),
                alt.Tooltip("epoch:Q"),
                alt.Tooltip("seconds:Q", format=NUMBER, title="training time, s"),
                alt.Tooltip("value:Q", format=".4~f", title=quality.unit),
            ],
        ),
        *(_target_layers(x, names, colors) if goal else ()),
    ]
    target = " ◎ marks the median time at which the target was reached." if targets else ""
    return Figure(
        title=f"{quality.title} over training time",
        caption=f"A point after each epoch of each round.{target}"
        + _thinned(source, names)
        + left_out(source),
        chart=alt.layer(layers[0].add_params(pick), *layers[1:]).properties(height=HEIGHT),
        records={
            "epochs": records,
            "targets": targets,
            "goal": [{"value": goal, "text": f"target {goal:g}%"}] if goal else [],
        },
    )


def _quality(cells: Sequence[CellResult]) -> Quality:
    has_classes = any(e.accuracy is not None for cell in cells for e in cell.epochs)
    return ACCURACY if has_classes else TEST_LOSS


def _epochs(cell: CellResult, quality: Quality) -> list[Record]:
    """Return the epochs of a cell, at most MOST_EPOCHS of them, the last one always."""
    ends = accumulate(epoch.train_s for epoch in cell.epochs)
    step = -(-len(cell.epochs) // MOST_EPOCHS)
    return [
        {
            "backend": cell.backend,
            "round": cell.round + 1,
            "epoch": epoch.number,
            "seconds": float(f"{end:.6g}"),
            "value": value,
        }
        for epoch, end in list(zip(cell.epochs, ends, strict=True))[::-step][::-1]
        if (value := quality.of(epoch)) is not None
    ]


def _column(records: Sequence[Record], name: str) -> list[float | None]:
    return [record[name] for record in records]


def _targets(source: Source, names: Sequence[str], goal: float) -> list[Record]:
    """Return when each backend reached the goal, in percent, as the accuracy table has it."""
    rows: list[Row] = list(source.summary.accuracy.itertuples())
    reached = [row for row in rows if row.backend in names and not pd.isna(row.target_s)]
    found: list[Record] = []
    written = 0.0
    for row in sorted(reached, key=lambda row: row.target_s):
        has_room = row.target_s >= ROOM * written
        written = row.target_s if has_room else written
        found.append(
            {
                "backend": row.backend,
                "seconds": row.target_s,
                "value": goal,
                "reached": f"{row.target_reached:.0f} of {row.rounds} rounds",
                "text": f"{significant(row.target_s)} s" if has_room else "",
            }
        )
    return found


def _target_layers(x: alt.X, names: Sequence[str], colors: dict[str, str]) -> list[alt.Chart]:
    """Draw the target as a line, and a ring on it where each backend got there, with its time."""
    goal = alt.Chart(alt.NamedData("goal")).encode(y="value:Q")
    base = alt.Chart(alt.NamedData("targets")).encode(
        x=x,
        color=color_of(names, colors, legend=True),
        tooltip=[
            alt.Tooltip("backend:N"),
            alt.Tooltip("seconds:Q", format=NUMBER, title="target reached after, s"),
            alt.Tooltip("reached:N"),
        ],
    )
    time = base.mark_text(align="left", dx=4, dy=-8, fontWeight="bold")
    return [
        goal.mark_rule(strokeDash=[4, 3], opacity=0.5),
        goal.mark_text(align="right", dy=11).encode(x=alt.value("width"), text="text:N"),
        base.mark_rule(strokeDash=[2, 2]).encode(y="value:Q", y2=alt.value("height")),
        base.mark_point(size=220, strokeWidth=2.5, filled=False, opacity=1).encode(y="value:Q"),
        time.encode(y=alt.value("height"), text="text:N"),
    ]


def _thinned(source: Source, names: Sequence[str]) -> str:
    """Say what was left out so that the file stays small."""
    cells = [source.of(name) for name in names]
    most = max(map(len, cells))
    text = (
        f" Only the first {MOST_ROUNDS} of {most} rounds are drawn." if most > MOST_ROUNDS else ""
    )
    epochs = max(len(cell.epochs) for group in cells for cell in group)
    if epochs > MOST_EPOCHS:
        text += f" One epoch in {-(-epochs // MOST_EPOCHS)} is drawn."
    return text


def loss(source: Source, colors: dict[str, str]) -> Figure:
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
    losses = scale_of(_column(records, "loss"))
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
        .properties(height=HEIGHT)
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
