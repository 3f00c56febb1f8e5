"""What does nnbench itself cost? An epoch in the harness against the same loop bare.

``python -m tests.studies.harness_cost`` trains the numpy backend on MNIST in one process, in pairs
of epochs: one through ``Trainer.train``, with all that it reads and keeps beside the training, and
one through a bare loop over the phases, in random order. It ends with 1 if the median ratio of the
wall times is above the limit.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from nnbench.execution.variables import THREAD_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench.contract.backend import Network
    from nnbench.worker.training import Trainer

LIMIT = 0.01  #: of the bare loop's time
WARM_UP = 3  #: epochs of each kind that do not count
PART = 250  #: steps in a part


@dataclass
class Times:
    """Seconds of every epoch of one kind: of the wall clock, and of the CPU."""

    wall: list[float]
    cpu: list[float]


def main() -> None:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--cpu", type=int, default=None, help="to pin the process to")
    options = parser.parse_args()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # before NumPy comes
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    harness, bare = measure(options.pairs)
    ratio = report("wall time", harness.wall, bare.wall)
    report("CPU time", harness.cpu, bare.cpu)
    sys.exit(ratio > 1 + LIMIT)


def measure(pairs: int) -> tuple[Times, Times]:
    """Train pairs of epochs and return the times in the harness, and bare."""
    trainer, order = prepare()
    bodies: list[Callable[[], object]] = [
        partial(in_harness, trainer, order),
        partial(bare_loop, trainer.network, trainer.data, order, trainer.batch_size),
    ]
    times = [Times([], []), Times([], [])]
    gc.collect()
    gc.freeze()
    for number in range(WARM_UP + pairs):
        for kind in random.sample(range(2), 2):
            wall, cpu = perf_counter(), process_time()
            bodies[kind]()
            wall, cpu = perf_counter() - wall, process_time() - cpu
            if number >= WARM_UP:
                times[kind].wall.append(wall)
                times[kind].cpu.append(cpu)
    return times[0], times[1]


def prepare() -> tuple[Trainer, NDArray[np.int64]]:
    """Return a trainer of the numpy backend that is warm, and the order of an epoch."""
    from nnbench import catalog
    from nnbench.data.task import load_task
    from nnbench.worker import training

    workload = replace(catalog.workloads()["mnist"], epochs=1)
    task = load_task(workload, seed=0)
    network = catalog.backends()["numpy"].network(task.network, task.batch_size)
    cpus = tuple(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ()
    data = network.place(task.train)
    trainer = training.Trainer(network, task.network, data, task.batch_size, cpus=cpus)
    training.warm_up(trainer, len(task.train.inputs))
    network.load(task.layers)
    return trainer, next(task.orders())


def in_harness(trainer: Trainer, order: NDArray[np.int64]) -> None:
    """Train an epoch as a cell does, in parts of the usual length."""
    for start in range(0, len(order), PART * trainer.batch_size):
        trainer.train(order[start : start + PART * trainer.batch_size])


def bare_loop(
    network: Network[Any, Any], data: Any, order: NDArray[np.int64], batch_size: int
) -> list[float]:
    """Train an epoch without nnbench."""
    losses = []
    for start in range(0, len(order), batch_size):
        batch = network.batch(data, order[start : start + batch_size])
        network.feedforward(batch)
        losses.append(float(network.backprop(batch)))
        network.update()
    return losses


def report(name: str, harness: Sequence[float], bare: Sequence[float]) -> float:
    """Print the median ratio of two series with its interval, and return it."""
    from math import log
    from statistics import median

    from nnbench.figures import statistics

    logs = [log(one / other) for one, other in zip(harness, bare, strict=True)]
    found = statistics.compare(logs, LIMIT).interval
    assert found is not None
    medians = f"{median(harness):.4f} s to {median(bare):.4f} s, {len(bare)} pairs"
    bounds = f"95% interval {found.low:.4f} to {found.high:.4f}"
    sys.stdout.write(f"{name}: ratio {found.ratio:.4f}, {bounds} ({medians})\n")
    return found.ratio


if __name__ == "__main__":
    main()
