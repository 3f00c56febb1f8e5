"""What the columns of the tables say, and how each value is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.results import RunInfo

MISSING = "–"
Row = Any  # a namedtuple from DataFrame.itertuples


class Column(NamedTuple):
    """A heading, and how to write a row's value below it."""

    heading: str
    text: Callable[[Row], str]


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


def accuracy_columns(info: RunInfo) -> list[Column]:
    """Return the columns of the accuracy table."""
    target = info.workload.target_accuracy
    columns = [
        Column("backend", lambda r: r.backend),
        Column("n", number("rounds", "d")),
        Column("accuracy %", _accuracy),
        Column("loss", number("final_loss", ".4f")),
    ]
    if target is not None:
        columns += [
            Column(f"≥ {target * 100:g}%", _reached),
            Column("after s", rounded("target_s")),
        ]
    return [
        *columns,
        Column("images", number("images", ",.0f")),
        Column("deviation", number("deviation", ".0e")),
        Column("status", lambda r: r.status),
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
        Column("backend", lambda r: r.backend),
        Column("n", number("rounds", "d")),
        Column("train s/epoch", _epoch),
        Column("images/s", number("images_per_s", ",.0f")),
        Column(f"× {info.baseline}", rounded("ratio")),
        Column("95% interval", _interval),
        Column("verdict", _verdict),
    ]


def _epoch(row: Row) -> str:
    return ("~" if row.status == "budget" else "") + rounded("train_s_per_epoch")(row)


def _interval(row: Row) -> str:
    low, high = rounded("ratio_low")(row), rounded("ratio_high")(row)
    return MISSING if low == MISSING else f"{low} to {high}"


def _verdict(row: Row) -> str:
    return row.verdict if isinstance(row.verdict, str) else MISSING


def _rounds(row: Row) -> str:
    text = getattr(row, "train_s_rounds", None)
    if not isinstance(text, str):
        return MISSING
    return " ".join(significant(float(value)) for value in text.split())


def _remarks(row: Row) -> str:
    remarks = getattr(row, "remarks", None)
    return remarks if isinstance(remarks, str) and remarks else MISSING


ROUNDS = [
    Column("backend", lambda r: r.backend),
    Column("every round", _rounds),
    Column("p", number("p_value", ".3f")),
    Column("remarks", _remarks),
]

OTHER_PARTS = [
    Column("backend", lambda r: r.backend),
    Column("set-up s", rounded("setup_s")),
    Column("transfer s", rounded("transfer_s")),
    Column("warm-up s", rounded("warmup_s")),
    Column("peak MB", number("peak_memory_bytes", ",.0f", 1e-6)),
]

PHASES = [
    Column("backend", lambda r: r.backend),
    Column("gather", number("gather_us", ",.0f")),
    Column("feedforward", number("feedforward_us", ",.0f")),
    Column("backprop", number("backprop_us", ",.0f")),
    Column("update", number("update_us", ",.0f")),
    Column("sum", number("phases_us", ",.0f")),
    Column("step in training", number("step_us", ",.0f")),
]

ROOFLINE = [
    Column("backend", lambda r: r.backend),
    Column("GFLOP/s", rounded("gflops")),
    Column("% of products", number("gflops_share", ".0f", 100)),
    Column("GB/s", rounded("gb_per_s")),
    Column("% of copies", number("gb_per_s_share", ".0f", 100)),
]
