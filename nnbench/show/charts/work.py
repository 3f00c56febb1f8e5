"""Charts of work: where the time of a step goes, and how near to the machine's limit it is."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from nnbench.figures.metrics import PHASES
from nnbench.figures.values import significant
from nnbench.show.charts import theme
from nnbench.show.charts.figure import (
    MARK_HEIGHT,
    MARK_LINE,
    NUMBER,
    ROW,
    Figure,
    NothingToDrawError,
    color_of,
    row_of,
    row_texts,
)

if TYPE_CHECKING:
    from nnbench.figures.values import Row
    from nnbench.show.charts.figure import Record
    from nnbench.show.source import Source

PARTS = (*(name.removesuffix("_us") for name in PHASES), "rest")
BAR = 16  #: pixels


def phases(source: Source, colors: dict[str, str]) -> Figure:
    """Show which share of a step each phase takes."""
    del colors  # phases have their own
    rows = [row for row in source.ranked if row.phases_us > 0]
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
                scale=alt.Scale(domain=list(PARTS), range=list(theme.PHASES)),
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
    return Figure(
        title="Where a training step goes",
        caption="Medians, each phase timed apart on one batch after the training; rest is what the "
        "step took beyond them while training. Where the phases alone sum to more than that step, "
        "shares are of their sum.",
        chart=chart.properties(height=ROW * len(names)),
        records={
            "phases": [record for row in rows for record in _phase_records(row)],
            "steps": [
                {"backend": row.backend, "text": f"{row.step_us:,.0f} µs a step"} for row in rows
            ],
        },
    )


def _phase_records(row: Row) -> list[Record]:
    whole = max(row.step_us, row.phases_us)
    times = [*(getattr(row, name) for name in PHASES), whole - row.phases_us]
    return [
        {
            "backend": row.backend,
            "phase": phase,
            "us": time,
            "percent": time / whole * 100,
            "order": order,
        }
        for order, (phase, time) in enumerate(zip(PARTS, times, strict=True))
    ]


def ceiling(source: Source, colors: dict[str, str]) -> Figure:
    """Show how much of the machine's best speed each backend reaches."""
    records = [record for row in source.ranked if (record := _share(source, row))]
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
    return Figure(
        title="Share of this machine's ceiling",
        caption="Operations of the network's matrix products by training time, against the best "
        "product that was measured here; medians of the rounds. Products with zeros count, so a "
        f"backend that skips them can pass 100%.{copies}",
        chart=chart.properties(height=ROW * len(names)),
        records={"shares": records},
    )


def _share(source: Source, row: Row) -> Record | None:
    """Return the shares that the run's roofline has, else those that the cells themselves have."""
    names = ("gflops_share", "gflops", "gb_per_s_share")
    share, gflops, copies = (getattr(row, name, None) for name in names)
    if share is None or gflops is None or pd.isna(share):
        cells = [c for c in source.of(row.backend) if c.achieved_gflops and c.ceiling_gflops]
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
