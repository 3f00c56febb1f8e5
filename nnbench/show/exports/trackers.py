"""What services that keep figures over time read: the time, the memory and the accuracy.

Names are made of the workload and the backend, so that they stay the same from run to run. A
backend without figures is left out, because a missing point is better than a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from nnbench.figures.columns import significant
from nnbench.show.exports import encode, require
from nnbench.show.text import compared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nnbench.figures.columns import Row
    from nnbench.runs.run import Run

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


def tracked(run: Run) -> Iterator[Tracked]:
    """Yield the backends that have figures.

    Raises
    ------
    ResultsError
        If none has.
    """
    ranked = {row.backend for row in require(run, run.ranked)}
    rows: Iterable[Row] = run.frame.itertuples()
    for row in rows:
        if row.backend in ranked:
            yield Tracked(
                name=f"{run.info.workload.name}/{row.backend}",
                train_s=row.train_s_per_epoch,
                rounds=run.groups[row.backend].times,
                images_per_s=row.images_per_s,
                accuracy=_value(row, "accuracy"),
                peak_memory_bytes=_value(row, "peak_memory_bytes"),
                compared=compared(run.info, row),
            )


def _value(row: Row, field: str) -> float | None:
    value = getattr(row, field, None)
    return None if value is None or pd.isna(value) else float(value)


def to_github_action_benchmark(run: Run) -> bytes:
    """Return what github-action-benchmark reads as ``customSmallerIsBetter``.

    It draws one chart for each name. The range of a time is that of the round that is the
    furthest from the median.
    """
    return encode([entry for each in tracked(run) for entry in _entries(each)])


def _entries(backend: Tracked) -> Iterator[dict[str, Any]]:
    furthest = max(abs(seconds - backend.train_s) for seconds in backend.rounds)
    extra = f"n = {len(backend.rounds)}\n{significant(backend.images_per_s)} images/s"
    yield {
        "name": f"{backend.name}: train",
        "unit": "s/epoch",
        "value": backend.train_s,
        "range": f"± {furthest:.3g}",
        "extra": f"{extra}\n{backend.compared}".strip(),
    }
    if backend.accuracy is not None:
        error = 100 * (1 - backend.accuracy)
        yield {"name": f"{backend.name}: test error", "unit": "%", "value": round(error, 6)}
    if backend.peak_memory_bytes is not None:
        megabytes = backend.peak_memory_bytes / 1e6
        yield {"name": f"{backend.name}: peak memory", "unit": "MB", "value": megabytes}


def to_bencher(run: Run) -> bytes:
    """Return Bencher Metric Format: its latency is in nanoseconds, here of an epoch.

    Lower and upper value are the fastest and the slowest round.
    """
    return encode({each.name: _measures(each) for each in tracked(run)})


def _measures(backend: Tracked) -> dict[str, dict[str, float]]:
    latency = {
        "value": backend.train_s * NANOSECONDS,
        "lower_value": min(backend.rounds) * NANOSECONDS,
        "upper_value": max(backend.rounds) * NANOSECONDS,
    }
    others = {
        "throughput": backend.images_per_s,
        "accuracy": backend.accuracy,
        "peak-memory": backend.peak_memory_bytes,
    }
    known = {slug: {"value": value} for slug, value in others.items() if value is not None}
    return {"latency": latency, **known}
