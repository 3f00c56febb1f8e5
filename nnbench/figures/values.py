"""How each value in the tables is written."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from nnbench.figures.sparkline import sparkline
from nnbench.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING = "–"
MOST_BARS = 40  #: with more rounds, a bar is the median of several
MOST_ROUNDS = 20  #: that are written out; the CSV has all
Row = Any  # a namedtuple from DataFrame.itertuples


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


def accuracy(row: Row) -> str:
    """Write the accuracy, with its spread over the rounds."""
    mean = number("accuracy", ".2f", 100)(row)
    spread = number("accuracy_stdev", ".2f", 100)(row)
    return mean if spread == MISSING else f"{mean} ± {spread}"


def reached(row: Row) -> str:
    """Write in how many rounds the target was reached."""
    count = number("target_reached", ".0f")(row)
    return count if count == MISSING else f"{count}/{row.rounds}"


def epoch(row: Row) -> str:
    """Write the time of an epoch, marked where the budget cut the training short."""
    return ("~" if row.status == Status.BUDGET else "") + rounded("train_s_per_epoch")(row)


def interval(row: Row) -> str:
    """Write both ends of the ratio's interval."""
    low, high = rounded("ratio_low")(row), rounded("ratio_high")(row)
    return MISSING if low == MISSING else f"{low} to {high}"


def verdict(row: Row) -> str:
    """Write the verdict."""
    return row.verdict if isinstance(row.verdict, str) else MISSING


def _times(row: Row) -> list[float]:
    text = getattr(row, "train_s_rounds", None)
    return [float(value) for value in text.split()] if isinstance(text, str) else []


def every_round(row: Row) -> str:
    """Write the time of every round, or the range of many."""
    times = _times(row)
    if len(times) > MOST_ROUNDS:
        return f"{significant(min(times))} to {significant(max(times))}, {len(times):,} rounds"
    return " ".join(map(significant, times)) or MISSING


def round_bars(row: Row) -> str:
    """Draw a bar for each round, or for the median of several where there are many."""
    times = _times(row)
    if len(times) <= MOST_BARS:
        return sparkline(times) if times else MISSING
    size = math.ceil(len(times) / MOST_BARS)
    bars = sparkline([median(times[i : i + size]) for i in range(0, len(times), size)])
    return f"{bars} ({size} rounds each)"


def remarks(row: Row) -> str:
    """Write what is remarkable about the rounds."""
    text = getattr(row, "remarks", None)
    return text if isinstance(text, str) and text else MISSING
