"""Charts of times: each backend against the baseline, every round, and where a step's time goes."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from nnbench.figures.columns import significant
from nnbench.figures.metrics import PHASES
from nnbench.show.charts.base import (
    MARK_HEIGHT,
    MARK_LINE,
    NUMBER,
    PADDING,
    ROW,
    Chart,
    NothingToDrawError,
    color_of,
    row_bands,
    row_of,
    row_texts,
    scale_of,
)

if TYPE_CHECKING:
    from nnbench.figures.columns import Row
    from nnbench.runs.run import Run
    from nnbench.show.charts.base import Record

POINT = 55  #: square pixels
FEW_ROUNDS = 50  #: of which every point can be large
PARTS = {**{phase.heading: phase.color for phase in PHASES}, "rest": "#BBBBBB"}  #: of a step
BAR = 16  #: pixels


def ratios(run: Run, colors: dict[str, str]) -> Chart:
    """Show how many times the baseline's time every backend takes, and how sure that is."""
    rows = [row for row in run.ranked if not pd.isna(row.ratio)]
    info = run.info
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
    return Chart(
        title=f"Training time against {info.baseline}",
        caption="Median ratio within a round, and its 95% interval; left is faster. The band is the "
        f"noise floor of {info.noise_floor:.1%}, below which this machine cannot tell.",
        layers=chart.properties(height=ROW * len(names)),
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


def rounds(run: Run, colors: dict[str, str]) -> Chart:
    """Show every round of every backend, as a deviation from the backend's median."""
    rows = run.ranked
    if not rows:
        raise NothingToDrawError(run.why_nothing())
    names = [row.backend for row in rows]
    floor = run.info.noise_floor * 100
    records = [record for row in rows for record in _round_records(run, row)]
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
    size = POINT if run.info.rounds <= FEW_ROUNDS else POINT / 5
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
    return Chart(
        title="Every round",
        caption="Training time of an epoch in each round, the first round on top, and how far it is "
        f"from the backend's median. The band is the noise floor of ±{floor:.3g}%.",
        layers=chart.properties(height=ROW * len(names)),
        records={
            "rounds": records,
            "medians": [
                {"backend": row.backend, "text": f"median {significant(row.train_s_per_epoch)} s"}
                for row in rows
            ],
        },
    )


def _round_records(run: Run, row: Row) -> list[Record]:
    group = run.groups[row.backend]
    return [
        {
            "backend": row.backend,
            "round": cell.round + 1,
            "seconds": float(f"{seconds:.6g}"),
            "percent": round((seconds / row.train_s_per_epoch - 1) * 100, 3),
            "flags": ", ".join(cell.flags) or "none",
        }
        for cell, seconds in zip(group.cells, group.times, strict=True)
    ]


def phases(run: Run, colors: dict[str, str]) -> Chart:
    """Show which share of a step each phase takes."""
    del colors  # phases have their own
    rows = [row for row in run.ranked if row.phases_us > 0]
    if not rows:
        raise NothingToDrawError("no phases were measured")
    names = [row.backend for row in rows]
    chart = alt.layer(
        alt.Chart(alt.NamedData("phases"))
        .mark_bar(height=BAR, yOffset=MARK_LINE)
        .encode(
            x=alt.X(
                "percent:Q",
                axis=alt.Axis(grid=False, title="share of a training step, %"),
                scale=alt.Scale(domain=[0, 100], nice=False),
            ),
            y=row_of(names),
            order="order:Q",
            color=alt.Color(
                "phase:N",
                scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())),
                legend=alt.Legend(orient="top", title=None, columns=3, symbolType="square"),
            ),
            tooltip=[
                alt.Tooltip("backend:N"),
                alt.Tooltip("phase:N"),
                alt.Tooltip("percent:Q", format=".1f", title="share %"),
                alt.Tooltip("us:Q", format=",.1f", title="µs"),
            ],
        ),
        *row_texts(names, "steps"),
    )
    return Chart(
        title="Where a training step goes",
        caption="Medians, each phase timed apart on one batch after the training; rest is what the "
        "step took beyond them while training. Where the phases alone sum to more than that step, "
        "shares are of their sum.",
        layers=chart.properties(height=ROW * len(names)),
        records={
            "phases": [record for row in rows for record in _phase_records(row)],
            "steps": [
                {"backend": row.backend, "text": f"{row.step_us:,.0f} µs a step"} for row in rows
            ],
        },
    )


def _phase_records(row: Row) -> list[Record]:
    whole = max(row.step_us, row.phases_us)
    times = [*(getattr(row, phase.field) for phase in PHASES), whole - row.phases_us]
    return [
        {
            "backend": row.backend,
            "phase": part,
            "us": time,
            "percent": time / whole * 100,
            "order": order,
        }
        for order, (part, time) in enumerate(zip(PARTS, times, strict=True))
        if not pd.isna(time)  # a phase that older runs have not measured
    ]


def ceiling(run: Run, colors: dict[str, str]) -> Chart:
    """Show how much of the machine's best speed each backend reaches."""
    records = [record for row in run.ranked if (record := _share(run, row))]
    if not records:
        raise NothingToDrawError("the ceiling of this machine was not measured")
    names = [str(record["backend"]) for record in records]
    axis = alt.Axis(grid=False, title="share of the fastest matrix product, %")
    base = alt.Chart(alt.NamedData("shares")).encode(
        y=row_of(names),
        tooltip=[
            alt.Tooltip("backend:N"),
            alt.Tooltip("percent:Q", format=NUMBER, title="of matrix products, %"),
            alt.Tooltip("gflops:Q", format=NUMBER, title="GFLOP/s"),
            alt.Tooltip("copies:Q", format=NUMBER, title="of memory copies, %"),
        ],
    )
    bars = base.mark_bar(height=BAR, yOffset=MARK_LINE)
    ticks = base.mark_tick(height=MARK_HEIGHT, thickness=3, yOffset=MARK_LINE)
    has_copies = any(record["copies"] is not None for record in records)
    chart = alt.layer(
        bars.encode(x=alt.X("percent:Q", axis=axis), color=color_of(names, colors)),
        *([ticks.encode(x="copies:Q")] if has_copies else ()),
        *row_texts(names, "shares"),
    )
    copies = " The line marks the share of the bandwidth of memory copies." if has_copies else ""
    return Chart(
        title="Share of this machine's ceiling",
        caption="Operations of the network's matrix products by training time, against the best "
        "product that was measured here; medians of the rounds. Products with zeros count, so a "
        f"backend that skips them can pass 100%.{copies}",
        layers=chart.properties(height=ROW * len(names)),
        records={"shares": records},
    )


def _share(run: Run, row: Row) -> Record | None:
    """Return the shares that the run's roofline has, else those that the cells themselves have."""
    names = ("gflops_share", "gflops", "gb_per_s_share")
    share, gflops, copies = (getattr(row, name, None) for name in names)
    if share is None or gflops is None or pd.isna(share):
        cells = [c for c in run.of(row.backend) if c.achieved_gflops and c.ceiling_gflops]
        if not cells:
            return None
        gflops = median(c.achieved_gflops or 0.0 for c in cells)
        share = median((c.achieved_gflops or 0.0) / (c.ceiling_gflops or 1.0) for c in cells)
    return {
        "backend": row.backend,
        "percent": share * 100,
        "gflops": gflops,
        "copies": None if pd.isna(copies) else copies * 100,
        "text": f"{significant(share * 100, 2)}%, {significant(gflops)} GFLOP/s",
    }
