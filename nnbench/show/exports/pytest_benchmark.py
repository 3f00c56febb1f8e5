"""The JSON of pytest-benchmark: each backend is a benchmark, each round one of its rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnbench.figures import metrics
from nnbench.show.exports import encode, library, require

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
        If no backend has figures, or pytest-benchmark is not installed.
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
    return encode(saved)


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
    """Return pytest-benchmark's own statistics of at least one time.

    Raises
    ------
    NnbenchError
        If pytest-benchmark is not installed.
    """
    stats = library("pytest_benchmark.stats", "pytest-benchmark", extra="test").Stats()
    stats.data = sorted(times)  # a sum does not depend on the order of the rounds
    return {**stats.as_dict(), "data": list(times), "iterations": 1}
