"""Does a run that is killed again and again end as if nothing had happened?

``python -m tests.studies.kill_and_resume --kills 20`` makes an unbroken run, and others that are
killed (SIGKILL) at random moments and resumed until they are finished. After every second kill
the last line is cut at a random byte, as by a kill in the middle of its write, which is too short
to be met by chance. Then the tables are compared: all columns but those of times, of what is
derived from times, of memory, and of the proof, whose parts are drawn anew: no two runs share them. It ends
with 1 if they differ. A block that was killed runs again, whole: with the seed given, to the same end.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nnbench.runs import store
from tests.cells import read_final
from tests.plugins.helpers import NNBENCH, environment, survivors, wait_until

if TYPE_CHECKING:
    from nnbench.records import CellResult

TABLES = ("accuracy.csv", "timing.csv")
MEASURED = re.compile(
    r".*(_s|_us|_bytes|_per_s|gflops)|train_s_.*|ratio.*|p_value|verdict|remarks|.*_share"
    r"|rank|proof|steps_proved|.*deviation|flips|attained.*"
)


@dataclass
class Study:
    """Counts what happens to the runs that are killed."""

    arguments: list[str]
    kills_wanted: int
    rng: random.Random
    longest_s: float  #: after which a run is killed at the latest
    kills: int = 0
    early: int = 0  #: before there was anything to resume
    torn: int = 0  #: lines that a kill has torn
    cut: int = 0  #: lines that were cut here
    left: bytes = b""  #: of the file that was cut last

    def run(self, folder: Path) -> None:
        """Make one run, with kills as long as more are wanted."""
        while not self._start(folder):
            self.kills += 1
            self.early += not (folder / store.RUN).exists()
            if (path := folder / store.CELLS).exists():
                self._look(path)

    def _start(self, folder: Path) -> bool:
        """Start or resume a run; return whether it came to its end."""
        resumed = (folder / store.RUN).exists()
        arguments = ["--resume", str(folder)] if resumed else [*self.arguments, "-o", str(folder)]
        process = start(arguments, folder)
        limit = self.rng.uniform(0, self.longest_s) if self.kills < self.kills_wanted else None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            wait_until(lambda: not survivors(folder))  # the worker dies with its parent
            return False
        assert code == 0, f"ended with {code}"
        return True

    def _look(self, path: Path) -> None:
        """Look whether the kill has torn the last line; if not, cut it now and then."""
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            self.torn += content != self.left  # else it is still as it was cut
        elif self.kills % 2:
            start = content.rfind(b"\n", 0, -1) + 1
            self.left = content[: self.rng.randrange(start + 1, len(content))]
            path.write_bytes(self.left)
            self.cut += 1


def start(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start ``nnbench run`` with a mark that all its descendants carry."""
    command = [*NNBENCH, "run", "--no-progress", *arguments]
    env = environment(mark=folder)
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)


def columns(folder: Path, table: str) -> pd.DataFrame:
    """Return what must be equal in a table; its rows stand in the order of times."""
    frame = pd.read_csv(folder / table).sort_values("backend", ignore_index=True)
    return frame[[name for name in frame if not MEASURED.fullmatch(str(name))]]


def outcome(cell: CellResult) -> tuple[object, ...]:
    """Return what must be equal in a cell."""
    where = (cell.round, cell.position, cell.backend, cell.seed)
    last = cell.epochs[-1]  # others are evaluated only where a part ends
    reached = ([epoch.images for epoch in cell.epochs], last.test_loss, last.accuracy)
    return (*where, cell.status, cell.complete, cell.losses, reached)


def differences(folder: Path, unbroken: Path) -> list[str]:
    """Name what differs between two runs."""
    found = [t for t in TABLES if not columns(folder, t).equals(columns(unbroken, t))]
    cells, others = ([*map(outcome, read_final(f))] for f in (folder, unbroken))
    return found + ([store.CELLS] if cells != others else [])


def main() -> None:
    """Make the runs, compare them, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("arguments", nargs="*", help="of nnbench run, after --", metavar="ARGUMENT")
    options = parser.parse_args()
    arguments = options.arguments or [
        "-w",
        "toy-sigmoid",
        "-b",
        "python,numpy",
        "-r",
        "5",
        "--seed",
        "0",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder, rng = Path(temporary), random.Random(options.seed)
        begin = time.monotonic()
        unbroken = Study(arguments, 0, rng, 0.0)
        unbroken.run(folder / "unbroken")
        study = Study(arguments, options.kills, rng, (time.monotonic() - begin) / 2)
        runs, wrong = 0, []
        while study.kills < options.kills:
            runs += 1
            study.run(folder / f"run{runs}")
            wrong += differences(folder / f"run{runs}", folder / "unbroken")
        compared = [name for table in TABLES for name in columns(folder / "unbroken", table)]
    report(study, runs, compared, wrong)
    sys.exit(bool(wrong))


def report(study: Study, runs: int, compared: list[str], wrong: list[str]) -> None:
    """Print the counts."""
    lines = [
        f"nnbench run {' '.join(study.arguments)}",
        f"{study.kills} kills in {runs} runs, {study.early} before there was anything to resume",
        f"torn lines: {study.torn} by a kill, {study.cut} cut afterwards",
        f"compared: {', '.join(dict.fromkeys(compared))}; and every loss of every cell",
        f"differences: {', '.join(wrong) or 'none'}",
    ]
    print("\n".join(lines))  # noqa: T201 - a script


if __name__ == "__main__":
    main()
