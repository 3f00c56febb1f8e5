"""What happens inside a cell: set-up, transfer, warm-up, and then what the parent asks for.

The clock runs around ``train_epoch``, the synchronize after it and the copy of its losses, and, in the
first call, around the load of the parameters; around nothing else that counts as training. Where
the calls end is drawn by the parent. This process knows neither the seed nor anything that its training is
judged by.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from nnbench import catalog, interpreter
from nnbench.catalog.flaws import shorten
from nnbench.contract.backend import Network
from nnbench.contract.bounds import SHORTEST_S
from nnbench.contract.spec import Examples, flatten, map_arrays, minibatches
from nnbench.data import arrays, seeding
from nnbench.records.cells import Setup
from nnbench.records.events import Ready
from nnbench.records.worker import (
    Close,
    Dump,
    Inspect,
    Inspected,
    Job,
    Predict,
    Predicted,
    Reached,
    State,
    Train,
    Trained,
)
from nnbench.worker import counters, memory, phases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from nnbench.contract.backend import Backend, Model
    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.records.cells import Handicap
    from nnbench.records.worker import Command

    Send = Callable[[object], None]

WARM_UP_S = 0.1  #: the last warm-up call lasts at least this long; it gives the first pace
WARM_UP_IMAGES = 1 << 22  #: whoever trains on so many in less time does not train
WARM_UP_GROWTH = 16  #: of a call at most, since a short one tells little of the pace
WARM_UP_SEED = (
    1 << 64
)  #: more than a run's can be: training meets neither its parameters nor its order
RECORDED, LENGTH = 30, 300  #: texts that a backend may record, and their characters
BATCH_SIZE = 1000  #: of ``predict`` at most; it has no effect on the result


@dataclass
class Trainer:
    """Does with a network what it is told, and keeps the clock."""

    network: Model[Any, Any]
    spec: NetworkSpec
    data: Any  #: the training split, where the backend wants it
    batch_size: int
    test_data: Any = None  #: likewise, without labels or targets
    cpus: tuple[int, ...] = ()  #: that this process is pinned to
    below: tuple[int, ...] = ()  #: processes that the backend has started
    imported: memory.Mark | None = None  #: what there was in memory then

    def obey(self, command: Command, send: Send) -> None:
        """Carry out a command and send its answers."""
        match command:
            case Train(order=order, layers=layers):
                parameters = None if layers is None else self.spec.view(floats(layers))
                send(self.train(indices(order), parameters))
            case Dump():
                send(self.state())
            case Predict(order=order):
                send(self.predict(indices(order)))
            case Inspect(order=order, phases_s=phases_s):
                send(self.inspect(indices(order), phases_s, send))
            case Job() | Close():
                raise ValueError(f"{type(command).__name__} does not come here")
            case unknown:
                assert_never(unknown)

    def train(self, order: NDArray[np.int64], layers: list[Layer] | None = None) -> Trained:
        """Train on ``order``, on the clock; what else is read here is read off it."""
        compiled = self.network.compilations() or 0
        before = counters.read(self.cpus, self.below)
        start = loaded = perf_counter()
        if layers is not None:
            self.network.load(layers)
            loaded = perf_counter()
        found = self.network.train_epoch(self.data, order, self.batch_size)
        self.network.synchronize()
        losses = np.array(found, np.float32)
        seconds = perf_counter() - start
        usage = counters.between(before, counters.read(self.cpus, self.below))
        require_shape("the losses of train_epoch", losses, (-(-len(order) // self.batch_size),))
        return Trained(
            train_s=seconds,
            load_s=None if layers is None else loaded - start,
            losses=losses.tobytes(),
            **usage._asdict(),
            compilations=max(0, (self.network.compilations() or 0) - compiled),
            device_s=self.network.device_seconds(),
        )

    def state(self) -> State:
        """Copy out the parameters and what the optimizer keeps."""
        layers = self._flat("dump", self.network.dump())
        kept = self.network.optimizer_state()
        if kept is None:
            return State(layers, None, None)
        first, second = (self._flat("optimizer_state", each) for each in (kept.first, kept.second))
        return State(layers, int(kept.steps), first + second)

    def predict(self, order: NDArray[np.int64]) -> Predicted:
        """Compute the logits of some images of the test split, timed."""
        start = perf_counter()
        parts = [
            self.network.predict(self.network.batch(self.test_data, index))
            for index in minibatches(order, BATCH_SIZE)
        ]
        logits = np.array(np.concatenate(parts), np.float32)
        seconds = perf_counter() - start
        require_shape("the logits of predict", logits, (len(order), self.spec.sizes[-1]))
        return Predicted(logits.tobytes(), seconds)

    def inspect(self, order: NDArray[np.int64], phases_s: float, send: Send) -> Inspected:
        """Compute the gradients of a batch, without an update, and then time the phases on it."""
        network = self.network
        if not isinstance(network, Network):
            return Inspected(None, None)
        batch = network.batch(self.data, order)
        network.feedforward(batch)
        network.backprop(batch)
        gradients = self._flat("gradients", network.gradients())
        if not phases_s:
            return Inspected(gradients, None)
        send(Reached("the phases"))
        return Inspected(gradients, phases.measure(network, self.data, order, phases_s))

    def _flat(self, method: str, layers: Iterable[Layer]) -> bytes:
        """Return the arrays of layers one after the other, float32."""
        found = [np.array(array, np.float32, order="C") for array in flatten(layers)]
        empty = np.empty(self.spec.parameter_count, np.float32)
        expected = [array.shape for array in flatten(self.spec.view(empty))]
        shapes = [array.shape for array in found]
        if shapes != expected:
            raise ValueError(f"{method} gives arrays of the shapes {shapes}, not {expected}")
        return b"".join(array.tobytes() for array in found)


def indices(content: bytes) -> NDArray[np.int64]:
    """Return a copy that whoever gets it may write to."""
    return np.frombuffer(content, np.int64).copy()


def floats(content: bytes) -> NDArray[np.float32]:
    """Return a copy that whoever gets it may write to."""
    return np.frombuffer(content, np.float32).copy()


def require_shape(what: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape."""
    if array.shape != shape:
        raise ValueError(f"{what} have the shape {array.shape}, not {shape}")


def prepare(job: Job, send: Send) -> Trainer:
    """Set everything up, and say when training can start; errors are the caller's."""
    # Copies, so that their pages are like those of any other array, and may be written to.
    train = map_arrays(np.array, arrays.view_examples(job.train))
    inputs = np.array(arrays.view(job.test))
    send(Reached("import"))
    marks = [perf_counter()]
    backend = catalog.find("backend", job.backend, catalog.backends())
    backend.resolve(job.network, job.batch_size)
    resolved = perf_counter()
    imported = memory.mark()
    marks[0] += perf_counter() - resolved  # that was none of the backend's time
    send(Reached("create"))
    network = backend.network(job.network, job.batch_size, **job.options)
    if job.handicap:
        slow_down(network, job.handicap)
    marks.append(perf_counter())

    send(Reached("place"))
    data = network.place(train)
    test_data = network.place(without_answers(job.network, inputs))
    network.synchronize()
    marks.append(perf_counter())

    send(Reached("the warm-up"))
    trainer = Trainer(network, job.network, data, job.batch_size, test_data, job.cpus)
    trainer.imported = imported
    pace_s = warm_up(trainer, len(train.inputs))
    marks.append(perf_counter())
    trainer.below = tuple(counters.descendants())
    gc.collect()
    gc.freeze()  # what exists by now is not the backend's garbage
    setup = make_setup(job, len(train.inputs), pace_s, *np.diff(marks).tolist())
    other = backend.why_other_optimizer(job.network) or ""
    setup = replace(setup, recorded=recorded(backend, network), other_optimizer=other[:LENGTH])
    send(Ready(setup))
    return trainer


def without_answers(spec: NetworkSpec, inputs: NDArray[np.float32]) -> Examples:
    """Give inputs labels, or targets, that are all zero: the right ones never come here."""
    shape = len(inputs), spec.sizes[-1]
    labels = spec.choose_loss(cross_entropy=np.zeros(len(inputs), np.int64), squared_error=None)
    targets = spec.choose_loss(cross_entropy=None, squared_error=np.zeros(shape, np.float32))
    return Examples(inputs, labels, targets)


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


def warm_up(trainer: Trainer, count: int) -> float:
    """Run every shape that training will meet, until the pace is known: seconds a step.

    The examples are the dataset's own, in an order that training does not use, because a backend
    that skips zeros would run at another pace on noise.
    """
    batch_size, order = trainer.batch_size, seeding.warm_up_order(count, WARM_UP_SEED)
    layers = seeding.initial_layers(trainer.spec, "uniform", WARM_UP_SEED)
    trainer.train(order[: batch_size + count % batch_size], layers)
    images = batch_size
    while True:
        seconds = trainer.train(np.resize(order, images)).train_s
        if seconds >= WARM_UP_S or images >= WARM_UP_IMAGES:
            # of a network that leaves its steps out, which is for the judge to find
            return max(SHORTEST_S, seconds / (images // batch_size))
        missing = min(WARM_UP_S / seconds, WARM_UP_IMAGES / images, WARM_UP_GROWTH)
        images *= max(2, ceil(missing))


def make_setup(
    job: Job,
    images: int,
    pace_s: float,
    setup_s: float,
    transfer_s: float,
    warmup_s: float,
) -> Setup:
    """Collect what happened before training; what its speed is judged by, the parent knows itself."""
    from threadpoolctl import threadpool_info

    pools = {Path(pool["filepath"]).name: pool for pool in threadpool_info()}
    return Setup(
        setup_s=setup_s,
        transfer_s=transfer_s,
        warmup_s=warmup_s,
        epoch_images=images,
        parameters=job.network.parameter_count,
        thread_pools={name: pool["num_threads"] for name, pool in pools.items()},
        kernels={n: pool["architecture"] for n, pool in pools.items() if "architecture" in pool},
        pace_s=pace_s,
        gil=interpreter.gil(),
    )


def recorded(backend: Backend, network: Model[Any, Any]) -> dict[str, str]:
    """Return what the backend wants to be known of it: short texts, or why it could not say."""
    try:
        found = [*backend.record(network).items()][:RECORDED]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is no reason not to train
        found = [("not recorded", shorten(error))]
    return {
        " ".join(f"{name}".split()): " ".join(f"{text}".split())[:LENGTH] for name, text in found
    }
