"""The parent's side of a cell: start its worker, follow its events, and end it in time.

A worker inherits the environment, but for what would slow some libraries down and not others.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, assert_never

import msgspec
from msgspec.structs import asdict

from nnbench.records import EpochFinished, Event, Failed, Finished, Progress, Ready, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nnbench.records import CellSpec

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
#: Each chooses the instructions, or the kernels, of one library: it would slow some backends down,
#: and not others.
CAPS = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "BLIS_ARCH_TYPE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "NPY_DISABLE_CPU_FEATURES",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
)
INHERIT = "NNBENCH_INHERIT"  #: names of caps to measure with all the same, with commas
LEAKS = {"PYTHONPATH", "PYTHONHOME"}  # they would put this interpreter's packages into another
OUTPUT_LINES, OUTPUT_BYTES = 20, 1 << 14  #: how much of what a worker prints is kept
EVENT_BYTES = 1 << 24  #: a longer line is no event
POLL_S = 0.1
CHUNK = 1 << 16
GRACE_S = 10.0  #: for a worker that has sent its last event, and for pipes that outlive it


class Worker:
    """A running worker process with its two pipes: events, and whatever it prints."""

    def __init__(self, spec: CellSpec) -> None:
        self.deadline = monotonic() + spec.timeout_s
        read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            command(spec.python, "nnbench.worker", str(write_end)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=for_threads(inherited(spec.python), spec.threads),
            pass_fds=[write_end],
            start_new_session=True,
        )
        os.close(write_end)
        self.events = read_end
        self.pending = b""
        self.printed = b""
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
        """Kill the whole process group, collect the worker, and close the pipes."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.events)
        if self.process.stdout:
            self.process.stdout.close()


@contextmanager
def run_worker(spec: CellSpec) -> Iterator[tuple[Iterator[Event], dict[str, Any]]]:
    """Run one cell in a process of its own: give its events, and what its result has of them.

    The values of the result are whole once the context is left; the worker's whole process group
    is dead by then, whatever has happened.
    """
    values: dict[str, Any] = {"epochs": []}  # a status comes with the last event
    kills_before = out_of_memory_kills()
    worker = Worker(spec)
    try:
        yield follow(worker, values), values
        exit_status = worker.end()
    finally:
        worker.kill()
    if "status" not in values:
        killed = out_of_memory_kills() > kills_before
        take_in(explain(exit_status, spec, out_of_memory=killed), values)
    lines = worker.printed.decode(errors="replace").strip().splitlines()
    values["output"] = "\n".join(lines[-OUTPUT_LINES:])


def follow(worker: Worker, values: dict[str, Any]) -> Iterator[Event]:
    """Yield a worker's events, up to its last one; then it has only to end."""
    for line in worker.lines():
        if "status" not in values:
            try:
                event: Event = msgspec.json.decode(line, type=Event)
            except msgspec.MsgspecError:  # the backend has written to our pipe
                text = f"wrote to the pipe of events: {line[:60]!r}"
                event = Failed(Status.CRASHED, text)
            take_in(event, values)
            yield event
        if "status" in values:
            worker.hurry()


def take_in(event: Event, values: dict[str, Any]) -> None:
    """Add what an event says to the values of a :class:`CellResult`, which has the same names."""
    match event:
        case Ready() | Failed():
            values |= asdict(event)
        case Finished():
            values |= {"status": Status.OK, **asdict(event)}
        case EpochFinished(epoch=epoch):
            values["epochs"].append(epoch)
        case Progress():
            pass
        case unknown:
            assert_never(unknown)


def explain(exit_status: int | None, spec: CellSpec, *, out_of_memory: bool) -> Failed:
    """Return the last event of a worker that ended without one."""
    if exit_status is None:
        text = f"still running after {spec.timeout_s:g} s, and was killed"
        return Failed(Status.TIMEOUT, text)
    if exit_status >= 0:
        return Failed(Status.CRASHED, f"exited with status {exit_status} before it was done")
    if exit_status == -signal.SIGKILL and out_of_memory:
        return Failed(Status.OOM, "killed by the kernel, which was out of memory")
    return Failed(Status.CRASHED, f"killed by {name_signal(-exit_status)}")


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


def command(python: str | None, module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module, with this interpreter if ``python`` is None.

    With -P the working directory is not searched: there may be another version of a plugin in
    it, or a file with the name of a standard module.
    """
    return [python or sys.executable, "-P", "-m", module, *arguments]


def inherited(python: str | None) -> dict[str, str]:
    """Return the environment variables for that command."""
    return {key: value for key, value in os.environ.items() if not (python and key in LEAKS)}


def for_threads(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return an environment for a process with so many threads, without caps."""
    dropped = caps(environment)
    kept = {name: value for name, value in environment.items() if name not in dropped}
    return kept | dict.fromkeys(THREAD_VARIABLES, str(threads))


def caps(environment: Mapping[str, str]) -> list[str]:
    """Return the caps that are set and that workers shall not inherit."""
    wanted = {name.strip() for name in environment.get(INHERIT, "").split(",")}
    return [name for name in CAPS if name in environment and name not in wanted]
