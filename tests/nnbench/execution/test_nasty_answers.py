"""A worker that answers anything: its cell is crashed, its record can be read, and the run goes on."""

import json
import os
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnbench import pipes
from nnbench.execution import process
from nnbench.records.cells import Status
from nnbench.records.events import Ready
from nnbench.records.worker import Answer, Closed, State, Trained
from tests import nasty
from tests.cells import make_spec
from tests.scripted import BEYOND, COMMANDS, DAMAGED, READY, Scripted, honest, run


def decode_again(event):
    """Have an event cross a pipe."""
    msgspec.json.decode(msgspec.json.encode(event))


def test_honest_worker_comes_to_its_end():
    found = run(honest, decode_again)
    assert (found.status, found.complete, found.message) == (Status.OK, True, "")


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

    found = run(answer, decode_again)
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


def at(document, path):
    for key in path:
        document = document[key]
    return document


def is_there(document, path):
    try:
        return at(document, path) == ""
    except (KeyError, IndexError, TypeError):
        return False


def crashed(kind, **changes):
    """Return the message of a cell one of whose answers has other values."""

    def answer(command):
        given = honest(command)
        return msgspec.structs.replace(given, **changes) if isinstance(given, kind) else given

    found = run(answer, decode_again)
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
def test_what_cannot_be_is_named(kind, changes, problem):
    assert crashed(kind, **changes).startswith(problem)


def test_pace_that_nobody_has_is_named():
    setup = replace(READY.setup, pace_s=0.0)
    assert crashed(Ready, setup=setup) == "Expected `float` >= 1e-09 - at `$.setup.pace_s`"


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
