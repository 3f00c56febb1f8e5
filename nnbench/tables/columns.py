"""What the columns of the tables say, and how each value is written."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from nnbench.tables.sparkline import BARS, sparkline

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.runs.results import Roof, RunInfo

MISSING = "–"
MOST_BARS = 40  #: with more rounds, a bar is the median of several
MOST_ROUNDS = 20  #: that are written out; the CSV has all
Row = Any  # a namedtuple from DataFrame.itertuples


class Column(NamedTuple):
    """A heading, how to write a row's value below it, and what it is made of."""

    heading: str
    text: Callable[[Row], str]
    name: str  #: as users type it
    parts: tuple[str, ...] | None = None  #: fields of the frame, if not that of the same name
    drop: int = 0  #: on a narrow terminal 1 goes first, then 2; 0 stays
    wraps: bool = False  #: words, on several lines if need be; not a figure

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the frame that it is made of."""
        return (self.name,) if self.parts is None else self.parts

    @property
    def sortable(self) -> bool:
        """Whether it has one value in each row, not a list of them."""
        return self.name == "backend" or bool(self.fields and not self.wraps)


class Section(NamedTuple):
    """A table of a run: what stands above it, and its columns."""

    title: str
    columns: list[Column]


def number(field: str, spec: str, scale: float = 1) -> Callable[[Row], str]:
    """Format a field, or a dash where it is missing."""

    def text(row: Row) -> str:
        value = getattr(row, field, None)
        return MISSING if value is None or pd.isna(value) else f"{value * scale:{spec}}"

    return text


def rounded(field: str) -> Callable[[Row], str]:
    """Format a field with three significant digits."""

    def text(row: Row) -> str:
        value = getattr(row, field, None)
        return MISSING if value is None or pd.isna(value) else significant(value)

    return text


def significant(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, and no exponent."""
    if value == 0:
        return "0"
    decimals = digits - 1 - int(f"{value:.{digits - 1}e}".split("e")[1])
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def sections(info: RunInfo) -> dict[str, Section]:
    """Return every table of a run by the name that users type."""
    against = f"verdict against {info.baseline}, noise floor {info.noise_floor:.1%}"
    bars = f"{BARS[0]} the fastest to {BARS[-1]} the slowest of each backend"
    found = {
        "accuracy": Section("Accuracy", accuracy_columns(info)),
        "timing": Section(f"Timing ({against})", timing_columns(info)),
        "rounds": Section(f"Train s/epoch, round by round ({bars})", ROUNDS),
        "parts": Section("Outside the clock, medians", OTHER_PARTS),
        "phases": Section("Phases of a step, µs, medians", PHASES),
    }
    if info.roofs:
        roofs = "; ".join(map(describe_roof, info.roofs))
        found["ceilings"] = Section(f"Share of the ceilings: {roofs}", ROOFLINE)
    return found


def describe_roof(roof: Roof) -> str:
    """Write a roof in a few words."""
    where = "GPU" if roof.device != "cpu" else f"{roof.threads} thread{'s' * (roof.threads > 1)}"
    reached = [(roof.gflops, "GFLOP/s"), (roof.gb_per_s, "GB/s")]
    return f"{where} " + ", ".join(f"{value:.0f} {unit}" for value, unit in reached if value)


def accuracy_columns(info: RunInfo) -> list[Column]:
    """Return the columns of the accuracy table."""
    target = info.workload.target_accuracy
    columns = [
        BACKEND,
        Column("n", number("rounds", "d"), "rounds", drop=4),
        Column("accuracy %", _accuracy, "accuracy", ("accuracy", "accuracy_stdev")),
        Column("loss", number("final_loss", ".4f"), "final_loss", drop=3),
    ]
    if target is not None:
        columns += [
            Column(f"≥ {target * 100:g}%", _reached, "target_reached"),
            Column("after s", rounded("target_s"), "target_s"),
        ]
    return [
        *columns,
        Column("images", number("images", ",.0f"), "images", drop=2),
        Column("deviation", number("deviation", ".0e"), "deviation", drop=1),
        Column("status", lambda r: r.status, "status"),
    ]


def _accuracy(row: Row) -> str:
    mean = number("accuracy", ".2f", 100)(row)
    spread = number("accuracy_stdev", ".2f", 100)(row)
    return mean if spread == MISSING else f"{mean} ± {spread}"


def _reached(row: Row) -> str:
    count = number("target_reached", ".0f")(row)
    return count if count == MISSING else f"{count}/{row.rounds}"


def timing_columns(info: RunInfo) -> list[Column]:
    """Return the columns of the timing table."""
    return [
        BACKEND,
        Column("n", number("rounds", "d"), "rounds", drop=2),
        Column("train s/epoch", _epoch, "train_s_per_epoch"),
        Column("images/s", number("images_per_s", ",.0f"), "images_per_s", drop=1),
        Column(f"× {info.baseline}", rounded("ratio"), "ratio"),
        Column("95% interval", _interval, "interval", ("ratio_low", "ratio_high")),
        Column("verdict", _verdict, "verdict"),
    ]


def _epoch(row: Row) -> str:
    return ("~" if row.status == "budget" else "") + rounded("train_s_per_epoch")(row)


def _interval(row: Row) -> str:
    low, high = rounded("ratio_low")(row), rounded("ratio_high")(row)
    return MISSING if low == MISSING else f"{low} to {high}"


def _verdict(row: Row) -> str:
    return row.verdict if isinstance(row.verdict, str) else MISSING


def _times(row: Row) -> list[float]:
    text = getattr(row, "train_s_rounds", None)
    return [float(value) for value in text.split()] if isinstance(text, str) else []


def _rounds(row: Row) -> str:
    times = _times(row)
    if len(times) > MOST_ROUNDS:
        return f"{significant(min(times))} to {significant(max(times))}, {len(times):,} rounds"
    return " ".join(map(significant, times)) or MISSING


def _sparkline(row: Row) -> str:
    """Draw a bar for each round, or for the median of several where there are many."""
    times = _times(row)
    if len(times) <= MOST_BARS:
        return sparkline(times) if times else MISSING
    size = math.ceil(len(times) / MOST_BARS)
    bars = sparkline([median(times[i : i + size]) for i in range(0, len(times), size)])
    return f"{bars} ({size} rounds each)"


def _remarks(row: Row) -> str:
    remarks = getattr(row, "remarks", None)
    return remarks if isinstance(remarks, str) and remarks else MISSING


BACKEND = Column("backend", lambda r: r.backend, "backend", wraps=True)

ROUNDS = [
    BACKEND,
    Column("every round", _rounds, "train_s_rounds", drop=2, wraps=True),
    Column("in order", _sparkline, "sparkline", ()),
    Column("p", number("p_value", ".3f"), "p_value", drop=1),
    Column("remarks", _remarks, "remarks", wraps=True),
]

OTHER_PARTS = [
    BACKEND,
    Column("set-up s", rounded("setup_s"), "setup_s"),
    Column("transfer s", rounded("transfer_s"), "transfer_s"),
    Column("warm-up s", rounded("warmup_s"), "warmup_s"),
    Column("peak MB", number("peak_memory_bytes", ",.0f", 1e-6), "peak_memory_bytes"),
]

PHASES = [
    BACKEND,
    Column("gather", number("gather_us", ",.0f"), "gather_us", drop=1),
    Column("feedforward", number("feedforward_us", ",.0f"), "feedforward_us"),
    Column("backprop", number("backprop_us", ",.0f"), "backprop_us"),
    Column("update", number("update_us", ",.0f"), "update_us"),
    Column("sum", number("phases_us", ",.0f"), "phases_us", drop=2),
    Column("whole step", number("step_us", ",.0f"), "step_us"),
]

ROOFLINE = [
    BACKEND,
    Column("GFLOP/s", rounded("gflops"), "gflops"),
    Column("% of products", number("gflops_share", ".0f", 100), "gflops_share"),
    Column("GB/s", rounded("gb_per_s"), "gb_per_s", drop=1),
    Column("% of copies", number("gb_per_s_share", ".0f", 100), "gb_per_s_share", drop=2),
]
