"""Try cases, several at a time, and find those that end as none should.

Most are tried in a process that has tried others before, which takes milliseconds. Now and then one is tried in a process
of its own besides: both must come to the same. Whatever takes too long, or too much memory, is killed.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec
import psutil

from nnbench.execution import process, variables
from nnbench.texts import one_line
from tests.fuzz import kinds
from tests.fuzz.case import FOLDER, Outcome, disagreement, problem
from tests.fuzz.worker import READY, STACK, STREAMS, Ended, read
from tests.plugins import helpers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from tests.fuzz.case import Case

ROOT = Path(__file__).parents[2]
WORKER = ("-m", "tests.fuzz.worker")
SHARED_MEMORY = Path("/dev/shm")  #: where files cost no disk, if there is such
POLL_S = 0.02
START_S = 120.0  #: for the imports of a process that tries cases
LAST_LINES, MOST_SIGNS = 15, 500  #: of what a case printed, that are shown
#: How variables begin that are the user's, or of the machine that tests run on.
PERSONAL = ("XDG_", "GITHUB_", "NNBENCH_")


@dataclass(frozen=True)
class Limits:
    """What a case may take."""

    seconds: float = 20.0
    bytes: int = 1 << 30  #: beyond what its process had before


@dataclass(frozen=True)
class Failure:
    """A case that ended as none should."""

    name: str
    problem: str
    outcome: Outcome
    stack: str  #: where it was stuck

    def spell(self, case: Case) -> str:
        """Say what it was, and how to try it again."""
        told = [*self.outcome.errors.splitlines()[-LAST_LINES:], *self.stack.splitlines()]
        lines = [
            case.about,
            f"nnbench {' '.join(map(repr, case.words))}",
            *(f"| {line}" for line in told),
            f"again: {sys.executable} -m tests.fuzz {self.name}",
        ]
        shown = "".join(f"  {one_line(line)[:MOST_SIGNS]}\n" for line in lines)
        return f"{self.name}: {self.problem}\n{shown}"


@dataclass
class Report:
    """What came of many cases."""

    failures: list[Failure] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)  #: how many of each
    twice: int = 0  #: of these in a process of their own, too
    seconds: float = 0.0

    def __str__(self) -> str:
        """Sum it up in a line."""
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.kinds.items()))
        text = f"{self.kinds.total():,} cases in {self.seconds:.0f} s ({kinds}), {self.twice:,} of them"
        return f"{text} in a process of their own, too: {len(self.failures)} failures"


class Attempt(NamedTuple):
    """What came of a case."""

    problem: str | None
    outcome: Outcome
    is_twice: bool = False


class Bench:
    """A place where cases are tried one after the other, in one process until that ends."""

    def __init__(self, limits: Limits, worker: Sequence[str] = WORKER) -> None:
        self.limits, self.worker = limits, worker
        self.scratch = Path()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def attempt(self, name: str, *, twice: bool) -> Attempt:
        """Try a case, if that can be in a process of its own, too."""
        self.start()
        here, ended = self.here(name)
        found = here.ended or ended.problem
        if found or not (ended.comparable and (twice or ended.code is None)):
            return Attempt(found, here)
        there, found = self.there(name)
        if not found and ended.code is not None:
            found = disagreement(here, there)
        return Attempt(found, there, is_twice=ended.code is not None)

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self.process and self.process.poll() is None:
            return
        self.end()
        place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        self.scratch = Path(tempfile.mkdtemp(prefix="nnbench-fuzz-", dir=place))
        for name in (*STREAMS, STACK):
            (self.scratch / name).touch()
        command = [sys.executable, *self.worker, str(self.scratch)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        ended = self.watch(self.process, self.has_answered, Limits(START_S, 1 << 40))
        if ended or self.answers.readline() != READY:
            raise RuntimeError(f"a process for cases could not start{ended and ': '}{ended}")

    def environment(self) -> dict[str, str]:
        """Return variables with which nothing of the user's is read or written."""
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        found = helpers.environment(HOME=str(home), TMPDIR=str(self.scratch))
        kept = {name: value for name, value in found.items() if not name.startswith(PERSONAL)}
        return variables.for_threads(kept, 1)

    @property
    def answers(self) -> BinaryIO:
        """Where the process answers."""
        assert self.process
        assert self.process.stdout
        return self.process.stdout  # type: ignore[return-value]  # it was opened so

    def has_answered(self) -> bool:
        """Wait a moment, and tell whether the process has answered."""
        return bool(select.select([self.answers], [], [], POLL_S)[0])

    def here(self, name: str) -> tuple[Outcome, Ended]:
        """Try a case in the process that has others, too."""
        assert self.process
        assert self.process.stdin
        with suppress(BrokenPipeError):  # of a process that has ended meanwhile, as is seen below
            self.process.stdin.write(f"{name}\n".encode())
            self.process.stdin.flush()
        killed = self.watch(self.process, self.has_answered, self.limits)
        line = b"" if killed else self.answers.readline()
        ended = msgspec.json.decode(line, type=Ended) if line else Ended(None)
        killed = killed or ("" if line else how_it_ended(self.process))
        return Outcome(ended.code, *read(self.scratch), killed), ended

    def there(self, name: str) -> tuple[Outcome, str | None]:
        """Try a case in a process of its own."""
        folder, case = kinds.prepare(name, self.scratch)
        given = {key: text.replace(FOLDER, str(folder)) for key, text in case.variables.items()}
        with ExitStack() as stack:
            output, errors = (
                stack.enter_context((self.scratch / each).open("wb")) for each in STREAMS
            )
            started = subprocess.Popen(
                process.command(None, "nnbench", *case.words),
                cwd=folder,
                env=self.environment() | given,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            killed = self.watch(started, lambda: has_ended(started), self.limits)
        if not killed and started.returncode < 0:
            killed = how_it_ended(started)
        outcome = Outcome(None if killed else started.returncode, *read(self.scratch), killed)
        return outcome, problem(case, outcome)

    def watch(
        self, started: subprocess.Popen[bytes], is_over: Callable[[], bool], limits: Limits
    ) -> str:
        """Wait for something; kill a process that takes too much before that, and say so."""
        observed = psutil.Process(started.pid)
        deadline, before = monotonic() + limits.seconds, resident(observed)
        while not is_over():
            ended = ""
            if monotonic() > deadline:
                ended = f"still running after {limits.seconds:g} s"
            elif resident(observed) - before > limits.bytes:
                ended = f"it took more than {limits.bytes / 2**20:,.0f} MiB of memory"
            if ended:
                kill(started)
                return ended
        return ""

    def stack(self) -> str:
        """Return where the process was stuck, if it has said so."""
        return (self.scratch / STACK).read_text("utf-8", "backslashreplace")

    def end(self) -> None:
        """End the process, and remove what it has written."""
        if self.process:
            kill(self.process)
            with suppress(BrokenPipeError), self.process:  # which closes its pipes
                pass
            shutil.rmtree(self.scratch, ignore_errors=True)
        self.process = None


def fuzz(
    names: Iterable[str],
    *,
    benches: int,
    every: int,
    seconds: float | None = None,
    limits: Limits | None = None,
    worker: Sequence[str] = WORKER,
    tell: Callable[[Failure], object] = lambda _: None,
) -> Report:
    """Try cases.

    Parameters
    ----------
    names
        Of the cases.
    benches
        How many are tried at a time.
    every
        One of so many is tried in a process of its own, too.
    seconds
        After which no more is begun.
    limits, worker
        What a case may take, and what tries them.
    tell
        Called with each failure.
    """
    started, report, lock, over = monotonic(), Report(), threading.Lock(), threading.Event()
    numbered = zip(count(1), names, strict=False)

    def take() -> tuple[int, str] | None:
        with lock:
            is_late = seconds is not None and monotonic() - started > seconds
            return None if is_late or over.is_set() else next(numbered, None)

    def work() -> None:
        with Bench(limits or Limits(), worker) as bench:
            while taken := take():
                number, name = taken
                found = bench.attempt(name, twice=number % every == 0)
                with lock:
                    report.kinds[name.partition(":")[0]] += 1
                    report.twice += found.is_twice
                    if found.problem:
                        stack = bench.stack() if found.outcome.ended else ""
                        report.failures.append(Failure(name, found.problem, found.outcome, stack))
                        tell(report.failures[-1])

    with ThreadPoolExecutor(benches) as pool:
        try:
            for done in [pool.submit(work) for _ in range(benches)]:
                done.result()
        finally:
            over.set()  # if one fails, or at Ctrl-C
    report.seconds = monotonic() - started
    return report


def endless(seed: int) -> Iterator[str]:
    """Yield the names of all cases of a seed."""
    return (kinds.name(seed, number) for number in count())


def keep(failure: Failure, folder: Path) -> str:
    """Keep the input of a case, and return what is to be said of it."""
    target = folder / re.sub(r"\W", "-", failure.name)
    _, case = kinds.prepare(failure.name, target)
    text = failure.spell(case)
    (target / "failure.txt").write_text(text, "utf-8", "backslashreplace")
    return text


def resident(observed: psutil.Process) -> int:
    """Return how much memory a process has; nothing of one that is gone."""
    with suppress(psutil.Error):
        return int(observed.memory_info().rss)
    return 0


def has_ended(started: subprocess.Popen[bytes]) -> bool:
    """Wait a moment, and tell whether a process has ended."""
    with suppress(subprocess.TimeoutExpired):
        started.wait(POLL_S)
    return started.returncode is not None


def how_it_ended(started: subprocess.Popen[bytes]) -> str:
    """Say how a process ended."""
    status = started.wait()
    return (
        f"killed by {process.name_signal(-status)}" if status < 0 else f"ended with status {status}"
    )


def kill(started: subprocess.Popen[bytes]) -> None:
    """Kill a process with all of its session."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()
