"""What studies of times share: a plan, a small dataset, and a machine that others keep busy."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnbench.data.datasets import MNIST_FOLDER
from nnbench.runs import planning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nnbench.runs.planning import Plan


def plan(backends: list[str], workload: str, rounds: int, **overrides: object) -> Plan:
    """Return the plan of a run on one thread, in turns, of which nothing is proved."""
    return planning.plan(
        command="study",
        backends=backends,
        workload=workload,
        overrides=overrides,
        rounds=rounds,
        seed=None,
        threads=1,
        budget=60.0,
        timeout=600.0,
        baseline=None,
        proof="off",
    )


def small_dataset(folder: Path) -> Path:
    """Write a dataset whose training split is MNIST's test split."""
    for path in MNIST_FOLDER.glob("t10k-*.gz"):
        for name in (path.name, path.name.replace("t10k", "train")):
            shutil.copy(path, folder / name)
    return folder


@contextmanager
def bursts() -> Iterator[None]:
    """Keep a process on every CPU busy in bursts of random length."""
    workers = [
        multiprocessing.Process(target=burst, args=(seed,), daemon=True)
        for seed in range(multiprocessing.cpu_count())
    ]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()


def burst(seed: int) -> None:
    """Work for up to 1.5 s, rest for up to 1.5 s, again and again, while there is someone to do it for."""
    rng, parent = random.Random(seed), os.getppid()
    while os.getppid() == parent:
        end = time.perf_counter() + rng.uniform(0.05, 1.5)
        while time.perf_counter() < end:
            pass
        time.sleep(rng.uniform(0.05, 1.5))
