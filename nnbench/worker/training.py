"""What happens inside a cell: set-up, transfer, warm-up, training, evaluation, phases.

The clock runs around ``train_epoch`` and the synchronize after it, and around nothing else that
counts as training. An epoch is handed over in parts of about a second, so that progress shows
and a budget can end it; a backend whose epoch is quicker than that gets it in one call.
"""

from __future__ import annotations

import gc
import math
import resource
import sys
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import numpy as np

from nnbench import catalog, reference
from nnbench.contract.backend import Network
from nnbench.contract.spec import Examples, minibatches
from nnbench.data import seeding
from nnbench.data.task import Task, load_task
from nnbench.records import Epoch, EpochFinished, Finished, Part, Progress, Ready, Setup
from nnbench.worker import counters, phases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from nnbench.contract.backend import Backend, Model
    from nnbench.records import CellSpec, Event, Handicap

PART_S = 1.0  #: how long one call of train_epoch should take at most
WARM_UP_S = 0.1  #: the last warm-up call lasts at least this long; it gives the first pace
BATCH_SIZE = 1000  #: of evaluation; it has no effect on the result
WARM_UP_IMAGES = 1 << 22  #: whoever trains on so many in less time does not train


class Evaluation(NamedTuple):
    """How well a network does on the test split: fields of an epoch."""

    test_loss: float | None  #: None is not finite
    accuracy: float | None  #: None where the targets are no classes
    evaluate_s: float


class Trained(NamedTuple):
    """What one call of train_epoch did: fields of an epoch, which has their sums."""

    images: int
    train_s: float
    losses: list[float | None]
    cpu_s: float
    involuntary_switches: int
    waited_s: float | None
    steal_s: float
    compilations: int
    device_s: float | None  #: by the device's own clock


@dataclass
class Trainer:
    """Trains a network within a budget; keeps the clock."""

    network: Model[Any, Any]
    data: Any
    batch_size: int
    budget_s: float
    cpus: tuple[int, ...] = ()  #: that this process is pinned to
    pace_s: float = 1.0  #: seconds a step, from the latest call
    spent_s: float = 0.0

    def call(self, order: NDArray[np.int64]) -> Trained:
        """Train on ``order``, on the clock; what else is read here is read off it."""
        compiled = self.network.compilations() or 0
        before = counters.read(self.cpus)
        start = perf_counter()
        losses = self.network.train_epoch(self.data, order, self.batch_size)
        self.network.synchronize()
        seconds = perf_counter() - start
        usage = counters.between(before, counters.read(self.cpus))
        self.pace_s = seconds / max(1, len(losses))
        return Trained(
            images=len(order),
            train_s=seconds,
            losses=[finite_or_none(loss) for loss in losses.tolist()],
            **usage._asdict(),
            compilations=(self.network.compilations() or 0) - compiled,
            device_s=self.network.device_seconds(),
        )

    def epoch(self, order: NDArray[np.int64]) -> Iterator[Trained]:
        """Train on ``order`` part by part, until the budget is spent."""
        done = 0
        while done < len(order) and self.spent_s < self.budget_s:
            seconds = min(self.budget_s - self.spent_s, PART_S)
            steps = max(1, int(seconds / self.pace_s))
            part = self.call(order[done : done + steps * self.batch_size])
            self.spent_s += part.train_s
            done += part.images
            yield part


def run_cell(spec: CellSpec, send: Callable[[Event], None]) -> None:
    """Carry out a cell and send its events; errors are the caller's."""
    task = load_task(spec.workload, spec.seed)
    marks = [perf_counter()]
    backend = catalog.find("backend", spec.backend, catalog.backends())
    network = backend.network(task.network, task.batch_size, **spec.options)
    if spec.handicap:
        slow_down(network, spec.handicap)
    marks.append(perf_counter())

    data = network.place(task.train)
    inputs, labels, targets = task.test  # a backend cannot change what it is judged by:
    test_data = network.place(Examples(inputs, deepcopy(labels), deepcopy(targets)))
    network.synchronize()
    marks.append(perf_counter())

    network.load(task.layers)
    trainer = Trainer(network, data, task.batch_size, spec.budget_s, spec.cpus)
    warm_up(trainer, task)
    network.load(task.layers)  # forget the warm-up
    network.synchronize()
    marks.append(perf_counter())
    send(Ready(make_setup(task, backend, *np.diff(marks).tolist())))

    complete = train(trainer, task, test_data, send)
    changed = not reference.equal(network.dump(), task.layers)
    index = np.arange(min(task.batch_size, len(task.train.inputs)))
    measured = phases.measure(network, data, index) if isinstance(network, Network) else None
    send(Finished(measured, peak_memory_bytes(), complete, changed))


def slow_down(network: Model[Any, Any], handicap: Handicap) -> None:
    """Make every later ``train_epoch`` take longer by the handicap's share, as ``selftest`` asks."""
    train = network.train_epoch

    def slowed(data: Any, order: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
        start = perf_counter()
        losses = train(data, order, batch_size)
        network.synchronize()
        now = perf_counter()
        extra = handicap.share * (now - start)
        match handicap.kind:
            case "sleep":
                sleep(extra)
            case "work":
                while perf_counter() < now + extra:
                    pass
            case unknown:
                assert_never(unknown)
        return losses

    network.train_epoch = slowed  # type: ignore[method-assign]  # of this network alone
    # The device's clock knows nothing of it, and would be found to disagree with the host's.
    network.device_seconds = lambda: None  # type: ignore[method-assign]  # likewise


def warm_up(trainer: Trainer, task: Task) -> None:
    """Run every shape that training will meet, until the pace is known.

    The examples are the dataset's own, in an order that training does not use, because a backend
    that skips zeros would run at another pace on noise.
    """
    order = seeding.warm_up_order(len(task.train.inputs), task.seed)
    ragged = len(order) % task.batch_size
    trainer.call(order[: task.batch_size + ragged])
    images = task.batch_size
    while trainer.call(np.resize(order, images)).train_s < WARM_UP_S and images < WARM_UP_IMAGES:
        images *= 2


def train(trainer: Trainer, task: Task, test_data: Any, send: Callable[[Event], None]) -> bool:
    """Train all epochs; return False if the budget, or a loss that is not finite, ended it."""
    gc.collect()
    gc.freeze()  # what exists by now is not the backend's garbage
    images = 0
    for number, order in enumerate(task.orders(), start=1):
        parts = []
        for part in trainer.epoch(order):
            parts.append(part)
            images += part.images
            send(Progress(number, images, trainer.spent_s, part.losses[-1]))
        if not parts:
            return False
        epoch = summarize(number, parts, evaluate(trainer.network, test_data, task))
        send(EpochFinished(epoch))
        if epoch.images < len(order) or None in epoch.losses:
            return False
    return True


def finite_or_none(value: float) -> float | None:
    """Return a Python float of seven digits, all that float32 has; None for NaN and infinity."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def evaluate(network: Model[Any, Any], data: Any, task: Task) -> Evaluation:
    """Evaluate a network on the whole test split, placed as ``data``."""
    start = perf_counter()
    order = np.arange(len(task.test.inputs))
    logits = np.concatenate(
        [network.predict(network.batch(data, i)) for i in minibatches(order, BATCH_SIZE)]
    )
    seconds = perf_counter() - start
    with np.errstate(all="ignore"):  # a diverged network is a result, not a warning
        loss, _ = reference.output_loss(task.network, logits.astype(np.float64), task.test)
    accuracy = None
    if task.labels is not None:
        accuracy = float((logits.argmax(axis=1) == task.labels).mean())
    return Evaluation(finite_or_none(loss), accuracy, seconds)


def summarize(number: int, parts: list[Trained], evaluation: Evaluation) -> Epoch:
    """Join the parts of an epoch and its evaluation; what one part does not know is unknown."""
    columns = zip(Trained._fields, zip(*parts, strict=True), strict=True)
    sums: dict[str, Any] = {n: None if None in each else reduce(add, each) for n, each in columns}
    return Epoch(
        number=number,
        calls=len(parts),
        parts=[Part(images=part.images, train_s=part.train_s) for part in parts],
        **sums,
        **evaluation._asdict(),
    )


def make_setup(
    task: Task, backend: Backend, setup_s: float, transfer_s: float, warmup_s: float
) -> Setup:
    """Collect what happened before training, and what its speed can be judged by."""
    from threadpoolctl import threadpool_info

    inputs = task.train.inputs
    pools = {Path(pool["filepath"]).name: pool for pool in threadpool_info()}
    return Setup(
        setup_s=setup_s,
        transfer_s=transfer_s,
        warmup_s=warmup_s,
        epoch_images=len(inputs),
        parameters=task.network.parameter_count,
        thread_pools={name: pool["num_threads"] for name, pool in pools.items()},
        kernels={n: pool["architecture"] for n, pool in pools.items() if "architecture" in pool},
        device=backend.device,
        operations=task.network.operations,
        traffic_bytes=task.network.traffic(task.batch_size) / task.batch_size,
        nonzero_share=float(np.count_nonzero(inputs) / inputs.size) if backend.skips_zeros else 1.0,
    )


def peak_memory_bytes() -> int:
    """Return the worker's peak resident memory.

    Linux hands a child the peak of the parent it was forked from through getrusage, so /proc is
    asked where it exists.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
