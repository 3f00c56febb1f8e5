"""Charts of times: each backend against the baseline, and every round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from nnbench.figures.frames import epoch_s
from nnbench.figures.values import significant
from nnbench.show.charts.figure import (
    MARK_HEIGHT,
    MARK_LINE,
    NUMBER,
    PADDING,
    ROW,
    Figure,
    NothingToDrawError,
    color_of,
    row_bands,
    row_of,
    row_texts,
    scale_of,
)

if TYPE_CHECKING:
    from nnbench.figures.values import Row
    from nnbench.show.charts.figure import Record
    from nnbench.show.source import Source

POINT = 55  #: square pixels
FEW_ROUNDS = 50  #: of which every point can be large


def ratios(source: Source, colors: dict[str, str]) -> Figure:
    """Show how many times the baseline's time every backend takes, and how sure that is."""
    rows = [row for row in source.ranked if not pd.isna(row.ratio)]
    info = source.info
    if len(rows) < 2:
        raise NothingToDrawError(f"there are no two backends to compare with {info.baseline}")
    names = [row.backend for row in rows]
    low, high = 1 / (1 + info.noise_floor), 1 + info.noise_floor
    ends = [
        value for row in rows for value in (row.ratio, _end(row.ratio_low), _end(row.ratio_high))
    ]
    x = alt.X(
        "ratio:Q",
        scale=scale_of([low, high, *ends]),
        axis=alt.Axis(format=NUMBER, grid=False, title=f"training time × {info.baseline}"),
    )
    y = row_of(names)
    base = alt.Chart(alt.NamedData("ratios")).encode(
        y=y, color=color_of(names, colors), tooltip=_ratio_tooltip()
    )
    chart = alt.layer(
        *row_bands(low, 1, high, "ratios", y),
        base.mark_rule(strokeWidth=4, opacity=0.5, yOffset=MARK_LINE).encode(
            x="low:Q", x2="high:Q"
        ),
        base.mark_point(filled=True, size=110, opacity=1, yOffset=MARK_LINE).encode(x=x),
        *row_texts(names, "ratios"),
    )
    return Figure(
        title=f"Training time against {info.baseline}",
        caption="Median ratio within a round, and its 95% interval; left is faster. The band is the "
        f"noise floor of {info.noise_floor:.1%}, below which this machine cannot tell.",
        chart=chart.properties(height=ROW * len(names)),
        records={"ratios": [_ratio_record(row) for row in rows]},
    )


def _end(value: float | None) -> float | None:
    return None if pd.isna(value) else value


def _ratio_record(row: Row) -> Record:
    verdict = row.verdict if isinstance(row.verdict, str) else "baseline"
    return {
        "backend": row.backend,
        "ratio": row.ratio,
        "low": _end(row.ratio_low),
        "high": _end(row.ratio_high),
        "n": row.rounds,
        "verdict": verdict,
        "text": f"× {significant(row.ratio)}  {verdict}",
    }


def _ratio_tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("backend:N"),
        alt.Tooltip("ratio:Q", format=NUMBER),
        alt.Tooltip("low:Q", format=NUMBER, title="95% from"),
        alt.Tooltip("high:Q", format=NUMBER, title="to"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("n:Q"),
    ]


def rounds(source: Source, colors: dict[str, str]) -> Figure:
    """Show every round of every backend, as a deviation from the backend's median."""
    rows = source.ranked
    if not rows:
        raise NothingToDrawError(source.why_nothing())
    names = [row.backend for row in rows]
    floor = source.info.noise_floor * 100
    records = [record for row in rows for record in _round_records(source, row)]
    x = alt.X(
        "percent:Q",
        scale=alt.Scale(padding=PADDING),
        axis=alt.Axis(format="~r", grid=False, title="deviation from the backend's median, %"),
    )
    top = ROW / 2 + MARK_LINE - MARK_HEIGHT / 2
    offset = alt.YOffset(
        "round:Q", scale=alt.Scale(zero=False, nice=False, range=[top + 3, top + MARK_HEIGHT - 3])
    )
    y = row_of(names)
    size = POINT if source.info.rounds <= FEW_ROUNDS else POINT / 5
    chart = alt.layer(
        *row_bands(-floor, 0, floor, "medians", y),
        alt.Chart(alt.NamedData("rounds"))
        .mark_point(filled=True, size=size, opacity=0.9 if size == POINT else 0.5)
        .encode(
            x=x,
            y=y,
            yOffset=offset,
            color=color_of(names, colors),
            tooltip=[
                alt.Tooltip("backend:N"),
                alt.Tooltip("round:Q"),
                alt.Tooltip("seconds:Q", format=NUMBER, title="train s/epoch"),
                alt.Tooltip("percent:Q", format="+.1f", title="deviation, %"),
                alt.Tooltip("flags:N"),
            ],
        ),
        *row_texts(names, "medians"),
    )
    return Figure(
        title="Every round",
        caption="Training time of an epoch in each round, the first round on top, and how far it is "
        f"from the backend's median. The band is the noise floor of ±{floor:.3g}%.",
        chart=chart.properties(height=ROW * len(names)),
        records={
            "rounds": records,
            "medians": [
                {"backend": row.backend, "text": f"median {significant(row.train_s_per_epoch)} s"}
                for row in rows
            ],
        },
    )


def _round_records(source: Source, row: Row) -> list[Record]:
    return [
        {
            "backend": row.backend,
            "round": cell.round + 1,
            "seconds": float(f"{(seconds := epoch_s(cell)):.6g}"),
            "percent": round((seconds / row.train_s_per_epoch - 1) * 100, 3),
            "flags": ", ".join(cell.flags) or "none",
        }
        for cell in source.of(row.backend)
    ]
