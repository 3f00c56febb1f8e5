"""The JSON of pytest-benchmark: each backend is a benchmark, each round one of its rounds.

Its statistics are those of ``pytest_benchmark.stats``, with its two methods for quartiles.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

import msgspec

from nnbench.figures import metrics
from nnbench.show.exports import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.figures.frames import Group
    from nnbench.records import Environment, RunInfo
    from nnbench.runs.run import Run

VERSION = "5.0.0"  #: of pytest-benchmark, from which on its files look like this


def to_json(run: Run) -> bytes:
    """Return a run as pytest-benchmark saves one.

    Raises
    ------
    NnbenchError
        If no backend has figures.
    """
    info = run.info
    groups = require(run, {name: group for name, group in run.groups.items() if group.times})
    saved = {
        "machine_info": machine(info.environment),
        "commit_info": commit(info.environment.git),
        "benchmarks": [benchmark(info, label, group) for label, group in groups.items()],
        "datetime": info.started,
        "version": VERSION,
    }
    return msgspec.json.format(msgspec.json.encode(saved)) + b"\n"


def machine(environment: Environment) -> dict[str, Any]:
    """Return what pytest-benchmark knows of a machine, as far as the run has kept it."""
    implementation, _, version = environment.python.partition(" ")
    return {
        "node": environment.machine_fingerprint,  # the host's name is not kept
        "system": environment.system.partition("-")[0],
        "release": environment.system,
        "python_implementation": implementation,
        "python_implementation_version": version,
        "python_version": version,
        "cpu": {"brand_raw": environment.cpu, "count": environment.logical_cores},
        "versions": environment.versions,
    }


def commit(state: str | None) -> dict[str, Any]:
    """Return the commit that ``git describe --dirty`` has environment."""
    name = state or "unversioned"
    return {"id": name.removesuffix("-dirty"), "dirty": name.endswith("-dirty"), "time": None}


def benchmark(info: RunInfo, label: str, group: Group) -> dict[str, Any]:
    """Return a backend; its times are seconds an epoch."""
    accuracies = [metrics.accuracy(cell) for cell in group.cells]
    return {
        "group": info.workload.name,
        "name": label,
        "fullname": f"{info.workload.name}/{label}",
        "params": None,
        "param": None,
        "extra_info": {"threads": info.threads, "accuracies": accuracies},
        "options": {},
        "stats": statistics(group.times),
    }


def statistics(times: Sequence[float]) -> dict[str, Any]:
    """Return pytest-benchmark's statistics of at least one time."""
    data, middle = sorted(times), mean(times)
    spread = stdev(data) if data[1:] else 0.0
    q1, q3 = quartile(data), -quartile([-value for value in reversed(data)])
    fence = 1.5 * (q3 - q1)
    by_stdev = outside(data, middle - spread, middle + spread)
    by_iqr = outside(data, q1 - fence, q3 + fence)
    return {
        "min": data[0],
        "max": data[-1],
        "mean": middle,
        "stddev": spread,
        "rounds": len(data),
        "median": median(data),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": by_iqr,
        "stddev_outliers": by_stdev,
        "outliers": f"{by_stdev};{by_iqr}",
        "ld15iqr": data[bisect_left(data, q1 - fence)],
        "hd15iqr": data[bisect_right(data, q3 + fence) - 1],
        "ops": len(data) / sum(data),
        "total": sum(data),
        "data": list(times),
        "iterations": 1,
    }


def quartile(data: Sequence[float]) -> float:
    """Return the first quartile of sorted values: of an odd number between two of them.

    Sources: Tukey's hinges for even numbers; for odd ones, "method 3" of the article on quartiles
    in Wikipedia.
    """
    n, rest = divmod(len(data), 4)
    if len(data) == 1:
        return data[0]
    if rest == 1:
        return 0.25 * data[n - 1] + 0.75 * data[n]
    if rest == 3:
        return 0.75 * data[n] + 0.25 * data[n + 1]
    return median(data[: len(data) // 2])


def outside(data: Sequence[float], low: float, high: float) -> int:
    """Count the values beyond two limits."""
    return sum(not low <= value <= high for value in data)
