"""A small correct network, and backends that have one fault each."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench import Backend, BackendUnavailableError, Examples, Layer, Network, hookimpl, pipes
from nnbench.records.worker import Closed, Trained

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench import NetworkSpec

KNOWN_STEPS = 20
FAULTY_STEP = 60  # of the training: whoever breaks there has ended at least one part of it
MEGABYTE = 1 << 20


FORGED = Trained(
    train_s=float("nan"),
    load_s=None,
    losses=b"",
    cpu_s=0.0,
    involuntary_switches=0,
    waited_s=None,
    steal_s=0.0,
    compilations=0,
    device_s=None,
)


class Steady(Network[Examples, Examples]):
    """What toy-sigmoid needs, in float64: sigmoids, squared error, gradient descent."""

    def __init__(self, spec: NetworkSpec):
        self.rate = spec.optimizer.learning_rate
        self.loads = 0

    def load(self, layers):
        self.weights = [layer.weight.astype(np.float64) for layer in layers]
        self.loads += 1
        self.steps = 0

    def dump(self):
        return [Layer(weight.astype(np.float32), None) for weight in self.weights]

    def gradients(self):
        return [Layer(gradient.astype(np.float32), None) for gradient in self.kept]

    def place(self, examples):
        return examples

    def batch(self, data, index):
        return Examples(data.inputs[index], None, data.targets[index])

    def feedforward(self, batch):
        self.values = [batch.inputs]
        for weight in self.weights:
            logits = self.values[-1] @ weight
            # the sigmoid, as it overflows nowhere: repeated updates make weights huge
            self.values.append((1 + np.tanh(logits / 2)) / 2)
        return logits

    def backprop(self, batch):
        self.kept: list[Any] = []
        error = self.values[-1] - batch.targets
        descent = 2 * error / error.size
        for weight, below, above in zip(
            self.weights[::-1], self.values[-2::-1], self.values[:0:-1], strict=True
        ):
            delta = descent * above * (1 - above)
            self.kept.insert(0, below.T @ delta)
            descent = delta @ weight.T
        return float((error**2).mean())

    def update(self):
        for weight, gradient in zip(self.weights, self.kept, strict=True):
            weight -= self.rate * gradient
        self.steps += 1

    @property
    def trains(self) -> bool:
        """The harness loads twice: before the warm-up, and before the training."""
        return self.loads == 2


class Breaks(Steady):
    """Does something silly in one step of the training."""

    def __init__(self, fault: Callable[[], object], spec: NetworkSpec):
        super().__init__(spec)
        self.fault = fault

    def update(self):
        super().update()
        if self.trains and self.steps == FAULTY_STEP:
            self.fault()


class TurnsNan(Steady):
    def update(self):
        super().update()
        if self.steps >= FAULTY_STEP:
            self.weights[0][...] = np.nan


class ForgetsMean(Steady):
    def backprop(self, batch):
        loss = super().backprop(batch)
        self.kept = [len(batch.inputs) * gradient for gradient in self.kept]
        return loss


class FlipsSign(Steady):
    def backprop(self, batch):
        loss = super().backprop(batch)
        self.kept = [-gradient for gradient in self.kept]
        return loss


class NeverUpdates(Steady):
    def update(self):
        self.steps += 1


class DoesNothing(Steady):
    def train_epoch(self, data, order, batch_size):
        return np.zeros(-(-len(order) // batch_size), np.float32)


class ForgesLosses(Steady):
    """Has the right losses, from another network, and leaves its own parameters as they are."""

    def __init__(self, spec):
        super().__init__(spec)
        self.honest = Steady(spec)

    def load(self, layers):
        super().load(layers)
        self.honest.load(layers)

    def train_epoch(self, data, order, batch_size):
        return self.honest.train_epoch(data, order, batch_size)


class KnowsLosses(Steady):
    """Trains in load, off the clock: the toy is never shuffled, and a batch is all of it."""

    def place(self, examples):
        self.train = getattr(self, "train", examples)  # the first split
        return examples

    def load(self, layers):
        super().load(layers)
        whole = np.arange(len(self.train.inputs))
        self.known = [super(KnowsLosses, self)._step(self.train, whole) for _ in range(KNOWN_STEPS)]

    def train_epoch(self, data, order, batch_size):
        steps = len(order) // batch_size
        self.known, losses = self.known[steps:], self.known[:steps]
        return np.resize(np.array(losses, np.float32), steps)


class ChangesInputs(Steady):
    def place(self, examples):
        np.divide(examples.inputs, 2, out=examples.inputs)
        return examples


class ChangesParameters(Steady):
    def load(self, layers):
        super().load(layers)
        self.weights = [layer.weight for layer in layers]


class HasHelper(Steady):
    """Has a thread beside the one that it was given, and each compute for as long."""

    def __init__(self, spec):
        super().__init__(spec)
        self.pool = ThreadPoolExecutor(1)

    def train_epoch(self, data, order, batch_size):
        losses = super().train_epoch(data, order, batch_size)
        compute()
        self.pool.submit(compute).result()
        return losses


def compute() -> None:
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        pass


class Slow(Steady):
    def update(self):
        super().update()
        time.sleep(0.1)


class GetsSlower(Steady):
    def update(self):
        super().update()
        if self.trains:
            time.sleep(0.001 * min(self.steps, 30))


class PredictsSlowly(Steady):
    """Trains fast, and takes 10 ms for each image that it predicts."""

    def predict(self, batch):
        time.sleep(0.01 * len(batch.inputs))
        return super().predict(batch)


class PredictsSlowlyAndWrong(PredictsSlowly):
    """Does so after a first few, which are right."""

    def predict(self, batch):
        self.predicted = getattr(self, "predicted", 0) + 1
        return super().predict(batch) * np.float32(1.0 if self.predicted == 1 else 1.01)


class HangsInPredict(Steady):
    def predict(self, batch):
        hang()
        return super().predict(batch)


def hang() -> None:
    """Hang as badly as one can: ignore SIGTERM, and have a child that hangs too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave_grandchild("sleep 600")
    announce()
    time.sleep(600)


def announce() -> None:
    """Tell the test that waits for it."""
    if folder := os.environ.get("NNBENCH_FAULTY_FOLDER"):
        Path(folder, "reached").touch()


def exhaust_memory() -> None:
    raise MemoryError


def raise_at_length() -> None:
    raise ValueError("first line\nsecond line " + "and so on " * 10_000)


def close_output_and_raise() -> None:
    sys.stderr.close()
    raise ValueError("nobody can see this traceback")


def print_much() -> None:
    write(1, b'{"type": "Failed", "status": "oom", "message": "only printed"}\n')
    write(2, b"\xff no UTF-8\n")
    write(1, b"one endless line, " * MEGABYTE)
    write(1, b"\n" + b"a line\n" * MEGABYTE)
    write(2, b"last words\n")


def answers() -> int:
    return int(sys.argv[2])


def write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_garbage(content: bytes) -> None:
    write(answers(), content)


def leave_grandchild(command: str) -> None:
    subprocess.Popen(["sh", "-c", command], pass_fds=[answers()])


def close_output() -> None:
    os.close(1)
    os.close(2)


FAULTS: dict[str, Callable[[], object]] = {
    "exits": partial(os._exit, 3),
    "exits-as-if-done": partial(os._exit, 0),
    "segfaults": partial(ctypes.string_at, 0),
    "aborts": os.abort,
    "kills-itself": partial(signal.raise_signal, signal.SIGKILL),
    "gets-nameless-signal": partial(os.kill, os.getpid(), 40),
    "hangs": hang,
    "hangs-at-exit": partial(atexit.register, time.sleep, 600),
    "exhausts-memory": exhaust_memory,
    "raises": raise_at_length,
    "raises-unseen": close_output_and_raise,
    "prints-much": print_much,
    "closes-output": close_output,
    "closes-everything": partial(os.closerange, 0, 256),
    "writes-garbage-line": partial(write_garbage, b"\x00garbage\n"),
    "writes-garbage-before": partial(write_garbage, b"garbage"),
    "writes-garbage-much": partial(write_garbage, b"\xff" * 3 * MEGABYTE),
    "writes-another-answer": partial(write_garbage, pipes.frame(Closed(None))),
    "writes-no-number": partial(write_garbage, pipes.frame(FORGED)),
    "writes-no-message": partial(write_garbage, pipes.LENGTH.pack(2) + b"\xc1\xc1"),
    "leaves-grandchild": partial(leave_grandchild, "sleep 600"),
    "leaves-loud-grandchild": partial(leave_grandchild, "while echo noise; do sleep 0.02; done"),
}
NETWORKS: dict[str, type[Steady]] = {
    "steady": Steady,
    "turns-nan": TurnsNan,
    "forgets-mean": ForgetsMean,
    "flips-sign": FlipsSign,
    "never-updates": NeverUpdates,
    "does-nothing": DoesNothing,
    "forges-losses": ForgesLosses,
    "knows-losses": KnowsLosses,
    "changes-inputs": ChangesInputs,
    "changes-parameters": ChangesParameters,
    "has-helper": HasHelper,
    "slow": Slow,
    "gets-slower": GetsSlower,
    "predicts-slowly": PredictsSlowly,
    "predicts-slowly-and-wrong": PredictsSlowlyAndWrong,
    "hangs-in-predict": HangsInPredict,
}


def create_never(spec: NetworkSpec) -> Steady:
    hang()
    return Steady(spec)


def create_badly(spec: NetworkSpec) -> Steady:
    raise RuntimeError(f"no network of {len(spec.sizes)} layers today")


def create_unavailable(_: NetworkSpec) -> Steady:
    raise BackendUnavailableError("the library finds\nno device")


def create_exiting(_: NetworkSpec) -> Steady:
    sys.exit(0)


def create_talking(spec: NetworkSpec) -> Steady:
    """Print what the worker's process was given."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    sys.stdout.write(json.dumps({"variables": dict(os.environ), "cpus": cpus}))
    return Steady(spec)


CREATORS: dict[str, Callable[[NetworkSpec], Steady]] = {
    "hangs-in-create": create_never,
    "raises-in-create": create_badly,
    "unavailable-in-create": create_unavailable,
    "exits-in-create": create_exiting,
    "talks": create_talking,
}


@hookimpl
def nnbench_backends():
    breaking = {name: partial(Breaks, fault) for name, fault in FAULTS.items()}
    creators: dict[str, Callable[[NetworkSpec], Steady]] = {**NETWORKS, **breaking, **CREATORS}
    return [
        Backend(name=name, summary="faulty", create=create) for name, create in creators.items()
    ]
