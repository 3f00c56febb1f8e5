"""The parent's side of a worker: start it, talk to it, and end it in time.

What of the environment it inherits is said in ``nnbench.execution.variables``.
"""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from nnbench import files, pipes
from nnbench.catalog.flaws import LIMIT
from nnbench.contract.errors import ExitCode, NnbenchError, ResultsError
from nnbench.execution import gpu, pauses, variables
from nnbench.execution.supervisor import KNOWN, grants_privacy, supervised
from nnbench.execution.tree import Tree, Watch
from nnbench.records.cells import Kind, Status
from nnbench.records.events import Failed, Ready
from nnbench.records.worker import Answer, Reached

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Self

    from nnbench.contract.backend import Backend
    from nnbench.records.cells import CellSpec
    from nnbench.records.worker import Command

A = TypeVar("A")  # an answer
OUTPUT_LINES, OUTPUT_BYTES = 20, 1 << 14  #: how much of what a worker prints is kept
WORD = re.compile(r"\w+")
OTHER_CACHE = "name another folder in XDG_CACHE_HOME"
POLL_S = 0.1
CHUNK = 1 << 20
#: Signals by which somebody may be ending all processes. Then nnbench gets one, too, and that comes first.
ENDING = {signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP}
TOLD_S = 0.2
GRACE_S = 10.0  #: for a worker that has sent its last answer, and for pipes that outlive it


class EndedError(Exception):
    """A worker cannot go on; ``failed`` says why."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class Worker:
    """A running worker process: commands go in, answers and whatever it prints come out.

    It has so much time as its cell allows; while it is stopped, its time stands still, whoever runs meanwhile.

    Parameters
    ----------
    spec
        The cell.
    backend
        What the catalog says of its backend.
    descriptors
        Of the memory that its dataset lies in.
    largest
        Bytes of the longest answer that is an answer.
    launch
        What starts it, if it is watched: the temporary folders of all are its own then, for others to read.
    """

    def __init__(
        self,
        spec: CellSpec,
        backend: Backend,
        descriptors: Collection[int],
        largest: int,
        launch: Sequence[str] = (),
    ) -> None:
        self.spec, self.largest = spec, largest
        self._started = monotonic()
        self.deadline = self._started + spec.timeout_s
        self.stopped: float | None = None  #: since when nothing of it runs
        self.doing = "its start"  #: what it was last asked for, or has said that it begins with
        self._stopped_s = 0.0  # before that
        self._looked = self._started  # when it was last waited for
        self._is_closed = False
        self.printed = b""
        self._pending = bytearray()
        self._kills_before = out_of_memory_kills()
        self.on_gpu = gpu.Use(backend.device)
        self.on_gpu.begin()
        command_read, self._commands = _pipe()
        self._answers, answer_write = _pipe()
        self.is_private = not launch and grants_privacy()
        pipes_of_worker = str(command_read), str(answer_write)
        handed = variables.handed_on(os.environ, backend.environment, spec.python)
        self.variables = variables.noted(handed, backend.environment)  #: for the results
        self._dropped = variables.dropped(os.environ, backend.environment)
        self.process = subprocess.Popen(
            supervised(
                [*(launch or command(spec.python, "nnbench.worker")), *pipes_of_worker],
                private=self.is_private,
                hidden=[folder for folder in (calibrations(),) if made(folder)],
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=keeping_compiled()
            | variables.for_threads(handed, spec.threads)
            | limited(spec.plugin),
            pass_fds=[command_read, answer_write, *descriptors],
            start_new_session=True,
        )
        os.close(command_read)
        os.close(answer_write)
        self.tree = Tree(self.process.pid)
        self.watch = Watch(self.tree, spec.cpus, backend.device)
        assert self.process.stdout  # noqa: S101 - it was asked for
        self._output = self.process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        for descriptor in (self._answers, self._output):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)
        os.set_blocking(self._commands, False)

    def __enter__(self) -> Self:
        """Use it until the context is left."""
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever is left of it."""
        self.close()

    def close(self) -> None:
        """Kill all of its processes, collect it, and close the pipes; a second time it does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        pauses.end_call()
        self.tree.kill()
        self.process.wait()
        if self.stopped is None:
            self.stopped = monotonic()
        self._selector.close()
        os.close(self._commands)
        os.close(self._answers)
        if self.process.stdout:
            self.process.stdout.close()
        self._undo()

    def _undo(self) -> None:
        """Note and take back what the worker has changed of this process, before another one runs.

        Raises
        ------
        NnbenchError
            If this user may not: all that would be measured later would be measured in another way.
        """
        meddling, standing = self.tree.meddling(), self.tree.standing
        self.watch.note(meddling)
        if meddling and standing and not standing.restore():
            text = f"since {self.spec.label} ran, nnbench is scheduled in another way, which it may not undo"
            problem = NnbenchError(f"{text}: start it anew")
            problem.exit_code = ExitCode.INTERNAL
            raise problem

    def stop(self) -> None:
        """Let nothing of it run until it goes on."""
        if self.stopped is None:
            self.tree.stop()
            self.stopped = monotonic()
            self.on_gpu.end()
            self._undo()
            pauses.end_call()

    def go_on(self) -> None:
        """Let it run; the time for which it was stopped is given back to it."""
        if self.stopped is not None:
            self._give_back(monotonic() - self.stopped)
            self.stopped = None
            self._looked = monotonic()
            self.on_gpu.begin()
            self.tree.go_on()

    def _give_back(self, seconds: float) -> None:
        """Let time that has passed be none of the worker's."""
        self.deadline += seconds
        self._stopped_s += seconds

    @property
    def ran_s(self) -> float:
        """For how many seconds it has run: neither while it was stopped, nor since it was closed."""
        until = monotonic() if self.stopped is None else self.stopped
        return until - self._started - self._stopped_s

    @property
    def left_s(self) -> float:
        """How many seconds it may still run."""
        return self.spec.timeout_s - self.ran_s

    def send(self, message: Command, doing: str | None = None) -> None:
        """Send a command.

        Parameters
        ----------
        message
            The command.
        doing
            What it will do then, if its time is over before it has answered.

        Raises
        ------
        EndedError
            If the worker ends, or its time does, before it has read that.
        """
        self.doing = doing or self.doing
        rest = memoryview(pipes.frame(message))
        self._selector.register(self._commands, selectors.EVENT_WRITE)
        try:
            while rest:
                if self._commands in self._wait():
                    rest = rest[os.write(self._commands, rest) :]
        except BrokenPipeError:
            pass  # it has closed its end: what it answers, or that it ends, says why
        finally:
            self._selector.unregister(self._commands)

    def receive(self, kind: type[A]) -> A:
        """Wait for an answer of some kind; any other one is an error.

        Raises
        ------
        EndedError
            If it is :class:`Failed`, or no such answer; if the worker ends, or its time does.
        """
        while isinstance(answer := self._answer(), Reached):
            self.doing = answer.stage
        if isinstance(answer, Failed):
            failed = failure(answer, started=kind is not Ready)
            raise EndedError(replace(failed, message=self._with_hint(failed.message)))
        if not isinstance(answer, kind):
            raise self._not_an_answer(f"a {type(answer).__name__}, where {kind.__name__} was due")
        return answer

    def _answer(self) -> Answer:
        while (content := self._frame()) is None:
            self._wait()
            self.watch.poll()
        try:
            answer: Answer = pipes.decode(content, Answer)
        except pipes.PipeError as error:
            raise self._not_an_answer(str(error)) from error
        return answer

    def finish(self) -> None:
        """Wait until it has ended, or its grace is over; it has sent its last answer."""
        self._hurry()
        with suppress(EndedError):
            while True:
                self._wait()
                self._pending.clear()

    @property
    def output(self) -> str:
        """The last lines that it printed."""
        lines = self.printed.decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-OUTPUT_LINES:])

    def _with_hint(self, message: str) -> str:
        """Say so if a message speaks of a variable that the user has set, and that the worker has not got."""
        words = set(WORD.findall(message))
        missed = next((name for name in self._dropped if "_" in name and name in words), None)
        return f"{message} ({variables.why_missing(missed)})" if missed else message

    def _not_an_answer(self, what: str) -> EndedError:
        return EndedError(Failed(Status.CRASHED, f"wrote to the pipe of answers: {what}"))

    def _frame(self) -> bytes | None:
        """Take a whole frame out of what has come, if there is one."""
        head = bytes(self._pending[: pipes.LENGTH.size])
        if len(head) < pipes.LENGTH.size:
            return None
        end = len(head) + int.from_bytes(head, "little")
        if end > self.largest:
            raise self._not_an_answer(repr(bytes(self._pending[:60]).splitlines(keepends=True)[0]))
        if len(self._pending) < end:
            return None
        content = bytes(self._pending[len(head) : end])
        del self._pending[:end]
        return content

    def _wait(self) -> set[int]:
        """Read what has come, or wait until something can be read or written.

        Raises
        ------
        EndedError
            If the worker has ended, and all that it left was read, or if its time is over.
        """
        before, self._looked = self._looked, monotonic()
        self._give_back(pauses.away_s(before, self._looked))
        if self._looked >= self.deadline:
            raise EndedError(self._explain(None))
        exit_status = self.process.poll()
        left = self.watch.due_s(max(0.0, min(POLL_S, self.deadline - monotonic())))
        ready = {key.fd for key, _ in self._selector.select(0 if exit_status is not None else left)}
        for descriptor in ready - {self._commands}:
            self._read(descriptor)
        if exit_status is not None:
            if not ready - {self._commands}:  # a grandchild may hold the pipes open
                raise EndedError(self._explain(exit_status))
            self._hurry()  # or even write to them
        return ready

    def _read(self, descriptor: int) -> None:
        chunk = os.read(descriptor, CHUNK)
        if not chunk:
            self._selector.unregister(descriptor)
        elif descriptor == self._answers:
            self._pending += chunk
            if len(self._pending) > self.largest + CHUNK:  # nobody asks for a second answer
                raise self._not_an_answer("more than it was asked for")
        else:
            self.printed = (self.printed + chunk)[-OUTPUT_BYTES:]

    def _hurry(self) -> None:
        """Leave no more time than the grace."""
        self.deadline = min(self.deadline, monotonic() + GRACE_S)

    def _explain(self, exit_status: int | None) -> Failed:
        if exit_status is not None and -exit_status in ENDING:
            sleep(TOLD_S)
        killed = out_of_memory_kills() > self._kills_before
        return explain(exit_status, self.spec, self.doing, out_of_memory=killed)


def _pipe() -> tuple[int, int]:
    """Make a pipe that takes what is usual in one piece, where the system has such."""
    ends = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # beyond the user's share
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, CHUNK)
    return ends


_running: set[subprocess.Popen[Any]] = set()  # of ``run``, in all threads


def run(
    command: Sequence[str], timeout_s: float | None = None, **more: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a command under a supervisor to its end; whatever ends this ends all that has come of it.

    Raises
    ------
    OSError
        If it cannot be started, where there are no supervisors; they end with CANNOT_START.
    subprocess.TimeoutExpired
        If it takes longer.
    """
    with subprocess.Popen(supervised(command), start_new_session=True, **more) as child:
        _running.add(child)
        try:
            output, errors = child.communicate(timeout=timeout_s)
        finally:
            if child.poll() is None or not KNOWN:  # a supervisor leaves nothing behind
                Tree(child.pid).kill()
            _running.discard(child)
    return subprocess.CompletedProcess(command, child.returncode, output, errors)


def end_running() -> None:
    """Have what other threads run end soon."""
    for child in tuple(_running):
        child.terminate()


def failure(failed: Failed, *, started: bool) -> Failed:
    """Return what a worker says of its end as what it is: one that has started is available, and none ends well."""
    is_possible = failed.status.kind is Kind.FAILED or (
        failed.status is Status.SKIPPED and not started
    )
    return failed if is_possible else Failed(Status.CRASHED, failed.message)


def explain(exit_status: int | None, spec: CellSpec, doing: str, *, out_of_memory: bool) -> Failed:
    """Return the last event of a worker that ended without one, while it was doing something."""
    if exit_status is None:
        text = f"still running after {spec.timeout_s:g} s, and was killed in {doing}"
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


def keeping_compiled() -> dict[str, str]:
    """Return variables that keep what a library compiles, where a temporary folder ends with its worker.

    Without a cache they name such a folder: the library itself would ask for the user's name, which need not be known.
    """
    folder = cache() / "inductor"
    if not (made(folder) and os.access(folder, os.W_OK)):
        folder = Path(tempfile.gettempdir(), f"nnbench-inductor-{os.getuid()}")
    return {variables.COMPILED: str(folder)}


def cache() -> Path:
    """Return nnbench's folder in the user's cache, in which nothing need be kept."""
    import platformdirs

    return files.of_user(platformdirs.user_cache_path)


def not_kept() -> list[str]:
    """Say what each run makes anew, where the user's cache cannot be written to."""
    try:
        files.check_folder(cache(), OTHER_CACHE)
    except ResultsError as error:
        return [f"tolerances and compiled code are not kept for the next run: {error}"]
    return []


def calibrations() -> Path:
    """Return the folder of what judges have measured, which no worker is to see."""
    return cache() / "calibrations"


def made(folder: Path) -> bool:
    """Make a folder, and tell whether it is there."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.path.isdir(folder)  # noqa: PTH112 - which is false for what may not be looked at


def limited(plugin: str | None) -> dict[str, str]:
    """Return the variable that keeps a process from loading other plugins than one."""
    return {LIMIT: plugin} if plugin else {}
