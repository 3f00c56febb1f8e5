"""A worker without a process, whose answers to commands come out of a function."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from nnbench import Backend, pipes
from nnbench.execution import ceilings, cell, disturbance, gpu, process
from nnbench.execution.assignment import Assignment
from nnbench.execution.cell import Spool
from nnbench.execution.tree import Count
from nnbench.records.cells import CellResult, Phases, Setup, Status
from nnbench.records.events import Failed, Ready
from nnbench.records.worker import (
    Close,
    Closed,
    Dump,
    Inspect,
    Inspected,
    Job,
    Predict,
    Predicted,
    State,
    Train,
    Trained,
)
from tests.cells import TOY, Lenient, make_spec, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.records.events import Event

#: How often a worker is asked each of these, in a cell that goes well.
COMMANDS = {"Job": 1, "Train": 3, "Dump": 3, "Predict": 1, "Inspect": 1, "Close": 1}
WORKLOAD = replace(TOY, epochs=12)
PHASES = Phases(gather_us=[1.0], feedforward_us=[1.0], backprop_us=[1.0], update_us=[1.0])
READY = Ready(
    Setup(
        setup_s=0.1,
        transfer_s=0.1,
        warmup_s=0.1,
        epoch_images=1,
        parameters=1,
        thread_pools={"libblas.so": 1},
        pace_s=0.01,
        kernels={"libblas.so": "Zen"},
        recorded={"BLAS": "mine"},
    )
)
DAMAGED = [
    b"",
    b"\xc1",
    b"\x91" * 200_000,
    b"\x81\xa1a" * 200_000,
    b"\xdb\xff\xff\xff\xff",
    b"\xa1\xff",
]
#: Of the values that JSON has, those that msgpack cannot say, or only as the damaged ones do.
BEYOND = {
    "beyond 64 bits",
    "beyond a float",
    "beyond an integer",
    "half a character",
    "deep",
    "deep table",
}


@cache
def assignment() -> Assignment:
    """Load what is trained, once for all."""
    return Assignment(WORKLOAD, 0, stored(WORKLOAD))


def honest(command):
    """Answer as a worker does that learns nothing."""
    match command:
        case Job():
            return READY
        case Train(order=order):
            steps = -(-len(order) // 8 // assignment().batch_size)
            losses = np.ones(steps, np.float32).tobytes()
            return Trained(0.05, None, losses, 0.05, 1, 0.0, 0.0, 0, 0.05)
        case Dump():
            return State(assignment().layers, None, None)
        case Predict(order=order):
            count = len(order) // 8 * stored(WORKLOAD).outputs
            return Predicted(np.zeros(count, np.float32).tobytes(), 0.1)
        case Inspect():
            return Inspected(assignment().layers, PHASES)
        case Close():
            return Closed(1 << 20)


class Scripted(process.Worker):
    """A worker without a process: an answer to each command, or several, come out of a function."""

    answer = staticmethod(honest)

    def __init__(self, spec, backend, descriptors, largest):
        self.spec, self.largest, self._answers = spec, largest, 0
        self._pending = bytearray()
        self.printed, self.is_private = b"", True
        self.variables, self._dropped, self.doing = {}, [], "its start"
        tree: Any = SimpleNamespace(count=lambda: Count(0.0, {}))
        watch: Any = SimpleNamespace(
            violations=[], counts=[], poll=lambda: None, begin=lambda _: None
        )
        self.tree, self.watch = tree, watch
        self.on_gpu = gpu.Use("cpu")

    def send(self, message, doing=None):
        answer = self.answer(message)
        for each in answer if isinstance(answer, list) else [answer]:
            content = each if isinstance(each, bytes) else msgspec.msgpack.encode(each)
            self._pending += pipes.LENGTH.pack(len(content)) + content

    def _wait(self):
        raise process.EndedError(Failed(Status.CRASHED, "exited with status 0 before it was done"))

    def nothing(self):
        pass

    stop = go_on = close = finish = nothing
    ran_s = property(lambda _: 1.0)


def run(answer, on_event: Callable[[Event], object] = lambda _: None, seed: int = 0) -> CellResult:
    """Run a cell whose worker answers so, and return its result as it is read again.

    What the parent draws comes of the seed.
    """
    spec, backend = (
        make_spec(workload=WORKLOAD),
        Backend(name="numpy", summary="", create=pytest.fail),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scripted, "answer", staticmethod(answer))
        patch.setattr(process, "Worker", Scripted)
        patch.setattr("nnbench.execution.assignment.RANDOM", Random(seed))
        patch.setattr(ceilings, "for_cell", lambda *_: 50.0)
        with (
            closing(Spool()) as spool,
            cell.run(spec, assignment(), backend, spool, Lenient()) as (events, found),
        ):
            for event in events:
                on_event(event)
    result = CellResult(
        backend="numpy",
        workload=WORKLOAD.name,
        round=0,
        seed=0,
        threads=1,
        position=0,
        **found.values,
    )
    result = disturbance.mark(ceilings.measure_speed(result, spec), 0)
    return msgspec.json.decode(msgspec.json.encode(result), type=CellResult)
