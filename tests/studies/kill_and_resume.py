"""Does a run that is ended again and again come to its end as if nothing had happened?

``python -m tests.studies.kill_and_resume --kills 100`` makes an unbroken run, and others that get SIGTERM, SIGINT, SIGHUP or
SIGKILL at random moments, alone or with their process group, and are resumed until they are finished. Now and then the
signal comes twice, as ``timeout`` sends it. After every second SIGKILL the last line is cut at a random byte, as by a kill in the
middle of its write, which is too short to be met by chance.

With ``--full`` the disk is full as well: each run but the last one of a folder has so much room as was drawn, on a file system
of its own where root can mount one, else by a limit on the size of files. Then there is room again.

It counts what must not be: lines that were on disk and are not any more, cells that are there twice, processes that live
on, tracebacks, exit codes that are none of these, tables that are missing or have other columns or backends than those of
the unbroken run. In the end tables are compared: all columns but those of times, of what is derived from times, of
memory, and of the proof, whose parts are drawn anew: no two runs share them. It ends with 1 if anything was found, and
writes down what happened below ``results/robustness``.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pandas as pd

from nnbench.cli.signals import CODES
from nnbench.contract.errors import ExitCode
from nnbench.runs import store
from tests.cells import read_final
from tests.plugins.helpers import NNBENCH, environment, survivors
from tests.studies import proofs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnbench.records.cells import CellResult

TABLES = ("accuracy.csv", "timing.csv", "accuracy.md", "timing.md")
MEASURED = re.compile(
    r".*(_s|_us|_bytes|_per_s|gflops)|train_s_.*|ratio.*|p_value|verdict|remarks|.*_share"
    r"|shared_remarks|phases_word|rank|proof|steps_proved|.*deviation|flips|attained.*"
)
SIGNALS = {
    signal.SIGKILL: None,
    signal.SIGINT: ExitCode.INTERRUPTED,
    **CODES,
}  #: what nnbench ends with then
ARGUMENTS = "-w toy-sigmoid -b python,numpy -r 4 --seed 0"
GONE_S = 10.0  #: that processes may take to end with nnbench
HANG_S = 120.0  #: that nnbench may take, with what is judged and written before
ENOUGH = 1 << 24  #: bytes of a small file system


@dataclass
class Study:
    """Ends runs, resumes them, and counts what became of them."""

    arguments: list[str]
    kills_wanted: int
    rng: random.Random
    longest_s: float = 0.0  #: after which a run is ended at the latest
    most_room: int = 0  #: bytes that it has at most before that; 0 is no limit
    kills: int = 0  #: those for want of room included
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  #: what must not be
    kept: bytes = b""  #: lines that must stay
    left: bytes = b""  #: of the file that was cut last

    def run(self, folder: Path) -> None:
        """Make one run, and end it as long as more of that is wanted."""
        self.kept = b""
        while not self._start(folder):
            self.counts["before there was anything to resume"] += not (folder / store.RUN).exists()
            if (path := folder / store.CELLS).exists():
                self._look(path)

    def _start(self, folder: Path) -> bool:
        """Start or resume a run; return whether it came to its end."""
        resumed = (folder / store.RUN).exists()
        arguments = ["--resume", str(folder)] if resumed else [*self.arguments, "-o", str(folder)]
        is_left_alone = self.kills >= self.kills_wanted
        with ExitStack() as stack, tempfile.TemporaryFile() as said:
            room = 0 if is_left_alone else self.rng.randrange(self.most_room + 1)
            limit = stack.enter_context(scarce(folder, room)) if room else 0
            process = start(arguments, folder, said, limit)
            number = None
            try:
                process.wait(None if is_left_alone else self.rng.uniform(0, self.longest_s))
            except subprocess.TimeoutExpired:
                number = self._end(process)
            self._look_for_survivors(folder)
            said.seek(0)
            words = said.read().decode(errors="replace")
        return self._judge(folder, process.returncode, number, words, is_scarce=bool(room))

    def _end(self, process: subprocess.Popen[bytes]) -> signal.Signals:
        """Send it a signal, or all of its group; return which."""
        number = self.rng.choice([*SIGNALS])
        send = self.rng.choice([os.kill, os.killpg])
        self.kills += 1
        self.counts[f"{number.name} to {'its group' if send is os.killpg else 'nnbench'}"] += 1
        for _ in range(self.rng.choice([1, 1, 2]) if number is not signal.SIGINT else 1):
            send(process.pid, number)
            time.sleep(self.rng.choice([0.0, 0.01]))
        try:
            process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self._blame(f"has not ended after {number.name}")
            process.kill()
            process.wait()
        return number

    def _judge(
        self, folder: Path, code: int, number: signal.Signals | None, words: str, *, is_scarce: bool
    ) -> bool:
        """Say what is wrong with how a run ended; return whether it came to its end."""
        expected = {0} if number is None else {0, -number, SIGNALS[number]}
        if is_scarce:
            expected |= {ExitCode.INTERNAL}
        if code not in expected:
            self._blame(f"ended with {code} after {number and number.name}: {words[-300:]}")
        if "Traceback" in words and code >= 0:  # Ctrl-C while Python itself starts has one
            self._blame(f"a traceback after {number and number.name}: {words[-300:]}")
        if code == ExitCode.INTERNAL:
            self.counts["no room"] += 1
            self.kills += 1
        content = (folder / store.CELLS).read_bytes() if (folder / store.CELLS).exists() else b""
        if not content.startswith(self.kept):
            self._blame("lines that were on disk are lost")
        cells = [(cell.round, cell.backend) for cell in final(folder)]
        if len(cells) > len(set(cells)):
            self._blame("cells are there twice")
        missing = [name for name in TABLES if not (folder / name).exists()]
        if "finished cells are kept: " in words and missing and not is_scarce:
            self._blame(f"no {', '.join(missing)} after {number and number.name}")
        return code == 0 or code not in expected

    def _look_for_survivors(self, folder: Path) -> None:
        """Wait until all that the run started has ended."""
        deadline = time.monotonic() + GONE_S
        while left := survivors(folder):
            if time.monotonic() > deadline:
                self._blame(f"live on: {[each.cmdline() for each in left]}")
                for each in left:
                    each.kill()
            time.sleep(0.02)

    def _look(self, path: Path) -> None:
        """Look whether the end has torn the last line; if not, cut it now and then."""
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            self.counts["lines that were torn"] += content not in (self.left, b"")
        elif self.kills % 2:
            start = content.rfind(b"\n", 0, -1) + 1
            self.left = content[: self.rng.randrange(start + 1, len(content))]
            path.write_bytes(self.left)
            self.counts["lines that were cut afterwards"] += 1
        content = path.read_bytes()
        self.kept = content[: content.rfind(b"\n") + 1]

    def _blame(self, text: str) -> None:
        self.wrong.append(text)
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a script


def final(folder: Path) -> list[CellResult]:
    """Return the attempts that count; a torn line is none."""
    return [cell for cell in store.read_cells(folder, warn=False) if cell.final]


def start(
    arguments: list[str], folder: Path, said: IO[bytes], limit: int
) -> subprocess.Popen[bytes]:
    """Start ``nnbench run`` in a group of its own, with a mark that all its descendants carry."""
    command = [*NNBENCH, "run", "--no-progress", *arguments]
    process = subprocess.Popen(
        command,
        env=environment(mark=folder),
        stdout=subprocess.DEVNULL,
        stderr=said,
        process_group=0,
    )
    if limit:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return process


@contextmanager
def scarce(folder: Path, room: int) -> Iterator[int]:
    """Leave so much room where a folder lies; yield a limit on the size of files where that cannot be."""
    ballast = folder.parent / "ballast"
    if not os.path.ismount(folder.parent):
        yield room
        return
    disk = os.statvfs(folder.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - room))
    try:
        yield 0
    finally:
        ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system at a folder, where this user may."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ENOUGH}", "none", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


def columns(folder: Path, table: str) -> pd.DataFrame:
    """Return what must be equal in a table; its rows stand in the order of times."""
    frame = pd.read_csv(folder / table).sort_values("backend", ignore_index=True)
    return frame[[name for name in frame if not MEASURED.fullmatch(str(name))]]


def form(folder: Path, table: str) -> tuple[list[str], list[str]]:
    """Return a table's columns and backends."""
    frame = pd.read_csv(folder / table)
    return [*map(str, frame)], sorted(frame["backend"])


def outcome(cell: CellResult) -> tuple[object, ...]:
    """Return what must be equal in a cell."""
    where = (cell.round, cell.position, cell.backend, cell.seed)
    last = cell.epochs[-1]  # others are evaluated only where a part ends
    reached = ([epoch.images for epoch in cell.epochs], last.test_loss, last.accuracy)
    return (*where, cell.status, cell.complete, cell.losses, reached)


def differences(folder: Path, unbroken: Path) -> list[str]:
    """Name what differs between two runs."""
    frames = [name for name in TABLES if name.endswith(".csv")]
    found = [f"{t} has another form" for t in frames if form(folder, t) != form(unbroken, t)]
    for table in frames:
        one, other = columns(folder, table), columns(unbroken, table)
        names = [str(name) for name in one if name in other and not one[name].equals(other[name])]
        found += [f"{table} differs in {', '.join(names)}"] if names else []
    cells, others = (
        sorted(map(outcome, read_final(f)), key=lambda each: each[:2]) for f in (folder, unbroken)
    )
    found += [f"{store.CELLS} differs"] if cells != others else []
    here, there = ({path.name for path in f.iterdir()} for f in (folder, unbroken))
    return found + [f"{name} was left there" for name in sorted(here - there)]


def main() -> None:
    """Make the runs, compare them, and write down what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full", action="store_true", help="on a disk that is full")
    parser.add_argument("--dry", action="store_true", help="write nothing down")
    parser.add_argument("arguments", nargs="*", help="of nnbench run, after --", metavar="ARGUMENT")
    options = parser.parse_args()
    for number in SIGNALS.keys() - {signal.SIGKILL}:
        if signal.getsignal(number) is signal.SIG_IGN:  # as in a shell's background job
            signal.signal(number, signal.SIG_DFL)
    arguments = options.arguments or ARGUMENTS.split()
    rng, runs = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary, "runs")
        stack.enter_context(small_disk(folder) if options.full else made(folder))
        begin, unbroken = time.monotonic(), folder / "unbroken"
        Study(arguments, 0, rng).run(unbroken)
        study = Study(arguments, options.kills, rng, (time.monotonic() - begin) / 3)
        if options.full:
            study.longest_s *= 3
            study.most_room = sum(path.stat().st_size for path in unbroken.iterdir()) // 4
        while study.kills < options.kills:
            runs += 1
            study.run(folder / f"run{runs}")
            study.wrong += differences(folder / f"run{runs}", unbroken)
        compared = [n for t in TABLES if t.endswith(".csv") for n in columns(unbroken, t)]
    found = {
        "run": " ".join(arguments),
        "ended": study.kills,
        "runs": runs,
        **dict(sorted(study.counts.items())),
        "compared": list(dict.fromkeys(compared)),
        "wrong": study.wrong,
    }
    for name, value in found.items():
        print(f"{name}: {value}")  # noqa: T201 - a script
    if not options.dry:
        name = "full_disk" if options.full else "kills"
        proofs.write(name, found, "robustness", study="kill_and_resume")
    sys.exit(bool(study.wrong))


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder."""
    folder.mkdir()
    yield


if __name__ == "__main__":
    main()
