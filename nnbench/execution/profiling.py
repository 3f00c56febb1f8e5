"""Why a backend is slow: one cell under a profiler, which writes what speedscope, Perfetto and others open.

The worker is that of any cell: in a process of its own, with the same variables, pinned likewise. But this is no cell of
a run: nothing is proved or evaluated, it is never stopped, and its times are those of a training that is watched.

Sources: the manuals of py-spy and perf; speedscope's wiki, for what it reads.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from nnbench import files, kernel, selection
from nnbench.contract.errors import ExitCode, NnbenchError, ResultsError, install_hint
from nnbench.execution import process
from nnbench.execution.assignment import Assignment
from nnbench.execution.cpus import Chooser
from nnbench.execution.executor import LocalExecutor, limit_to_plugin
from nnbench.execution.supervisor import KNOWN
from nnbench.records.cells import CellSpec, Status
from nnbench.records.events import Ready
from nnbench.records.runs import unavailable_on_all
from nnbench.records.worker import Close, Closed, Train, Trained
from nnbench.texts import encode
from nnbench.worker import profiled
from nnbench.worker.profiled import CALLGRIND, PROF, TOP, TRACE, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from nnbench.contract.backend import Backend
    from nnbench.data.workloads import Workload
    from nnbench.selection import Selection

SPEEDSCOPE, PERF_DATA, PERF_TEXT = "profile.speedscope.json", "perf.data", "profile.linux-perf.txt"
SITE = "https://www.speedscope.app"
TRACE_STEPS = 200  #: of each a trace has some hundred events, and a browser is to read it
PART_S = 0.5  #: of training that is asked for at once
REST_S = 300.0  #: for all that is not training
START_S = 30.0  #: for a profiler to begin, and to write what it has found
PER_SECOND = 999  #: looks of perf; no round number, so that nothing goes in step with them
FRAME = re.compile(r"\s+[0-9a-f]+ (?P<name>.+?)(\+0x[0-9a-f]+)? \((?P<file>.*)\)")
PARANOID, YAMA = "proc/sys/kernel/perf_event_paranoid", "proc/sys/kernel/yama/ptrace_scope"


class Profile(NamedTuple):
    """What was found."""

    images: int  #: that were trained on
    train_s: float  #: which that took under the profiler
    lines: list[Line]  #: what took longest first


class Profiler:
    """A profiler, and how it is put to work."""

    name: ClassVar[str]
    inside: ClassVar[str] = "outside"  #: what it is in the worker's process
    files: ClassVar[Mapping[str, str]]  #: that it writes, and what opens them
    most_steps: ClassVar[int] = sys.maxsize

    def require(self, backend: Backend, /) -> None:
        """Refuse what it cannot do.

        Raises
        ------
        NnbenchError
            If it is not installed, may not look, or would see nothing of such a backend.
        """

    def watching(self, pid: int, folder: Path) -> AbstractContextManager[None]:
        """Look at a process from outside until the context is left; who is inside need not."""
        del pid, folder
        return nullcontext()

    def lines(self, folder: Path) -> list[Line]:
        """Return how long each function took itself."""
        return msgspec.json.decode(files.read_regular(folder / TOP), type=list[Line])


class CProfile(Profiler):
    """Python's own, which counts each call."""

    name = inside = "cprofile"
    files = {CALLGRIND: f"{SITE}, KCachegrind", PROF: "snakeviz, python -m pstats"}  # noqa: RUF012 - ClassVar above


class Torch(Profiler):
    """PyTorch's own, which records operators and kernels in time."""

    name = inside = "torch"
    files = {TRACE: f"https://ui.perfetto.dev, {SITE}"}  # noqa: RUF012 - likewise
    most_steps = TRACE_STEPS

    def require(self, backend: Backend, /) -> None:
        """Take backends on PyTorch."""
        if "torch" not in backend.libraries:
            text = f"{backend.name} does not use PyTorch, whose profiler sees nothing else"
            raise NnbenchError(f"{text}: choose another one with --with")
        if find_spec("torch") is None:
            raise NnbenchError(f"PyTorch is not installed: {install_hint('torch')}")


class PySpy(Profiler):
    """py-spy, which looks at the stacks of all threads a hundred times a second, native code included."""

    name = "py-spy"
    files = {SPEEDSCOPE: SITE}  # noqa: RUF012 - likewise

    def require(self, _: Backend, /) -> None:
        """Take any backend."""
        self._program()

    def watching(self, pid: int, folder: Path) -> AbstractContextManager[None]:
        """Record until the context is left."""
        command = [self._program(), "record", "--pid", f"{pid}", "--subprocesses"]
        command += ["--format", "speedscope", "--output", str(folder / SPEEDSCOPE)]
        command += ["--native"] if KNOWN else []
        return _attached(command, b"Sampling process", may_not_look)

    def lines(self, folder: Path) -> list[Line]:
        """Return what was on top of the stacks."""
        found: Counter[str] = Counter()
        content = json.loads(files.read_regular(folder / SPEEDSCOPE))
        frames = [_spell(**frame) for frame in content["shared"]["frames"]]
        for each in content["profiles"]:
            for stack, seconds in zip(each["samples"], each["weights"], strict=True):
                found[frames[stack[-1]] if stack else "?"] += seconds
        return [Line(name, seconds) for name, seconds in found.items()]

    def _program(self) -> str:
        return find_program(self.name, install_hint("profile"))


class Perf(Profiler):
    """Linux's own, which looks at the native stacks of all threads a thousand times a second."""

    name = "perf"
    files = {PERF_TEXT: SITE, PERF_DATA: f"perf report --input {PERF_DATA}"}  # noqa: RUF012 - likewise

    def require(self, _: Backend, /) -> None:
        """Take any backend, where perf may record."""
        command = [self._program(), "record", "--output", os.devnull, "--", "true"]
        tried = subprocess.run(command, capture_output=True, check=False)
        if tried.returncode:
            raise NnbenchError(may_not_record(tried.stderr))

    @contextmanager
    def watching(self, pid: int, folder: Path) -> Iterator[None]:
        """Record until the context is left."""
        told, tell = os.pipe()
        try:
            os.write(tell, b"enable\n")
            command = [self._program(), "record", "--call-graph", "fp", "--freq", f"{PER_SECOND}"]
            command += ["--pid", f"{pid}", "--output", str(folder / PERF_DATA)]
            # It waits for a word that is there already, and then says that it has begun.
            command += ["--delay", "-1", "--control", f"fd:{told}"]
            with _attached(command, b"Events enabled", may_not_record, pass_fds=[told]):
                yield
        finally:
            os.close(told)
            os.close(tell)
        command = [self._program(), "script", "--input", str(folder / PERF_DATA)]
        with (folder / PERF_TEXT).open("wb") as text:
            subprocess.run(command, stdout=text, stderr=subprocess.DEVNULL, check=False)

    def lines(self, folder: Path) -> list[Line]:
        """Return what was on top of the stacks."""
        found: Counter[str] = Counter()
        is_top = False
        with (folder / PERF_TEXT).open(errors="replace") as text:
            for line in text:
                if is_top and (frame := FRAME.match(line)):
                    found[_spell(frame["name"], frame["file"])] += 1
                is_top = bool(line.strip()) and not line[0].isspace()
        return [Line(name, looks / PER_SECOND) for name, looks in found.items()]

    def _program(self) -> str:
        return find_program(self.name, "on Debian, apt install linux-perf")


PROFILERS: dict[str, type[Profiler]] = {each.name: each for each in (CProfile, Torch, PySpy, Perf)}


def choose(backend: Backend) -> Profiler:
    """Return the profiler that shows most of a backend, of those that are there."""
    if "torch" in backend.libraries:
        return Torch()
    return PySpy() if KNOWN and where_is(PySpy.name) else CProfile()  # elsewhere it needs root


def run(
    chosen: Selection,
    workload: Workload,
    profiler: Profiler,
    folder: Path,
    *,
    threads: int,
    seconds: float,
) -> Profile:
    """Train a backend under a profiler, for so many seconds, and write what it finds into a folder.

    Raises
    ------
    NnbenchError
        If the backend, or the profiler, cannot do that here, or one of them fails.
    """
    entry, backend = chosen.entry, chosen.backend
    profiler.require(backend)
    require_new(folder)
    executor = LocalExecutor()
    machines = executor.machines([entry], threads)
    selection.refuse_unavailable([entry.label], unavailable_on_all(machines))
    task = Assignment(workload, 0, executor.load(workload))
    with files.named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with Chooser().hold(chosen.threads or threads) as held:
            spec = CellSpec(
                label=entry.label,
                backend=entry.backend,
                options=entry.options,
                workload=workload,
                round=0,
                seed=None,
                threads=chosen.threads or threads,
                cpus=held.cpus(chosen.threads or threads),
                budget_s=seconds,
                timeout_s=seconds + REST_S,
                plugin=limit_to_plugin(entry),
            )
            images, train_s = _train(spec, backend, task, profiler, folder.absolute())
    except process.EndedError as error:
        raise _failure(entry.label, error.failed.status, error.failed.message) from error
    finally:
        with suppress(OSError):  # it holds something, as it should
            folder.rmdir()
    lines = sorted(_lines(profiler, folder), key=lambda line: -line.seconds)
    if not lines:
        raise NnbenchError(f"{profiler.name} has seen nothing: watch more with --seconds")
    with files.named(folder):
        files.write_whole(folder / TOP, msgspec.json.format(encode(lines)))
    return Profile(images, train_s, lines)


def require_new(folder: Path) -> None:
    """Refuse a folder that holds a profile, or cannot be written to."""
    with files.named(folder):
        if (folder / TOP).exists():
            raise ResultsError(f"{folder} already holds a profile; give another --output")
    files.check_folder(folder)


def _train(
    spec: CellSpec, backend: Backend, task: Assignment, profiler: Profiler, folder: Path
) -> tuple[int, float]:
    """Train, watched, until the budget is spent; return the images, and the seconds of training."""
    launch = process.command(None, profiled.__name__, profiler.inside, str(folder))
    size = task.batch_size
    orders = chain.from_iterable(task.orders() for _ in count())
    rest = np.empty(0, np.int64)
    position, steps, spent_s = 0, 0, 0.0
    with process.Worker(spec, backend, task.descriptors, task.largest, launch) as worker:
        worker.send(task.job(spec))
        pace_s = worker.receive(Ready).setup.pace_s
        with profiler.watching(_pid(worker), folder):
            while spent_s < spec.budget_s and steps < profiler.most_steps:
                images = task.draw(position, profiler.most_steps - steps, PART_S, pace_s)
                while len(rest) < images:
                    rest = np.concatenate([rest, next(orders)])
                order, rest = np.split(rest, [images])
                layers = None if position else task.layers
                worker.send(Train(order.tobytes(), layers), "training")
                train_s = worker.receive(Trained).train_s
                made = -(-images // size)
                pace_s = train_s / made
                position, steps, spent_s = position + images, steps + made, spent_s + train_s
        worker.send(Close(), "its end, and the profile")
        worker.receive(Closed)
        worker.finish()
    return position, spent_s


def _pid(worker: process.Worker) -> int:
    """Return the process that computes, which is its supervisor's only child."""
    import psutil

    pid = worker.process.pid
    return next((each.pid for each in psutil.Process(pid).children()), pid) if KNOWN else pid


def _lines(profiler: Profiler, folder: Path) -> list[Line]:
    try:
        return profiler.lines(folder)
    except (OSError, ValueError, LookupError, TypeError, msgspec.MsgspecError) as error:
        text = f"{profiler.name} has left nothing that can be read in {folder}: {error}"
        raise ResultsError(text) from error


def _failure(label: str, status: Status, message: str) -> NnbenchError:
    if status is Status.SKIPPED:
        return NnbenchError(f"{label}: {message}")
    problem = NnbenchError(f"{label}: {status}: {message}")
    problem.exit_code = ExitCode.BACKEND_FAILED
    return problem


@contextmanager
def _attached(
    command: list[str], begun: bytes, explain: Callable[[bytes], str], **more: Any
) -> Iterator[None]:
    """Run a profiler that says when it has begun, and writes what it has found when it is interrupted."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **more,
    ) as child:
        try:
            assert child.stdout  # noqa: S101 - it was asked for
            said, deadline = b"", monotonic() + START_S
            while begun not in said:
                left = max(0.0, deadline - monotonic())
                is_ready, _, _ = select.select([child.stdout], [], [], left)
                chunk = os.read(child.stdout.fileno(), 1 << 16) if is_ready else b""
                if not chunk:
                    raise NnbenchError(explain(said))
                said += chunk
            yield
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=START_S)
        except subprocess.TimeoutExpired as error:
            raise NnbenchError(f"{command[0]} has not ended after {START_S:g} s") from error
        finally:
            child.kill()


def where_is(name: str) -> str | None:
    """Return a program that lies beside this interpreter, or on the path."""
    here = str(Path(sys.executable).parent)
    return shutil.which(name, path=here) or shutil.which(name)


def find_program(name: str, hint: str) -> str:
    """Return a program.

    Raises
    ------
    NnbenchError
        If it is not installed; the hint is how to.
    """
    if found := where_is(name):
        return found
    raise NnbenchError(f"{name} is not installed: {hint}")


def may_not_look(said: bytes, root: Path = kernel.ROOT) -> str:
    """Say why py-spy has not begun."""
    if not re.search(rb"permission|not permitted", said, re.IGNORECASE):
        return _last("py-spy", said)
    scope = kernel.read(root / YAMA)
    how = "as root it may, and in a container with --cap-add SYS_PTRACE"
    if scope in {"2", "3"}:
        how = "sudo sysctl kernel.yama.ptrace_scope=1"
    return f"py-spy may not look at other processes here: {how}"


def may_not_record(said: bytes, root: Path = kernel.ROOT) -> str:
    """Say why perf has not begun."""
    level = kernel.read(root / PARANOID)
    if level.isdigit() and int(level) > 2 and os.geteuid():
        text = f"perf may not record here, as kernel.perf_event_paranoid is {level}"
        return f"{text}: sudo sysctl kernel.perf_event_paranoid=2"
    if re.search(rb"permission|not permitted", said, re.IGNORECASE):
        return "perf may not record here: in a container it may with --cap-add PERFMON"
    return _last("perf", said)


def _last(name: str, said: bytes) -> str:
    lines = said.decode(errors="replace").split("\n")
    return f"{name} has not begun: {next((s for s in map(str.strip, reversed(lines)) if s), 'it said nothing')}"


def _spell(name: str, file: str = "", line: int = 0, **_: object) -> str:
    """Write a function with its file, as far as that is known."""
    if line:
        return profiled.spell((file, line, name))
    return f"{name} ({Path(file).name})" if file else name
