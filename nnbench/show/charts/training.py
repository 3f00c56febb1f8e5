"""Charts of the training: accuracy over time, and the loss over steps."""

from __future__ import annotations

from itertools import accumulate
from math import isfinite
from typing import TYPE_CHECKING

import altair as alt
import numpy as np

from nnbench.figures.columns import significant, value
from nnbench.show.charts.base import (
    NUMBER,
    Chart,
    NothingToDrawError,
    apart,
    color_of,
    column,
    scale_of,
    tooltip,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench.records.cells import CellResult
    from nnbench.runs.run import Run
    from nnbench.show.charts.base import Record

MOST_LINES = 12  #: backends in a chart
LINES_HEIGHT = 300  #: pixels
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
MOST_ROUNDS = 20  #: drawn of each backend, over time
MOST_EPOCHS = 100  #: drawn of each round
ROOM = 0.13  #: between two times that are written beside each other, of the axis
BINS = 120  #: of steps
THICKEST = 12.0  #: line of losses, pixels


def accuracy(run: Run, colors: dict[str, str]) -> Chart:
    """Show accuracy over training time; the test loss where there are no classes."""
    names = [row.backend for row in run.measured[:MOST_LINES]]
    if not names:
        raise NothingToDrawError(run.why_nothing())
    cells = [cell for name in names for cell in run.of(name)[:MOST_ROUNDS]]
    has_classes = any(epoch.accuracy is not None for cell in cells for epoch in cell.epochs)
    unit = "test accuracy, %" if has_classes else "test loss"
    field, scale = ("accuracy", 100) if has_classes else ("test_loss", 1)
    records = [record for cell in cells for record in _epochs(cell, field, scale)]
    if not records:
        raise NothingToDrawError("no epoch was evaluated")
    goal = (run.info.workload.target_accuracy or 0) * 100 if has_classes else 0
    seconds: list[float] = [record["seconds"] for record in records]
    targets = _targets(run, goal, seconds) if goal else []
    x = alt.X(
        "seconds:Q",
        scale=scale_of([*seconds, *column(targets, "seconds")]),
        axis=alt.Axis(format=NUMBER, title="training time, s"),
    )
    heights = alt.Scale(zero=False) if has_classes else scale_of(column(records, "value"))
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    pick = alt.selection_point(fields=["backend"], bind="legend")
    base = alt.Chart(alt.NamedData("epochs")).encode(
        x=x,
        y=alt.Y("value:Q", scale=heights, title=unit),
        color=color_of(names, colors, legend=True),
    )
    line = base.mark_line(strokeWidth=1.5).encode(
        detail="round:N", opacity=alt.condition(pick, alt.value(0.55), alt.value(0.08))
    )
    points = base.mark_point(filled=True, size=40).encode(
        shape=alt.Shape("backend:N", scale=alt.Scale(domain=names, range=shapes)),
        opacity=alt.condition(pick, alt.value(0.9), alt.value(0.08)),
        tooltip=tooltip(
            *("backend:N", "round:Q", "epoch:Q", ("seconds:Q", NUMBER, "training time, s")),
            ("value:Q", ".4~f", unit),
        ),
    )
    marks = [line.add_params(pick), points, *(_target_layers(x, names, colors) if goal else ())]
    target = " ◎ marks the median time at which the target was reached." if targets else ""
    return Chart(
        title=f"{'Accuracy' if has_classes else 'Test loss'} over training time",
        caption=f"A point after each epoch of each round.{target}{_left_out(run, names)}",
        layers=alt.layer(*marks).properties(height=LINES_HEIGHT),
        records={
            "epochs": records,
            "targets": targets,
            "goal": [{"value": goal, "text": f"target {goal:g}%"}] if goal else [],
        },
    )


def _epochs(cell: CellResult, field: str, scale: float) -> list[Record]:
    """Return the epochs of a cell, at most MOST_EPOCHS of them, the last one always."""
    ends = accumulate(epoch.train_s for epoch in cell.epochs)
    step = -(-len(cell.epochs) // MOST_EPOCHS)
    return [
        {
            "backend": cell.backend,
            "round": cell.round + 1,
            "epoch": epoch.number,
            "seconds": float(f"{end:.6g}"),
            "value": quality * scale,
        }
        for epoch, end in list(zip(cell.epochs, ends, strict=True))[::-step][::-1]
        if (quality := getattr(epoch, field)) is not None
    ]


def _targets(run: Run, goal: float, seconds: Sequence[float]) -> list[Record]:
    """Return when each backend reached the goal, in percent, as the accuracy table has it.

    Of the seconds that epochs ended after, an axis is made, which has room for so many texts.
    """
    reached = [row for row in run.measured[:MOST_LINES] if value(row, "target_s") is not None]
    targets: list[Record] = []
    written: float | None = None
    for row in sorted(reached, key=lambda row: row.target_s):
        has_room = written is None or apart(seconds, written, row.target_s) >= ROOM
        written = row.target_s if has_room else written
        targets.append(
            {
                "backend": row.backend,
                "seconds": row.target_s,
                "value": goal,
                "reached": f"{row.target_reached:.0f} of {row.rounds} rounds",
                "text": f"{significant(row.target_s)} s" if has_room else "",
            }
        )
    return targets


def _target_layers(x: alt.X, names: Sequence[str], colors: dict[str, str]) -> list[alt.Chart]:
    """Draw the target as a line, and a ring on it where each backend got there, with its time."""
    goal = alt.Chart(alt.NamedData("goal")).encode(y="value:Q")
    base = alt.Chart(alt.NamedData("targets")).encode(
        x=x,
        color=color_of(names, colors, legend=True),
        tooltip=tooltip("backend:N", ("seconds:Q", NUMBER, "target reached after, s"), "reached:N"),
    )
    time = base.mark_text(align="left", dx=4, dy=-8, fontWeight="bold")
    return [
        goal.mark_rule(strokeDash=[4, 3], opacity=0.5),
        goal.mark_text(align="right", dy=11).encode(x=alt.value("width"), text="text:N"),
        base.mark_rule(strokeDash=[2, 2]).encode(y="value:Q", y2=alt.value("height")),
        base.mark_point(size=220, strokeWidth=2.5, filled=False, opacity=1).encode(y="value:Q"),
        time.encode(y=alt.value("height"), text="text:N"),
    ]


def _left_out(run: Run, names: Sequence[str]) -> str:
    """Say what has no rank, and what was left out so that the file stays small."""
    cells = [run.of(name) for name in names]
    most, text = max(map(len, cells)), ""
    if most > MOST_ROUNDS:
        text = f" Only the first {MOST_ROUNDS} of {most} rounds are drawn."
    epochs = max(len(cell.epochs) for group in cells for cell in group)
    if epochs > MOST_EPOCHS:
        text += f" One epoch in {-(-epochs // MOST_EPOCHS)} is drawn."
    unranked = [row.backend for row in run.measured if row.no_rank and row.backend in names]
    if unranked and run.ranked:
        text += f" Without a rank: {', '.join(unranked)}."
    if (count := len(run.measured)) > MOST_LINES:
        text += f" Only the {MOST_LINES} first of {count} backends are drawn."
    return text


def losses(run: Run, colors: dict[str, str]) -> Chart:
    """Show the training loss over steps, also of backends that went wrong."""
    steps = {name: max(cell.steps for cell in group.cells) for name, group in run.groups.items()}
    names = [name for name, most in steps.items() if most][:MOST_LINES]
    if not names:
        raise NothingToDrawError(run.why_nothing())
    thicker = min(3.0, THICKEST / len(names))
    starts = _edges(max(steps[name] for name in names))[:-1]
    sums = {name: np.zeros((3, len(starts))) for name in names}
    for name, curve in run.losses(names):
        sums[name] += _sums(starts, np.array(curve, dtype=np.float64))
    records: list[Record] = [
        {"backend": name, "step": step, "loss": loss, "width": 2 + thicker * i}
        for i, name in reversed(list(enumerate(reversed(names))))
        for step, loss in _means(sums[name])
    ]
    pick = alt.selection_point(fields=["backend"], bind="legend")
    axis = alt.Axis(format=",d", title="step")
    scale = scale_of(column(records, "loss"))
    chart = (
        alt.Chart(alt.NamedData("losses"))
        .mark_line(strokeCap="round")
        .encode(
            x=alt.X("step:Q", scale=alt.Scale(type="log", nice=False), axis=axis),
            y=alt.Y("loss:Q", scale=scale, axis=alt.Axis(format=NUMBER, title="training loss")),
            color=color_of(names, colors, legend=True),
            strokeWidth=alt.StrokeWidth("width:Q", scale=None),
            opacity=alt.condition(pick, alt.value(1), alt.value(0.08)),
            tooltip=tooltip("backend:N", ("step:Q", ".1~f"), ("loss:Q", ".4~f")),
        )
        .add_params(pick)
        .properties(height=LINES_HEIGHT)
    )
    return Chart(
        title="Training loss over steps",
        caption="Mean over the rounds, and over bins of steps that grow with the logarithm: the first "
        "steps one by one, the later ones together. Equal networks lie on each other: a "
        "narrower line covers a wider one. A line stops where a loss was not finite.",
        layers=chart,
        records={"losses": records},
    )


def _edges(steps: int) -> NDArray[np.int64]:
    """Cut steps 0 to ``steps`` into bins of equal width in the logarithm, of one step at least."""
    return np.unique(np.geomspace(1, steps + 1, BINS + 1).astype(np.int64)) - 1


def _sums(starts: NDArray[np.int64], curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums over bins of a cell's steps: of their numbers, from 1, of their losses and of ones.

    A bin goes from one of ``starts`` to the next; a loss that is not finite is nan.
    """
    own = starts[starts < len(curve)]
    values = [np.arange(1.0, len(curve) + 1), curve, np.ones(len(curve))]
    sums = np.zeros((3, len(starts)))
    sums[:, : len(own)] = np.add.reduceat(values, own, axis=1)
    return sums


def _means(sums: NDArray[np.float64]) -> list[tuple[float, float | None]]:
    """Return the mean step and the mean loss of each bin that was reached."""
    steps, losses, counts = sums[:, sums[2] > 0]
    return [
        (round(step, 1), float(f"{loss:.5g}") if isfinite(loss) else None)
        for step, loss in zip((steps / counts).tolist(), (losses / counts).tolist(), strict=True)
    ]
