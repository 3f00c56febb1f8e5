"""What tools that follow figures over time read: pytest-benchmark, github-action-benchmark, Bencher.

Names are made of the workload and the backend, so that they stay the same from run to run. A
backend without a rank is left out, because a missing point is better than a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nnbench.figures import metrics
from nnbench.figures.columns import significant, value
from nnbench.show.exports import encode, library, require
from nnbench.show.text import compared, strays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnbench.figures.columns import Row
    from nnbench.records.runs import RunInfo
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep

PYTEST_BENCHMARK = "5.0.0"  #: its version from which on its files look like this
NANOSECONDS = 1e9
#: Bencher's names of fields of the tables.
MEASURES = {
    "throughput": "images_per_s",
    "accuracy": "accuracy",
    "peak-memory": "peak_memory_bytes",
}


class Tracked(NamedTuple):
    """A backend that ranks, on machines of one kind."""

    name: str
    group: str  #: of what can be compared with it
    run: Run  #: that is of this kind alone
    row: Row
    times: list[float]


def tracked(run: Sweep) -> Iterator[Tracked]:
    """Yield each backend that ranks, at each point; where machines are of several kinds, on each of these, under its name.

    Raises
    ------
    ResultsError
        If none does.
    """
    require(run, [row for point in run for row in point.ranked])
    for point in run:
        yield from _tracked(point)


def _tracked(run: Run) -> Iterator[Tracked]:
    for kind, part in run.kinds.items():
        where = f" on {kind}" if run.is_mixed else ""
        ranked = {row.backend for row in run.ranked}
        for row in part.ranked:
            if row.backend in ranked:
                name, times = (
                    f"{run.subject}/{row.backend}{where}",
                    part.groups[row.backend].times,
                )
                yield Tracked(name, f"{run.subject}{where}", part, row, times)


def to_github_action_benchmark(run: Sweep) -> bytes:
    """Return what github-action-benchmark reads as ``customSmallerIsBetter``.

    It draws one chart for each name. The range of a time is that of the round that is the
    furthest from the median.
    """
    entries: list[dict[str, object]] = []
    for name, _, part, row, times in tracked(run):
        pace = f"{significant(row.images_per_s)} images/s"
        train = {
            "name": f"{name}: train",
            "unit": "s/epoch",
            "value": row.train_s_per_epoch,
            "range": f"± {max(abs(seconds - row.train_s_per_epoch) for seconds in times):.3g}",
            "extra": f"n = {len(times)}\n{pace}\n{compared(part.info, row)}".strip(),
        }
        entries.append(train)
        if (accuracy := value(row, "accuracy")) is not None:
            error = round(100 * (1 - accuracy), 6)
            entry = {"name": f"{name}: test error", "unit": "%", "value": error}
            entries.append(entry | ({"extra": stray} if (stray := strays(row)) else {}))
        if (peak := value(row, "peak_memory_bytes")) is not None:
            entries.append({"name": f"{name}: peak memory", "unit": "MB", "value": peak / 1e6})
    return encode(entries)


def to_bencher(run: Sweep) -> bytes:
    """Return Bencher Metric Format: its latency is in nanoseconds, here of an epoch.

    Lower and upper value are the fastest and the slowest round.
    """
    return encode({each.name: dict(_measures(each.row, each.times)) for each in tracked(run)})


def _measures(row: Row, times: Sequence[float]) -> Iterator[tuple[str, dict[str, float]]]:
    latency = {
        "value": row.train_s_per_epoch,
        "lower_value": min(times),
        "upper_value": max(times),
    }
    yield "latency", {name: seconds * NANOSECONDS for name, seconds in latency.items()}
    for slug, field in MEASURES.items():
        if (figure := value(row, field)) is not None:
            yield slug, {"value": float(figure)}


def to_pytest_benchmark(run: Sweep) -> bytes:
    """Return a run as pytest-benchmark saves one: a backend is a benchmark, its times seconds an epoch.

    What it knows of a machine is there as far as the run has kept it; of several kinds of machines the first one's, and in a
    benchmark's ``extra_info`` its own.

    Raises
    ------
    NnbenchError
        If no backend has figures, or pytest-benchmark is not installed.
    """
    info, first = run.info, run.runs[0]
    saved = {
        "machine_info": machine_info(first.used),
        "commit_info": commit(info.environment.git),
        "benchmarks": [
            {
                "group": each.group,
                "name": each.row.backend,
                "fullname": each.name,
                "params": None,
                "param": None,
                "extra_info": {
                    "threads": each.run.info.threads,
                    "accuracies": [
                        metrics.accuracy(cell) for cell in each.run.of(each.row.backend)
                    ],
                    "recorded": each.run.recorded(each.row.backend),
                    **({"machine_info": machine_info(each.run.used)} if run.is_mixed else {}),
                },
                "options": {},
                "stats": statistics(each.times),
            }
            for each in tracked(run)
        ],
        "datetime": info.started,
        "version": PYTEST_BENCHMARK,
    }
    return encode(saved)


def machine_info(info: RunInfo) -> dict[str, Any]:
    """Return what pytest-benchmark keeps of a machine: of several, the first."""
    e = info.environment
    implementation, _, version = e.python.partition(" ")
    return {
        "node": e.machine_fingerprint,  # the host's name is not kept
        "system": e.system.partition("-")[0],
        "release": e.system,
        "python_implementation": implementation,
        "python_implementation_version": version,
        "python_version": version,
        "cpu": {"brand_raw": e.cpu, "count": e.logical_cores},
        "versions": info.versions,
    }


def commit(state: str | None) -> dict[str, Any]:
    """Take what ``git describe --dirty`` says apart."""
    name = state or "unversioned"
    return {"id": name.removesuffix("-dirty"), "dirty": name.endswith("-dirty"), "time": None}


def statistics(times: Sequence[float]) -> dict[str, Any]:
    """Return pytest-benchmark's own statistics of at least one time."""
    stats = library("pytest_benchmark.stats", "pytest-benchmark", extra="test").Stats()
    stats.data = sorted(times)  # a sum does not depend on the order of the rounds
    return {**stats.as_dict(), "data": list(times), "iterations": 1}
