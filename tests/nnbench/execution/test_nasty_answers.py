"""A worker that answers anything: its cell is crashed, its record can be read, and the run goes on."""

import json
import os
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnbench import Backend, pipes
from nnbench.execution import ceilings, cell, disturbance, process
from nnbench.execution.cell import Assignment, Spool
from nnbench.execution.tree import Count
from nnbench.records import (
    Answer,
    CellResult,
    Close,
    Closed,
    Dump,
    Failed,
    Inspect,
    Inspected,
    Job,
    Phases,
    Predict,
    Predicted,
    Ready,
    Setup,
    State,
    Status,
    Train,
    Trained,
)
from tests import nasty
from tests.cells import TOY, Lenient, make_spec, stored

ASSIGNMENT = Assignment(TOY, 0, stored(TOY))
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


def honest(command):
    """Answer as a worker does that learns nothing."""
    match command:
        case Job():
            return READY
        case Train(order=order):
            steps = -(-len(order) // 8 // ASSIGNMENT.batch_size)
            losses = np.ones(steps, np.float32).tobytes()
            return Trained(0.05, None, losses, 0.05, 1, 0.0, 0.0, 0, 0.05)
        case Dump():
            return State(ASSIGNMENT.layers, None, None)
        case Predict(order=order):
            count = len(order) // 8 * stored(TOY).outputs
            return Predicted(np.zeros(count, np.float32).tobytes(), 0.1)
        case Inspect():
            return Inspected(ASSIGNMENT.layers, PHASES)
        case Close():
            return Closed(1 << 20)


class Scripted(process.Worker):
    """A worker without a process: an answer to each command comes out of a function."""

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

    def send(self, message, doing=None):
        answer = self.answer(message)
        content = answer if isinstance(answer, bytes) else msgspec.msgpack.encode(answer)
        self._pending += pipes.LENGTH.pack(len(content)) + content

    def _wait(self):
        raise process.EndedError(Failed(Status.CRASHED, "exited with status 0 before it was done"))

    def nothing(self):
        pass

    stop = go_on = close = finish = nothing
    ran_s = property(lambda _: 1.0)


def run(answer, monkeypatch):
    """Run a cell whose worker answers so, and return its result as it is read again."""
    monkeypatch.setattr(Scripted, "answer", staticmethod(answer))
    monkeypatch.setattr(process, "Worker", Scripted)
    monkeypatch.setattr(ceilings, "for_cell", lambda *_: 50.0)
    spec, backend = make_spec(), Backend(name="numpy", summary="", create=pytest.fail)
    with (
        closing(Spool()) as spool,
        cell.run(spec, ASSIGNMENT, backend, spool, Lenient()) as (events, found),
    ):
        for event in events:
            msgspec.json.decode(msgspec.json.encode(event))
    result = CellResult(
        backend="numpy",
        workload=TOY.name,
        round=0,
        seed=0,
        threads=1,
        position=0,
        **found.values,
    )
    result = disturbance.mark(ceilings.measure_speed(result, spec), 0)
    return msgspec.json.decode(msgspec.json.encode(result), type=CellResult)


def test_honest_worker_comes_to_its_end(monkeypatch):
    found = run(honest, monkeypatch)
    assert (found.status, found.complete, found.message) == (Status.OK, True, "")


COMMANDS = {"Job": 1, "Train": 3, "Dump": 3, "Predict": 1, "Inspect": 1, "Close": 1}


@settings(max_examples=nasty.EXAMPLES or 60)
@given(data=st.data())
def test_nasty_answer_is_the_end_of_its_cell_alone(data):
    name = data.draw(st.sampled_from([*COMMANDS]))
    left = data.draw(st.integers(1, COMMANDS[name]))
    is_damaged = data.draw(st.integers(0, 9)) == 0

    def answer(command):
        nonlocal left
        given = honest(command)
        if type(command).__name__ != name:
            return given
        left -= 1
        if left:
            return given
        if is_damaged:
            return data.draw(st.sampled_from(DAMAGED))
        return spoil(data, given)

    with pytest.MonkeyPatch.context() as patch:
        found = run(answer, patch)
    assert found.status in {Status.OK, Status.CRASHED}
    assert len(found.message) < 1000
    assert (found.status is Status.OK) == (not found.message)


def spoil(data, answer):
    """Return an answer as bytes with one value that is another one, as far as there is JSON of it."""
    document = msgspec.to_builtins(answer, builtin_types=[bytes])
    known = {
        path: value
        for path in nasty.paths(document)
        if isinstance(value := at(document, path), bytes)
    }
    blank = document
    for path in known:
        blank = nasty.replaced(blank, path, "")
    text = data.draw(
        nasty.mutations(blank, {k: v for k, v in nasty.VALUES.items() if k not in BEYOND})
    )
    changed = json.loads(text)
    for path, value in known.items():
        if is_there(changed, path):
            changed = nasty.replaced(changed, path, value)
    return msgspec.msgpack.encode(changed)


#: What msgpack cannot say, or only as the damaged ones do.
BEYOND = {
    "beyond 64 bits",
    "beyond a float",
    "beyond an integer",
    "half a character",
    "deep",
    "deep table",
}


def at(document, path):
    for key in path:
        document = document[key]
    return document


def is_there(document, path):
    try:
        return at(document, path) == ""
    except (KeyError, IndexError, TypeError):
        return False


def crashed(monkeypatch, kind, **changes):
    """Return the message of a cell one of whose answers has other values."""

    def answer(command):
        given = honest(command)
        return msgspec.structs.replace(given, **changes) if isinstance(given, kind) else given

    found = run(answer, monkeypatch)
    assert found.status is Status.CRASHED
    return found.message.removeprefix("wrote to the pipe of answers: ").partition(": b'")[0]


@pytest.mark.parametrize(
    ("kind", "changes", "problem"),
    [
        (Trained, {"train_s": 0.0}, "Expected `float` >= 1e-09 - at `$.train_s`"),
        (Trained, {"train_s": -1.0}, "Expected `float` >= 1e-09 - at `$.train_s`"),
        (Trained, {"train_s": 1e308}, "Expected `float` <= 1000000000.0 - at `$.train_s`"),
        (Trained, {"compilations": 2**63}, "Expected `int` <= 1000000000 - at `$.compilations`"),
        (Trained, {"waited_s": float("inf")}, "Expected `float` <= 1000000000.0 - at `$.waited_s`"),
        (State, {"steps": -1}, "Expected `int` >= 0 - at `$.steps`"),
        (
            Closed,
            {"peak_memory_bytes": 2**62},
            f"Expected `int` <= {2**60} - at `$.peak_memory_bytes`",
        ),
        (Trained, {"losses": b""}, "sent 0 bytes of losses, not"),
    ],
)
def test_what_cannot_be_is_named(monkeypatch, kind, changes, problem):
    assert crashed(monkeypatch, kind, **changes).startswith(problem)


def test_pace_that_nobody_has_is_named(monkeypatch):
    setup = replace(READY.setup, pace_s=0.0)
    assert (
        crashed(monkeypatch, Ready, setup=setup)
        == "Expected `float` >= 1e-09 - at `$.setup.pace_s`"
    )


def test_whatever_is_sent_is_decoded_or_no_message():
    for content in DAMAGED:
        with pytest.raises(pipes.PipeError):
            pipes.decode(content, Answer)


def test_flood_of_answers_ends_the_worker(monkeypatch):
    """A worker that does not read, and does not stop to write."""
    monkeypatch.setattr(os, "read", lambda *_: b"x" * process.CHUNK)
    worker = Scripted(make_spec(), None, [], 1 << 16)
    worker._read(worker._answers)
    with pytest.raises(process.EndedError, match="more than it was asked for"):
        worker._read(worker._answers)
