"""Do backends end as accurate as the reference? ``python -m tests.studies.accuracy RUN…``

Trains the float64 reference on the workload and the seeds of each run, and prints each backend's
accuracy after the last epoch next to it, in percent, over the rounds that ran to their end. Exits
with 1 if a backend's mean is further off than ``LIMIT``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from nnbench import minibatches, reference
from nnbench.data.task import load_splits, make_task
from nnbench.runs import store
from tests.cells import read_final

if TYPE_CHECKING:
    from nnbench.data.datasets import Splits
    from nnbench.data.workloads import Workload
    from nnbench.records.cells import CellResult

LIMIT = 0.3  #: percentage points


def main() -> None:
    """Train, print, and judge."""
    gaps = [gap for name in sys.argv[1:] for gap in study(Path(name))]
    sys.exit(not gaps or max(gaps) > LIMIT)


def study(folder: Path) -> list[float]:
    """Print a line for each backend of a run, and return how far the means are off, in points."""
    workload = store.read_info(folder).workload
    splits = load_splits(workload)
    expected = cache(lambda seed: train(workload, splits, seed))
    gaps = []
    for name, cells in complete(folder).items():
        found = 100 * mean(cell.epochs[-1].accuracy or 0.0 for cell in cells)
        wanted = 100 * mean(expected(cell.seed) for cell in cells)
        gaps.append(abs(found - wanted))
        text = f"{found:.2f}%, reference {wanted:.2f}%, {len(cells)} seeds"
        print(f"{folder.name}: {name}: {text}", flush=True)  # noqa: T201 - a script
    return gaps


def complete(folder: Path) -> dict[str, list[CellResult]]:
    """Return the cells of each backend that were trained to the end."""
    found = defaultdict(list)
    for cell in read_final(folder):
        if cell.complete:
            found[cell.backend].append(cell)
    return found


def train(workload: Workload, splits: Splits, seed: int) -> float:
    """Return the accuracy that the reference ends with, a fraction."""
    task = make_task(workload, splits, seed)
    order = task.orders()
    batches = (
        task.train.rows(index)
        for _ in range(workload.epochs)
        for index in minibatches(next(order), task.batch_size)
    )
    _, layers = reference.train(task.network, task.layers, batches)
    logits = reference.feedforward(task.network, layers, task.test.inputs)[-1]
    return float(np.mean(logits.argmax(axis=1) == task.labels))


if __name__ == "__main__":
    main()
