"""Chart of accuracy, or of the test loss where there are no classes, over training time."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import altair as alt
import pandas as pd

from nnbench.figures.values import significant
from nnbench.show.charts.figure import (
    LINES_HEIGHT,
    NUMBER,
    Figure,
    NothingToDrawError,
    color_of,
    column,
    left_out,
    lines,
    scale_of,
    shape_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.figures.values import Row
    from nnbench.records import CellResult, Epoch
    from nnbench.show.charts.figure import Record
    from nnbench.show.source import Source

MOST_ROUNDS = 20  #: drawn of each backend, over time
MOST_EPOCHS = 100  #: drawn of each round
ROOM = 1.3  #: between two times that are written beside each other


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


def over_time(source: Source, colors: dict[str, str]) -> Figure:
    """Show accuracy over training time; the test loss where there are no classes."""
    names = lines(source)
    cells = [cell for name in names for cell in source.of(name)[:MOST_ROUNDS]]
    quality = _quality(cells)
    records = [record for cell in cells for record in _epochs(cell, quality)]
    if not records:
        raise NothingToDrawError("no epoch was evaluated")
    goal = (source.info.workload.target_accuracy or 0) * 100 if quality is ACCURACY else 0
    targets = _targets(source, names, goal) if goal else []
    scale = scale_of([*column(records, "seconds"), *column(targets, "seconds")])
    x = alt.X("seconds:Q", scale=scale, axis=alt.Axis(format=NUMBER, title="training time, s"))
    y_scale = alt.Scale(zero=False) if quality is ACCURACY else scale_of(column(records, "value"))
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
        chart=alt.layer(layers[0].add_params(pick), *layers[1:]).properties(height=LINES_HEIGHT),
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
