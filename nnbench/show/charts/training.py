"""Charts of the training: accuracy over time, the loss over steps, and how near that is to the reference's."""

from __future__ import annotations

from itertools import accumulate
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from nnbench.figures import columns
from nnbench.figures.columns import significant, value
from nnbench.show.charts import labels
from nnbench.show.charts.base import (
    MARK_HEIGHT,
    MARK_LINE,
    NUMBER,
    ROW,
    Chart,
    NothingToDrawError,
    color_of,
    column,
    in_rows,
    row_of,
    scale_of,
    tooltip,
)
from nnbench.show.charts.labels import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench.figures.columns import Row
    from nnbench.figures.frames import Group
    from nnbench.records.cells import CellResult
    from nnbench.runs.run import Run
    from nnbench.show.charts.base import Record

MOST_LINES = 12  #: backends in a chart
LINES_HEIGHT = 300  #: pixels
MOST_EPOCHS = 100  #: drawn of each backend
MIDDLE_HALF = (0.25, 0.5, 0.75)  #: quantiles: the band, and the line in it
BINS = 120  #: of steps
THICKEST = 12.0  #: line of losses, pixels
PROVED = "#888888"  #: of the one line of all whose training was proved to be the same


def accuracy(run: Run, colors: dict[str, str]) -> Chart:
    """Show accuracy over training time; the test loss where there are no classes."""
    rows = run.measured[:MOST_LINES]
    if not rows:
        raise NothingToDrawError(run.why_nothing())
    names = [row.backend for row in rows]
    cells = [cell for name in names for cell in run.of(name)]
    has_classes = any(epoch.accuracy is not None for cell in cells for epoch in cell.epochs)
    unit = "test accuracy, %" if has_classes else "test loss"
    field, scale = ("accuracy", 100) if has_classes else ("test_loss", 1)
    curves = {name: _curve(name, run.of(name), field, scale) for name in names}
    epochs = [record for name in names for record in curves[name]]
    if not epochs:
        raise NothingToDrawError("no epoch was evaluated")
    goal = (run.info.workload.target_accuracy or 0) * 100 if has_classes else 0
    named = [label for row in rows for label in _label(row, curves[row.backend], goal)]
    across = Span.of(record["seconds"] for record in (*epochs, *named))
    across = labels.room_for(across, [(label["seconds"], label["text"]) for label in named])
    if goal:  # whose text is to the left of all that comes near it
        before = min(_before(curve, goal) for curve in curves.values() if curve)
        across = across.beginning(before, labels.width(_target_text(goal)) / labels.PLOT)
    ends = [record[end] for record in epochs for end in ("low", "high")]
    up = Span.of([*ends, goal] if goal else ends)
    above = labels.placed(named, across)
    height = LINES_HEIGHT + above
    for label in named:
        label["bottom"] = height - up.share(label["value"]) * LINES_HEIGHT
    heights = up.scale(range=[height, above])
    x = alt.X(
        "seconds:Q",
        scale=across.scale(),
        axis=alt.Axis(format=NUMBER, grid=False, title="training time, s"),
    )
    color, y = color_of(names, colors), alt.Axis(title=unit)
    pick = alt.selection_point(fields=["backend"])

    def shown(opacity: float) -> Any:
        return alt.condition(pick, alt.value(opacity), alt.value(0.08))

    drawn = alt.Chart(alt.NamedData("epochs")).encode(x=x, color=color)
    at = alt.Y("value:Q", scale=heights, axis=y)
    marks = [
        drawn.mark_area().encode(
            y=alt.Y("low:Q", scale=heights, axis=y), y2="high:Q", opacity=shown(0.16)
        ),
        drawn.mark_line(strokeWidth=2).encode(y=at, opacity=shown(1)),
        drawn.mark_point(filled=True, size=25)
        .encode(
            y=at,
            opacity=shown(1),
            tooltip=tooltip(
                *("backend:N", "epoch:Q", ("seconds:Q", NUMBER, "training time, s")),
                *(("value:Q", ".4~f", unit), ("low:Q", ".4~f", "from"), ("high:Q", ".4~f", "to")),
                ("rounds:Q", "d"),
            ),
        )
        .add_params(pick),
        *(_goal(heights) if goal else ()),
        *labels.layers("labels", x, color, tooltip("backend:N", "seconds:Q", "target:N")),
    ]
    words = (
        " A label has the median time after which the target was reached, where it was."
        if goal
        else " A label has the time at the end."
    )
    return Chart(
        title=f"{'Accuracy' if has_classes else 'Test loss'} over training time",
        caption=f"Medians of the rounds after each epoch, and the band of their middle half.{words}"
        f"{_left_out(run, names)}",
        layers=alt.layer(*marks).properties(height=height),
        records={
            "epochs": epochs,
            "labels": named,
            "goal": [{"value": goal, "text": _target_text(goal)}] if goal else [],
        },
    )


def _curve(name: str, cells: Sequence[CellResult], field: str, scale: float) -> list[Record]:
    """Return each epoch that half of the rounds have, at most MOST_EPOCHS of them, the last one always."""
    found: dict[int, list[tuple[float, float]]] = {}
    for cell in cells:
        ends = accumulate(epoch.train_s for epoch in cell.epochs)
        for epoch, end in zip(cell.epochs, ends, strict=True):
            if (quality := getattr(epoch, field)) is not None:
                found.setdefault(epoch.number, []).append((end, quality * scale))
    usual = {number: each for number, each in found.items() if 2 * len(each) >= len(cells)}
    step = -(-len(usual) // MOST_EPOCHS) or 1
    records = []
    for number in sorted(usual)[::-step][::-1]:
        seconds, qualities = zip(*usual[number], strict=True)
        low, middle, high = np.quantile(qualities, MIDDLE_HALF).tolist()
        record = {"backend": name, "epoch": number, "seconds": float(np.median(seconds))}
        record |= {"value": middle, "low": low, "high": high, "rounds": len(qualities)}
        records.append({key: _rounded(each) for key, each in record.items()})
    return records


def _rounded(value: object) -> object:
    """Return what is drawn of a number."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _label(row: Row, curve: Sequence[Record], goal: float) -> list[Record]:
    """Return the label of a backend: where it reached the goal, as the accuracy table has it, or else at its end."""
    name, target = labels.short(row.backend), "not reached" if goal else "none"
    if goal and (target_s := value(row, "target_s")) is not None:
        point, text = (target_s, goal), f"{name} {significant(target_s)} s"
        target = f"reached in {row.target_reached:.0f} of {row.rounds} rounds"
    elif curve:
        point = curve[-1]["seconds"], curve[-1]["value"]
        text = name if goal else f"{name} {significant(point[0])} s"
    else:
        return []
    seconds, quality = point
    record = {"backend": row.backend, "seconds": seconds, "value": quality, "text": text}
    return [record | {"target": target}]


def _target_text(goal: float) -> str:
    return f"target {goal:g}%"


def _before(curve: Sequence[Record], goal: float) -> float:
    """Return when a curve was below a goal for the last time before it reached it, or else when it begins."""
    reached = next((i for i, record in enumerate(curve) if record["value"] >= goal), 0)
    seconds: float = curve[max(reached - 1, 0)]["seconds"]
    return seconds


def _goal(heights: alt.Scale) -> list[alt.Chart]:
    """Draw the target as a line."""
    goal = alt.Chart(alt.NamedData("goal")).encode(y=alt.Y("value:Q", scale=heights))
    return [
        goal.mark_rule(strokeDash=[4, 3], opacity=0.6),
        goal.mark_text(align="left", dy=-7, fontSize=11).encode(x=alt.value(2), text="text:N"),
    ]


def _left_out(run: Run, names: Sequence[str]) -> str:
    """Say what has no rank, and what was left out so that the chart can be read."""
    text = ""
    epochs = max(len(cell.epochs) for name in names for cell in run.of(name))
    if epochs > MOST_EPOCHS:
        text += f" One epoch in {-(-epochs // MOST_EPOCHS)} is drawn."
    unranked = [row.backend for row in run.measured if row.no_rank and row.backend in names]
    if unranked and run.ranked:
        text += f" Without a rank: {', '.join(unranked)}."
    if (count := len(run.measured)) > MOST_LINES:
        text += f" Only the {MOST_LINES} first of {count} backends are drawn."
    return text


def losses(run: Run, colors: dict[str, str]) -> Chart:
    """Show the training loss over steps, also of backends that went wrong; one line for all that were proved to be right."""
    steps = {name: max(cell.steps for cell in group.cells) for name, group in run.groups.items()}
    names = [name for name, most in steps.items() if most][:MOST_LINES]
    if not names:
        raise NothingToDrawError(run.why_nothing())
    alike = [name for name in names if _is_proved(run.groups[name])]
    shared = f"{len(alike)} backends, proved to be the same"
    line_of = {name: shared if name in alike and alike[1:] else name for name in names}
    lines = list(dict.fromkeys(line_of.values()))
    thicker = min(3.0, THICKEST / len(lines))
    starts = _edges(max(steps[name] for name in names))[:-1]
    sums = {line: np.zeros((3, len(starts))) for line in lines}
    for name, curve in run.losses(names):
        sums[line_of[name]] += _sums(starts, np.array(curve, dtype=np.float64))
    records: list[Record] = [
        {"backend": line, "step": step, "loss": loss, "width": 2 + thicker * i}
        for i, line in reversed(list(enumerate(reversed(lines))))
        for step, loss in _means(sums[line])
    ]
    pick = alt.selection_point(fields=["backend"], bind="legend")
    axis = alt.Axis(format=",d", title="step")
    height = max(LINES_HEIGHT, ROW * len(names))  # of what stands beside it
    scale = scale_of(column(records, "loss"))
    color = color_of(lines, {**colors, shared: PROVED}, legend=lines != names[:1])
    chart = (
        alt.Chart(alt.NamedData("losses"))
        .mark_line(strokeCap="round")
        .encode(
            x=alt.X("step:Q", scale=alt.Scale(type="log", nice=False), axis=axis),
            y=alt.Y("loss:Q", scale=scale, axis=alt.Axis(format=NUMBER, title="training loss")),
            color=color,
            strokeWidth=alt.StrokeWidth("width:Q", scale=None),
            opacity=alt.condition(pick, alt.value(1), alt.value(0.08)),
            tooltip=tooltip("backend:N", ("step:Q", ".1~f"), ("loss:Q", ".4~f")),
        )
        .add_params(pick)
        .properties(height=height)
    )
    one = f"One line is that of {', '.join(alike)}: each was proved to train the same. "
    return Chart(
        title="Training loss over steps",
        caption=f"{one if alike[1:] else ''}Mean over the rounds, and over bins of steps that grow with the logarithm: the first "
        "steps one by one, the later ones together. A line stops where a loss was not finite.",
        layers=chart,
        records={"losses": records},
    )


def _is_proved(group: Group) -> bool:
    """Tell whether the reference has followed all trainings of a backend, which are those that were asked for."""
    return bool(group.times) and all(c.is_followed and not c.other_optimizer for c in group.cells)


def deviations(run: Run, colors: dict[str, str]) -> Chart:
    """Show how far the losses of each backend are from those of the reference, and how far they may be."""
    rows = [row for row in run.frame if value(row, "loss_deviation") is not None]
    if not rows:
        raise NothingToDrawError("nothing was proved")
    names = [row.backend for row in rows]
    text = columns.column(run.info, "loss_deviation").text
    records: list[Record] = [
        {
            "backend": row.backend,
            "deviation": row.loss_deviation if 0 < row.loss_deviation < inf else None,
            "allowed": row.loss_tolerance,
            "text": text(row),
        }
        for row in rows
    ]
    ends = [n for name in ("deviation", "allowed") for n in column(records, name) if n]
    axis = alt.Axis(format=".0e", grid=False, title="largest deviation of a loss, relatively")
    x = alt.X("deviation:Q", scale=Span.of(ends).scale(), axis=axis)
    base = alt.Chart(alt.NamedData("deviations")).encode(
        y=row_of(names), tooltip=tooltip("backend:N", ("text:N", "", "deviation"))
    )
    limit = base.mark_tick(height=MARK_HEIGHT, thickness=3, yOffset=MARK_LINE)
    point = base.mark_point(filled=True, size=110, opacity=1, yOffset=MARK_LINE)
    return Chart(
        title="Losses against the reference",
        caption="The largest deviation of a step's loss from that of the float64 reference, which trains on from the backend's own "
        "parameters; left is nearer. The line is what is allowed.",
        layers=in_rows(
            names,
            "deviations",
            limit.encode(x="allowed:Q"),
            point.encode(x=x, color=color_of(names, colors)),
        ),
        records={"deviations": records},
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
