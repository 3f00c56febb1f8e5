"""How much of its time does a cell lose to others? The measurements behind the threshold.

``python -m tests.studies.disturbances --share 0.1`` runs cells of MNIST on one CPU, beside a process
that needs a tenth of it, and prints which share of their training time they lost, repetitions and
all, and how often they were interrupted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nnbench.execution import disturbance
from nnbench.runs import planning, schedule, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnbench.records.cells import CellResult

PERIOD_S = 0.1  #: of the other process


def main() -> None:
    """Run the cells and print a line for each backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default="numpy,torch-cpu")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.0, help="that the other process needs")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.cpu})
    cells = defaultdict(list)
    with competitor(options.share):
        for cell in run(options.backends, options.rounds):
            cells[cell.backend].append(cell)
    for backend, group in cells.items():
        sys.stdout.write(f"{backend}, {len(group)} cells: {summarize(group)}\n")


def run(backends: str, rounds: int) -> list[CellResult]:
    """Run cells of three epochs and return every attempt."""
    plan = planning.plan(
        command="study",
        backends=[backends],
        workload="mnist",
        overrides={"epochs": 3},
        rounds=rounds,
        seed=0,
        threads=1,
        budget=15.0,
        timeout=300.0,
        baseline=None,
        whole=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        schedule.run(plan, folder, lambda _: None)
        return list(store.read_cells(folder))


def summarize(cells: Sequence[CellResult]) -> str:
    """Say what the cells lost, and how often they were interrupted."""
    lost = sorted(map(disturbance.lost_share, cells))
    switches = [sum(e.involuntary_switches for e in c.epochs) / c.train_s for c in cells]
    above = sum(share > disturbance.LOST_SHARE for share in lost)
    return (
        f"lost {lost[0]:.1%} to {lost[-1]:.1%}, median {median(lost):.1%}, {above} of them more than "
        f"{disturbance.LOST_SHARE:.0%}; {min(switches):.0f} to {max(switches):.0f} switches a second"
    )


@contextmanager
def competitor(share: float) -> Iterator[None]:
    """Keep another process on this CPU."""
    process = multiprocessing.get_context("spawn").Process(target=compete, args=(share,))
    if share:
        process.start()
    try:
        yield
    finally:
        if share:
            process.kill()
            process.join()


def compete(share: float) -> None:
    """Be busy for a share of each period."""
    while True:
        start = time.perf_counter()
        while time.perf_counter() - start < share * PERIOD_S:
            pass
        time.sleep(max(0.0, 1 - share) * PERIOD_S)


if __name__ == "__main__":
    main()
