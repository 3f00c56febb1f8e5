"""An errand in a process of its own: what it says, how it ends, and what ends with it."""

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from nnbench.contract import engine
from nnbench.contract.engine import carry_out
from nnbench.contract.errors import NnbenchError
from nnbench.execution import machine
from nnbench.execution.block import Bringer
from nnbench.execution.cpus import Chooser
from nnbench.proof import kept
from nnbench.records.errands import Ended, Errand, MachineSeen, Spoken, States
from nnbench.records.events import CellEvent, CellFinished, CellStarted, EpochFinished
from nnbench.records.runs import Block, Entry
from tests.cells import TOY
from tests.plugins.helpers import survivors, variables, wait_until

NUMPY = Entry(label="numpy", backend="numpy")
BLOCK = Block(
    workload=replace(TOY, epochs=2),
    threads=1,
    round=3,
    seed=7,
    attempt=1,
    is_witnessed=True,
    entries=[NUMPY],
    budget_s=5.0,
    timeout_s=60.0,
)


def ask(**changes):
    """Return an errand as a line."""
    asked = {"entries": [NUMPY], "threads": 1, "libraries": ["numpy"], **changes}
    return msgspec.json.encode(Errand(**asked))


def read(lines):
    return [msgspec.json.decode(line, type=Spoken) for line in lines]


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Mark all processes that come of this test, which know of backends with faults."""
    for name, value in variables("faulty", mark=tmp_path).items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    wait_until(lambda: not survivors(tmp_path))


def test_block_is_run_and_its_outcome_is_what_counts():
    told: list[bytes] = []
    block = replace(BLOCK, keep_states=True)
    seen, *states, finished, ended = read(carry_out(ask(block=block), told.append).split(b"\n"))
    assert isinstance(seen, MachineSeen)
    assert seen.machine.environment.versions.keys() >= {"numpy"}
    assert isinstance(finished, CellFinished)
    assert finished.witness.after
    result = finished.result
    assert (result.status, result.round, result.seed, result.block_attempt) == ("ok", 3, 7, 1)
    assert result.proof.proved
    assert len(result.losses) == result.steps > 0
    assert ended == Ended("done")
    rows = b"".join(each.content for each in states)
    digests = [part.state for epoch in result.epochs for part in epoch.parts if part.state]
    size = len(rows) // len(digests)
    cut = [rows[start : start + size] for start in range(0, len(rows), size)]
    assert [hashlib.sha256(row).hexdigest() for row in cut] == digests
    progress = read(b"\n".join(told).split(b"\n"))
    assert len(told) < len(progress)  # what comes at once is told at once
    assert [type(each) for each in progress[:2]] == [MachineSeen, CellStarted]
    assert {type(each) for each in progress[2:]} == {CellEvent}
    epochs = [e.event.epoch for e in progress[2:] if isinstance(e.event, EpochFinished)]
    assert [(epoch.number, epoch.losses) for epoch in epochs] == [(1, []), (2, [])]
    assert all(epoch.steps for epoch in epochs)


def test_states_of_a_block_are_pieces_and_no_more_than_an_engine_can_hold(monkeypatch):
    monkeypatch.setattr(kept, "MOST_BROUGHT", 1 << 20)
    brought: list[States] = []
    keep = Bringer(brought.append).keep
    keep(None, kept.States(1, 3, [bytes(1 << 19)] * 2))
    text = r"^the states of this block have more than 1 MiB: --keep-states needs --executor local"
    with pytest.raises(NnbenchError, match=text):
        keep(None, kept.States(1, 3, [b"x"]))
    assert len(brought) == 2


def test_machine_is_looked_at_alone():
    told: list[bytes] = []
    entries = [NUMPY, Entry(label="nump", backend="nump")]
    seen, ended = read(carry_out(ask(entries=entries), told.append).split(b"\n"))
    assert "did you mean numpy" in seen.machine.unavailable["nump"]
    assert ended == Ended("done")
    assert read(told) == [seen]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 10**6}, "1000000 threads are more than the "),
        ({"block": replace(BLOCK, dataset_sha256="x")}, "toy is another dataset here than in"),
        (
            {"entries": [NUMPY, replace(NUMPY, label="x", backend="x")]}
            | {"block": replace(BLOCK, entries=[replace(NUMPY, label="x", backend="x")])},
            "x is unavailable on ",
        ),
    ],
)
def test_what_a_machine_cannot_do_it_refuses(changes, words):
    *_, ended = read(carry_out(ask(**changes), lambda _: None).split(b"\n"))
    assert ended.how == "refused"
    assert words in ended.message


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only where processes are pinned")
def test_block_waits_for_cpus_that_no_other_has():
    told: list[bytes] = []

    def run():
        outcome.extend(read(carry_out(ask(block=BLOCK), told.append).split(b"\n")))

    outcome: list[Any] = []
    thread = threading.Thread(target=run)
    with Chooser(waits=True).hold(len(machine.usable_cpus())):  # other tests may hold some
        thread.start()
        wait_until(lambda: told)  # it has looked at the machine, and waits
        thread.join(1.0)
        assert len(told) == 1
    thread.join()
    assert outcome[1].result.shared_cpus == ()
    assert outcome[-1] == Ended("done")


HANGING = Entry(label="hangs", backend="hangs")
HANGS = ask(entries=[HANGING], block=replace(BLOCK, entries=[HANGING]))
CARRIES = """
import sys
from nnbench.contract import engine
engine.TELL_S = 0.0
engine.carry_out(sys.stdin.buffer.read(), lambda lines: print(lines.decode(), flush=True))
"""  # what an engine's worker does


DIRECTLY = ("-m", engine.BLOCK, str(os.getpid()))


def begin(*command):
    """Start a process with a block that hangs; return it when the cell trains."""
    process = subprocess.Popen(
        [sys.executable, "-P", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(HANGS + b"\n")
    process.stdin.close()
    for line in process.stdout:
        if isinstance(msgspec.json.decode(line, type=Spoken), CellEvent):
            return process
    raise AssertionError("it has begun no cell")


@pytest.mark.usefixtures("mark")
def test_sigterm_ends_a_block_at_once_and_is_said():
    with begin(*DIRECTLY) as process:
        process.terminate()
        *_, ended = read(process.stdout)
        assert ended == Ended("interrupted", "it was ended by SIGTERM")
        assert process.wait() == 0


@pytest.mark.parametrize("command", [DIRECTLY, ("-c", CARRIES)])
def test_nothing_of_a_block_outlives_who_carries_it_out(mark, command):
    with begin(*command) as process:
        assert len(survivors(mark)) >= 2
        process.kill()


@pytest.mark.usefixtures("mark")
def test_errand_that_is_not_wanted_any_more_is_ended():
    told: list[bytes] = []
    lines = carry_out(HANGS, told.append, lambda: len(told) < 2)
    assert read(lines.split(b"\n"))[-1] == Ended("interrupted", "it was ended by SIGTERM")


def test_process_that_dies_is_lost_and_how_it_died_is_said(mark):
    def kill_it(lines):
        if any(isinstance(each, CellEvent) for each in read(lines.split(b"\n"))):
            for process in survivors(mark):
                if engine.BLOCK in process.cmdline():
                    process.kill()

    *_, ended = read(carry_out(HANGS, kill_it).split(b"\n"))
    assert ended == Ended("lost", "the process of its block was killed by signal 9")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("exit 3", "ended with status 3"),
        ("echo nonsense", "said what is no line of a block: JSON is malformed"),
        ("kill -9 $$", "was killed by signal 9"),
    ],
)
def test_what_is_no_block_is_lost(tmp_path, monkeypatch, line, words):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    [ended] = read(carry_out(ask(), lambda _: None).split(b"\n"))
    assert ended.how == "lost"
    assert f"the process of its block {words}" in ended.message
