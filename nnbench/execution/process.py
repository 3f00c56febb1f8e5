"""The parent's side of a cell: start its worker, follow its events, and end it in time."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from nnbench.execution import interpreters, variables
from nnbench.records import Epoch, EpochFinished, Event, Failed, Finished, Ready, Setup, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnbench.records import CellSpec

OUTPUT_LINES, OUTPUT_BYTES = 20, 1 << 14  #: how much of what a worker prints is kept
EVENT_BYTES = 1 << 24  #: a longer line is no event
POLL_S = 0.1
CHUNK = 1 << 16
GRACE_S = 10.0  #: for a worker that has sent its last event, and for pipes that outlive it


@dataclass
class Outcome:
    """What is known of a cell so far; the worker's events fill it in."""

    status: Status | None = None
    message: str = ""
    setup: Setup | None = None
    epochs: list[Epoch] = field(default_factory=list)
    finished: Finished | None = None
    output: str = ""

    def apply(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case Ready(setup=setup):
                self.setup = setup
            case EpochFinished(epoch=epoch):
                self.epochs.append(epoch)
            case Finished():
                self.finished = event
                self.status = Status.OK
            case Failed(status=status, message=message):
                self.status, self.message = status, message
            case _:
                pass


class Worker:
    """A running worker process with its two pipes: events, and whatever it prints."""

    def __init__(self, spec: CellSpec) -> None:
        self.deadline = monotonic() + spec.timeout_s
        read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            interpreters.command(spec.python, "nnbench.worker", str(write_end)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables.for_threads(interpreters.variables(spec.python), spec.threads),
            pass_fds=[write_end],
            start_new_session=True,
        )
        os.close(write_end)
        self.events = read_end
        self.pending = b""
        self.printed = b""
        self._hand_over(spec)

    def _hand_over(self, spec: CellSpec) -> None:
        assert self.process.stdin  # noqa: S101 - it was asked for
        with suppress(BrokenPipeError):  # it died at once; its status will say so
            self.process.stdin.write(msgspec.json.encode(spec))
            self.process.stdin.close()

    def lines(self) -> Iterator[bytes]:
        """Yield event lines as they come, until both pipes end, the worker, or its time."""
        assert self.process.stdout  # noqa: S101 - it was asked for
        with selectors.DefaultSelector() as selector:
            for descriptor in (self.events, self.process.stdout.fileno()):
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map() and monotonic() < self.deadline:
                ended = self.process.poll() is not None
                ready = selector.select(0 if ended else POLL_S)
                for key, _ in ready:
                    yield from self._read(selector, key.fd)
                if ended and not ready:
                    return  # a grandchild may hold the pipes open
                if ended:
                    self.hurry()  # or even write to them

    def _read(self, selector: selectors.BaseSelector, descriptor: int) -> Iterator[bytes]:
        chunk = os.read(descriptor, CHUNK)
        if not chunk:
            selector.unregister(descriptor)
        elif descriptor == self.events:
            *complete, self.pending = (self.pending + chunk).split(b"\n")
            yield from complete
            if len(self.pending) > EVENT_BYTES:
                yield self.pending
                self.pending = b""
        else:
            self.printed = (self.printed + chunk)[-OUTPUT_BYTES:]

    def hurry(self) -> None:
        """Leave no more time than the grace."""
        self.deadline = min(self.deadline, monotonic() + GRACE_S)

    def end(self) -> int | None:
        """Wait for the end and return the exit status; None if time ran out."""
        try:
            return self.process.wait(max(0.0, self.deadline - monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill the whole process group, and collect the worker."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Close the pipes."""
        os.close(self.events)
        if self.process.stdout:
            self.process.stdout.close()

    @property
    def output(self) -> str:
        """The last lines that the worker printed."""
        lines = self.printed.decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-OUTPUT_LINES:])


def run_worker(spec: CellSpec, on_event: Callable[[Event], Any]) -> Outcome:
    """Run one cell in a process of its own and tell what became of it.

    The worker's whole process group is dead when this returns or raises.
    """
    outcome = Outcome()
    kills_before = out_of_memory_kills()
    worker = Worker(spec)
    try:
        follow(worker, outcome, on_event)
        exit_status = worker.end()
    finally:
        worker.kill()
        worker.close()
    outcome.output = worker.output
    if outcome.status is None:
        killed = out_of_memory_kills() > kills_before
        outcome.status, outcome.message = explain(exit_status, spec, out_of_memory=killed)
    return outcome


def follow(worker: Worker, outcome: Outcome, on_event: Callable[[Event], Any]) -> None:
    """Take a worker's events in, up to its last one; then it has only to end."""
    for line in worker.lines():
        if outcome.status is None:
            event = decode(line)
            outcome.apply(event)
            on_event(event)
        if outcome.status:
            worker.hurry()


def decode(line: bytes) -> Event:
    """Decode an event; a line that is none means that the backend wrote to our pipe."""
    try:
        event: Event = msgspec.json.decode(line, type=Event)
    except msgspec.MsgspecError:
        return Failed(Status.CRASHED, f"wrote to the pipe of events: {line[:60]!r}")
    return event


def explain(exit_status: int | None, spec: CellSpec, *, out_of_memory: bool) -> tuple[Status, str]:
    """Return the status and a message for a worker that ended without a last event."""
    if exit_status is None:
        return Status.TIMEOUT, f"still running after {spec.timeout_s:g} s, and was killed"
    if exit_status >= 0:
        return Status.CRASHED, f"exited with status {exit_status} before it was done"
    if exit_status == -signal.SIGKILL and out_of_memory:
        return Status.OOM, "killed by the kernel, which was out of memory"
    return Status.CRASHED, f"killed by {name_signal(-exit_status)}"


def name_signal(number: int) -> str:
    """Return the name of a signal; real-time signals have none."""
    names = {item.value: item.name for item in signal.Signals}
    return names.get(number, f"signal {number}")


def out_of_memory_kills() -> int:
    """Return how many processes the kernel has killed for memory; 0 where it does not say."""
    path = Path("/proc/vmstat")
    if not path.exists():
        return 0
    counters = (line.split() for line in path.read_text().splitlines())
    return next((int(value) for key, value in counters if key == "oom_kill"), 0)
