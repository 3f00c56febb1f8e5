"""Charts of times: each backend against the baseline, every round, and where a step's time goes."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import altair as alt

from nnbench.figures.columns import significant, value
from nnbench.figures.metrics import PHASES
from nnbench.show.charts.base import (
    MARK_HEIGHT,
    MARK_LINE,
    NUMBER,
    PADDING,
    ROW,
    Chart,
    NothingToDrawError,
    bands,
    color_of,
    column,
    in_rows,
    row_of,
    scale_of,
    tooltip,
)
from nnbench.show.text import how

if TYPE_CHECKING:
    from nnbench.figures.columns import Row
    from nnbench.runs.run import Run
    from nnbench.show.charts.base import Record

POINT = 55  #: square pixels
FEW_ROUNDS = 50  #: of which every point can be large
PARTS = {**{phase.heading: phase.color for phase in PHASES}, "rest": "#BBBBBB"}  #: of a step
BAR = 16  #: pixels


def ratios(run: Run, colors: dict[str, str]) -> Chart:
    """Show how many times as fast as the baseline every backend is, and how sure that is."""
    baseline, floor = run.info.baseline, run.info.noise_floor
    records = [_speedup(row) for row in run.ranked if value(row, "speedup") is not None]
    if not run.ranked:
        raise NothingToDrawError(run.why_nothing())
    if len(records) < 2:
        raise NothingToDrawError(f"there are no two backends to compare with {baseline}")
    names = [record["backend"] for record in records]
    low, high = 1 / (1 + floor), 1 + floor
    ends = [end for name in ("speedup", "low", "high") for end in column(records, name)]
    axis = alt.Axis(format=NUMBER, grid=False, title=f"times as fast as {baseline}")
    base = alt.Chart(alt.NamedData("ratios")).encode(
        y=row_of(names),
        color=color_of(names, colors),
        tooltip=tooltip(
            *("backend:N", ("speedup:Q", NUMBER, "times as fast"), ("low:Q", NUMBER, "95% from")),
            *(("high:Q", NUMBER, "to"), "verdict:N", "n:Q"),
        ),
    )
    rule = base.mark_rule(strokeWidth=4, opacity=0.5, yOffset=MARK_LINE)
    point = base.mark_point(filled=True, size=110, opacity=1, yOffset=MARK_LINE)
    layers = in_rows(
        names,
        "ratios",
        *bands(names, "ratios", low, 1, high),
        rule.encode(x="low:Q", x2="high:Q"),
        point.encode(x=alt.X("speedup:Q", scale=scale_of([low, high, *ends]), axis=axis)),
    )
    return Chart(
        title=f"Times as fast as {baseline}",
        caption=f"{how(run.info)} The line is the 95% interval; right is faster. The band is the "
        f"noise floor of {floor:.1%}, below which {'these machines' if run.is_mixed else 'this machine'} cannot tell.",
        layers=layers,
        records={"ratios": records},
    )


def _speedup(row: Row) -> Record:
    verdict = value(row, "verdict") or "baseline"
    return {
        "backend": row.backend,
        "speedup": row.speedup,
        "low": value(row, "speedup_low"),
        "high": value(row, "speedup_high"),
        "n": row.rounds,
        "verdict": verdict,
        "text": f"{significant(row.speedup)}  {verdict}",
    }


def rounds(run: Run, colors: dict[str, str]) -> Chart:
    """Show every round of every backend, as a deviation from the backend's median."""
    rows = run.measured
    if not rows:
        raise NothingToDrawError(run.why_nothing())
    names = [row.backend for row in rows]
    floor = run.info.noise_floor * 100
    axis = alt.Axis(format="~r", grid=False, title="deviation from the backend's median, %")
    top = ROW / 2 + MARK_LINE - MARK_HEIGHT / 2
    heights = alt.Scale(zero=False, nice=False, range=[top + 3, top + MARK_HEIGHT - 3])
    size, opacity = (POINT, 0.9) if run.info.rounds <= FEW_ROUNDS else (POINT / 5, 0.5)
    points = alt.Chart(alt.NamedData("rounds")).mark_point(filled=True, size=size, opacity=opacity)
    encoded = points.encode(
        x=alt.X("percent:Q", scale=alt.Scale(padding=PADDING), axis=axis),
        y=row_of(names),
        yOffset=alt.YOffset("round:Q", scale=heights),
        color=color_of(names, colors),
        tooltip=tooltip(
            *("backend:N", "round:Q", ("seconds:Q", NUMBER, "train s/epoch")),
            *(("percent:Q", "+.1f", "deviation, %"), "flags:N"),
        ),
    )
    medians = {row.backend: row.train_s_per_epoch for row in rows}
    records = [
        {
            "backend": name,
            "round": cell.round + 1,
            "seconds": float(f"{seconds:.6g}"),
            "percent": round((seconds / middle - 1) * 100, 3),
            "flags": ", ".join(cell.flags) or "none",
        }
        for name, middle in medians.items()
        for cell, seconds in zip(run.of(name), run.groups[name].times, strict=True)
    ]
    return Chart(
        title="Every round",
        caption="Training time of an epoch in each round, the first round on top, and how far it is "
        f"from the backend's median. The band is the noise floor of ±{floor:.3g}%.",
        layers=in_rows(names, "medians", *bands(names, "medians", -floor, 0, floor), encoded),
        records={
            "rounds": records,
            "medians": [
                {"backend": name, "text": f"median {significant(middle)} s"}
                for name, middle in medians.items()
            ],
        },
    )


def phases(run: Run, colors: dict[str, str]) -> Chart:
    """Show which share of a step each phase takes."""
    del colors  # phases have their own
    rows = [row for row in run.measured if (value(row, "phases_us") or 0) > 0]
    if not rows:
        raise NothingToDrawError("no phases were measured")
    names = [row.backend for row in rows]
    axis = alt.Axis(grid=False, title="share of a training step, %")
    look = alt.Legend(orient="top", title=None, columns=3, symbolType="square")
    fill = alt.Scale(domain=list(PARTS), range=list(PARTS.values()))
    bars = alt.Chart(alt.NamedData("phases")).mark_bar(height=BAR, yOffset=MARK_LINE)
    encoded = bars.encode(
        x=alt.X("percent:Q", axis=axis, scale=alt.Scale(domain=[0, 100], nice=False)),
        y=row_of(names),
        order="order:Q",
        color=alt.Color("phase:N", scale=fill, legend=look),
        tooltip=tooltip(
            *("backend:N", "phase:N", ("percent:Q", ".1f", "share %"), ("us:Q", ",.1f", "µs")),
        ),
    )
    return Chart(
        title="Where a training step goes",
        caption="Medians, each phase timed apart on one batch after the training; rest is what the "
        "step took beyond them while training. Where the phases alone sum to more than that step, "
        "shares are of their sum.",
        layers=in_rows(names, "steps", encoded),
        records={
            "phases": [record for row in rows for record in _parts(row)],
            "steps": [
                {"backend": row.backend, "text": f"{row.step_us:,.0f} µs a step"} for row in rows
            ],
        },
    )


def _parts(row: Row) -> list[Record]:
    """Return the parts of a step; phases that older runs have not measured are left out."""
    whole = max(row.step_us, row.phases_us)
    times = [*(value(row, phase.field) for phase in PHASES), whole - row.phases_us]
    return [
        {
            "backend": row.backend,
            "phase": part,
            "us": time,
            "percent": time / whole * 100,
            "order": order,
        }
        for order, (part, time) in enumerate(zip(PARTS, times, strict=True))
        if time is not None
    ]


def ceiling(run: Run, colors: dict[str, str]) -> Chart:
    """Show how much of the machine's best speed each backend reaches."""
    records = [record for row in run.measured if (record := _share(run, row))]
    if not records:
        raise NothingToDrawError("the ceiling of this machine was not measured")
    names = [record["backend"] for record in records]
    axis = alt.Axis(grid=False, title="share of the fastest matrix product, %")
    base = alt.Chart(alt.NamedData("shares")).encode(
        y=row_of(names),
        tooltip=tooltip(
            *("backend:N", ("percent:Q", NUMBER, "of matrix products, %")),
            *(("gflops:Q", NUMBER, "GFLOP/s"), ("copies:Q", NUMBER, "of memory copies, %")),
        ),
    )
    bars = base.mark_bar(height=BAR, yOffset=MARK_LINE)
    marks = [bars.encode(x=alt.X("percent:Q", axis=axis), color=color_of(names, colors))]
    copies = ""
    if any(record["copies"] is not None for record in records):
        ticks = base.mark_tick(height=MARK_HEIGHT, thickness=3, yOffset=MARK_LINE)
        marks.append(ticks.encode(x="copies:Q"))
        copies = " The line marks the share of the bandwidth of memory copies."
    return Chart(
        title="Share of this machine's ceiling",
        caption="Operations of the network's matrix products by training time, against the best "
        "product that was measured here; medians of the rounds. Products with zeros count, so a "
        f"backend that skips them can pass 100%.{copies}",
        layers=in_rows(names, "shares", *marks),
        records={"shares": records},
    )


def _share(run: Run, row: Row) -> Record | None:
    """Return the shares that the run's roofline has, else those that the cells themselves have."""
    names = ("gflops_share", "gflops", "gb_per_s_share")
    share, gflops, copies = (value(row, name) for name in names)
    if share is None or gflops is None:
        known = [
            (c.achieved_gflops, c.achieved_gflops / c.ceiling_gflops)
            for c in run.of(row.backend)
            if c.achieved_gflops and c.ceiling_gflops
        ]
        if not known:
            return None
        gflops, share = map(median, zip(*known, strict=True))
    return {
        "backend": row.backend,
        "percent": share * 100,
        "gflops": gflops,
        "copies": None if copies is None else copies * 100,
        "text": f"{significant(share * 100, 2)}%, {significant(gflops)} GFLOP/s",
    }
