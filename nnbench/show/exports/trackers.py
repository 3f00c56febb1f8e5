"""What services that keep figures over time read: the time, the memory and the accuracy.

Names are made of the workload and the backend, so that they stay the same from run to run. A
backend without figures is left out, because a missing point is better than a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
import pandas as pd

from nnbench.contract.errors import ExitCode, ResultsError
from nnbench.figures import frames
from nnbench.figures.values import significant
from nnbench.show import rendering

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sized
    from pathlib import Path

    from nnbench.figures.values import Row

    SizedT = TypeVar("SizedT", bound=Sized)

NANOSECONDS = 1e9


class Tracked(NamedTuple):
    """The figures of a backend; None is missing."""

    name: str
    train_s: float  #: an epoch, the median of the rounds
    rounds: list[float]  #: the same, of each
    images_per_s: float
    accuracy: float | None  #: a fraction
    peak_memory_bytes: float | None
    compared: str  #: with the baseline


def read(folder: Path) -> Iterator[Tracked]:
    """Yield the backends that have figures.

    Raises
    ------
    ResultsError
        If none has, or the folder holds no run.
    """
    summary = rendering.summarize(folder)
    groups = require(folder, frames.ranked(summary.info, summary.cells))
    rows: Iterable[Row] = summary.frame().itertuples()
    for row in rows:
        if row.backend in groups:
            yield Tracked(
                name=f"{summary.info.workload.name}/{row.backend}",
                train_s=row.train_s_per_epoch,
                rounds=[frames.epoch_s(cell) for cell in groups[row.backend]],
                images_per_s=row.images_per_s,
                accuracy=_value(row, "accuracy"),
                peak_memory_bytes=_value(row, "peak_memory_bytes"),
                compared=rendering.compared(summary.info, row),
            )


def require(folder: Path, found: SizedT) -> SizedT:
    """Return what it is given, unless that is empty."""
    if not found:
        problem = ResultsError(f"{folder} has nothing to export: no backend was measured")
        problem.exit_code = ExitCode.NOTHING_MEASURED
        raise problem
    return found


def _value(row: Row, field: str) -> float | None:
    value = getattr(row, field, None)
    return None if value is None or pd.isna(value) else float(value)


def to_github_action_benchmark(folder: Path) -> bytes:
    """Return what github-action-benchmark reads as ``customSmallerIsBetter``.

    It draws one chart for each name. The range of a time is that of the round that is the
    furthest from the median.
    """
    return _encode([entry for tracked in read(folder) for entry in _entries(tracked)])


def _entries(tracked: Tracked) -> Iterator[dict[str, Any]]:
    furthest = max(abs(seconds - tracked.train_s) for seconds in tracked.rounds)
    extra = f"n = {len(tracked.rounds)}\n{significant(tracked.images_per_s)} images/s"
    yield {
        "name": f"{tracked.name}: train",
        "unit": "s/epoch",
        "value": tracked.train_s,
        "range": f"± {furthest:.3g}",
        "extra": f"{extra}\n{tracked.compared}".strip(),
    }
    if tracked.accuracy is not None:
        error = 100 * (1 - tracked.accuracy)
        yield {"name": f"{tracked.name}: test error", "unit": "%", "value": round(error, 6)}
    if tracked.peak_memory_bytes is not None:
        megabytes = tracked.peak_memory_bytes / 1e6
        yield {"name": f"{tracked.name}: peak memory", "unit": "MB", "value": megabytes}


def to_bencher(folder: Path) -> bytes:
    """Return Bencher Metric Format: its latency is in nanoseconds, here of an epoch.

    Lower and upper value are the fastest and the slowest round.
    """
    return _encode({tracked.name: _measures(tracked) for tracked in read(folder)})


def _measures(tracked: Tracked) -> dict[str, dict[str, float]]:
    latency = {
        "value": tracked.train_s * NANOSECONDS,
        "lower_value": min(tracked.rounds) * NANOSECONDS,
        "upper_value": max(tracked.rounds) * NANOSECONDS,
    }
    others = {
        "throughput": tracked.images_per_s,
        "accuracy": tracked.accuracy,
        "peak-memory": tracked.peak_memory_bytes,
    }
    found = {slug: {"value": value} for slug, value in others.items() if value is not None}
    return {"latency": latency, **found}


def _encode(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content)) + b"\n"
