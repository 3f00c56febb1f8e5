"""Does a run on workers of dask lose blocks, or count some twice, when processes of it are killed?

``python -m tests.studies.lost_blocks`` has 200 blocks of a small workload run by four workers of dask, whose blocks share two
CPUs by nnbench's locks, so that two train at once and two wait. At 20 moments, drawn from ``--seed``, it kills with
SIGKILL what was drawn as well:

- a worker, which its nanny starts anew,
- a nanny, which the study starts anew, as whoever keeps a cluster would,
- the scheduler, which the study starts anew at the same address: where nnbench ends with 4 it is resumed,
- nnbench itself, which is resumed after some seconds or at once,
- the process of a block.

A block that three kills have met in one run is lost; the study resumes then, as a user would. In the end every cell must be there once, and the
tables be those of a local run with the same seeds: all columns but those of times, memory and proofs. The times' ratio must be
the local one, as far as both are known and the noise floor tells apart. No process may be left but those of the cluster, no CPU
locked, nothing in the scheduler.

What a call does not finish within ``--seconds`` the next one goes on with: it has the signal of Ctrl-C end the run, and that must lose nothing,
either. ``--blocks 20 --kills 4`` is a short form, in which the ratio is only told. It ends with 1 if anything was wrong, with 75 if it is not finished, and
writes what happened below ``results/many-machines``.
"""

from __future__ import annotations

import argparse
import fcntl
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from nnbench.contract.errors import ExitCode
from nnbench.execution import cpus, machine
from nnbench.records.cells import LOCAL, Status
from nnbench.runs import store
from nnbench.runs.run import Run
from tests.clusters import BLOCK, CELL, RESOURCE, Cluster, below, running
from tests.plugins.helpers import NNBENCH, environment, survivors
from tests.studies import proofs
from tests.studies.kill_and_resume import differences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

RAW = Path("out", "many-machines")
BACKENDS = "python", "python[kernel=loops]"  #: what disturbs one disturbs the other as much
WORKERS, CPUS = 4, 2
WHAT = "worker", "nanny", "scheduler", "submitter", "block"
LAST = 0.95  #: of the blocks: later kills might find nothing to kill
LONGEST_S = 3.0  #: from the end of a block to a kill, and from the end of nnbench to the next start
LOOK_S = 0.05
ENOUGH = 100  #: blocks, of which neighbours on the machine do not decide what the ratio is
GONE_S = 30.0  #: that processes, locks and tasks may take to go
HANG_S = 300.0  #: without a finished block, or for an end
UNFINISHED = 75  #: ends with, as other programs that are to be called again


class Kill(msgspec.Struct):
    """A kill, and what followed."""

    what: str
    after: int  #: finished blocks
    wait_s: float  #: from then on
    back_s: float  #: until what was killed is started again, if that is the study's part
    hit: str = ""  #: what it was doing
    seconds: float | None = None  #: until the next block was finished
    lost: dict[str, int] = {}  #: blocks, by the words of the engine
    followed: list[str] = []


def draw(kills: int, blocks: int, seed: int) -> list[Kill]:
    """Draw what is killed when: of each kind as many, if that can be."""
    rng = random.Random(seed)
    whats = [WHAT[number % len(WHAT)] for number in range(kills)]
    rng.shuffle(whats)
    moments = sorted(rng.randrange(int(LAST * blocks)) for _ in whats)
    return [
        Kill(what, after, rng.uniform(0, LONGEST_S), rng.choice([0.0, rng.uniform(0, LONGEST_S)]))
        for what, after in zip(whats, moments, strict=True)
    ]


class Kept(msgspec.Struct):
    """What one call of the study leaves to the next."""

    kills: list[Kill]
    counts: dict[str, int]
    wrong: list[str]
    done: int
    port: int


class Line(msgspec.Struct):
    """What is looked at of a line of cells.jsonl while it grows."""

    backend: str
    round: int
    status: Status
    message: str = ""
    final: bool = True
    machine: str = ""


class Tail:
    """The lines of a file that come while it is looked at."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def __iter__(self) -> Iterator[Line]:
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if line.endswith(b"\n"):
                    self.offset += len(line)
                    yield msgspec.json.decode(line, type=Line)


@dataclass
class Study:
    """Runs blocks, kills, and counts what became of them."""

    folder: Path
    arguments: list[str]
    blocks: int
    kills: list[Kill]
    until: float  #: by the clock of ``time.monotonic``
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  #: what must not be
    done: int = 0  #: kills
    port: int = 0  #: of the scheduler
    is_stopped: bool = False

    def __post_init__(self) -> None:
        self.run = self.folder / "run"
        self.tail = Tail(self.run / store.CELLS)
        self.finished: dict[int, set[str]] = {}  # backends by round
        self.lost_for_good: set[int] = set()
        self.killed_at: float | None = None
        self.doomed: list[psutil.Process] = []  # blocks whose scheduler was killed
        self.env = environment(mark=self.folder.resolve(), NNBENCH_PLUGINS="python,dask")
        self._journal = self.folder / "journal.json"
        self._load()
        self._read(is_counted=True)

    # What is kept between calls

    def _load(self) -> None:
        if self._journal.exists():
            kept = msgspec.json.decode(self._journal.read_bytes(), type=Kept)
            self.kills, self.counts, self.wrong = kept.kills, Counter(kept.counts), kept.wrong
            self.done, self.port = kept.done, kept.port

    def save(self) -> None:
        """Write down what there is of the study itself."""
        kept = Kept(self.kills, self.counts, self.wrong, self.done, self.port)
        self._journal.write_bytes(msgspec.json.encode(kept))

    # The run

    def make(self) -> bool:
        """Make the run, or go on with it; return whether it is finished."""
        cluster = Cluster(self.env, self.folder, self.port)  # run.json has its address
        self.port = cluster.port
        try:
            for _ in range(WORKERS):
                cluster.start_worker(*RESOURCE, nanny=True)
            while not self.is_stopped and not self._submit(cluster):
                pass
            if not self.is_stopped:
                self._look_at_what_is_left(cluster)
        finally:
            cluster.close()
            self._look_for_survivors("the cluster")
            self.save()
        return not self.is_stopped

    def _submit(self, cluster: Cluster) -> bool:
        """Start or resume the run; return whether it came to its end."""
        executor = f"dask[address={cluster.address},patience=60]"
        new = [*self.arguments, "--executor", executor, "-o", str(self.run)]
        asked = ["--resume", str(self.run)] if (self.run / store.RUN).exists() else new
        command = [*NNBENCH, "run", "--no-progress", *asked]
        with (self.folder / "said").open("w+b") as said:
            process = subprocess.Popen(
                command, env=self.env, stdout=subprocess.DEVNULL, stderr=said, process_group=0
            )
            try:
                killed = self._watch(process, cluster)
            finally:
                process.kill()
                process.wait()
            return self._judge(process.returncode, killed, said)

    def _watch(self, process: subprocess.Popen[bytes], cluster: Cluster) -> str:
        """Wait for the end of a run; return what was killed that ends it."""
        killed, heard = "", time.monotonic()
        while process.poll() is None:
            if self._read():
                heard = time.monotonic()
            if time.monotonic() - heard > HANG_S:
                self._blame(f"no block was finished in {HANG_S:.0f} s")
                return "submitter"
            if time.monotonic() > self.until and not self.is_stopped:
                self.is_stopped = True
                self.counts["stopped between two calls"] += 1
                process.send_signal(signal.SIGINT)
            if not killed and not self.is_stopped and self._is_due():
                killed = self._kill(process, cluster)
            self.counts["workers started anew"] += self._start_workers(cluster)
            self._look_for_doomed()
            time.sleep(LOOK_S)
        self._read()
        return killed

    def _is_due(self) -> bool:
        return self.done < len(self.kills) and self._whole() >= self.kills[self.done].after

    def _whole(self) -> int:
        return sum(len(found) == len(BACKENDS) for found in self.finished.values())

    def _read(self, *, is_counted: bool = False) -> bool:
        """Read what was written since, or a call of before has counted; tell whether a block was finished."""
        before = self._whole()
        latest = self.kills[self.done - 1] if self.done else None
        for line in self.tail:
            if line.status is Status.LOST:
                self.lost_for_good |= {line.round} if line.final else set()
                if line.backend == BACKENDS[0] and not is_counted:
                    self.counts["blocks lost"] += 1
                    if latest:
                        latest.lost[line.message] = latest.lost.get(line.message, 0) + 1
            elif line.final:
                self.lost_for_good.discard(line.round)
                self.finished.setdefault(line.round, set()).add(line.backend)
        if self._whole() == before:
            return False
        if latest and self.killed_at:
            latest.seconds = round(time.monotonic() - self.killed_at, 1)
            self.killed_at = None
        return True

    # Kills

    def _kill(self, process: subprocess.Popen[bytes], cluster: Cluster) -> str:
        """Kill what is next; return it if the run ends with that."""
        kill = self.kills[self.done]
        time.sleep(kill.wait_s)
        self._read()  # what was lost by now is of the kill before
        if process.poll() is not None:
            return ""
        rng = random.Random(repr(kill))
        self.done += 1
        match kill.what:
            case "submitter":
                kill.hit = self._say_what_runs(cluster)
                process.kill()
            case "scheduler":
                kill.hit = self._say_what_runs(cluster)
                self.doomed = self._blocks(cluster)
                cluster.scheduler.kill()
                cluster.scheduler.wait()
            case "worker" | "nanny":
                nanny = rng.choice(cluster.workers)
                kill.hit = describe(nanny.pid)
                if kill.what == "nanny":
                    nanny.kill()
                else:
                    workers = [p for p in below(nanny.pid) if p.ppid() == nanny.pid]
                    for worker in workers:  # and what tracks its resources
                        worker.kill()
            case "block":
                if found := self._blocks(cluster):
                    victim = rng.choice(found)
                    kill.hit = describe(victim.pid, "its block")
                    with suppress(psutil.Error):
                        victim.kill()
        self.killed_at = time.monotonic()
        self.counts[f"{kill.what} killed"] += 1
        print(f"{self._whole()} blocks: {kill.what} killed, {kill.hit}", flush=True)  # noqa: T201 - a script
        time.sleep(kill.back_s)
        if kill.what == "scheduler":
            cluster.start_scheduler()
        return kill.what if kill.what in {"submitter", "scheduler"} else ""

    def _blocks(self, cluster: Cluster) -> list[psutil.Process]:
        """Return the processes of blocks; wait for one if there is none."""
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline:
            if found := [p for w in cluster.workers for p in running(BLOCK, below(w.pid))]:
                return found
            time.sleep(LOOK_S)
        return []

    def _say_what_runs(self, cluster: Cluster) -> str:
        said = Counter(describe(worker.pid) for worker in cluster.workers)
        return ", ".join(f"{number} {what}" for what, number in said.items())

    def _start_workers(self, cluster: Cluster) -> int:
        """Start workers in the place of those whose nanny has ended; return how many."""
        ended = [each for each in cluster.workers if each.poll() is not None]
        cluster.workers = [each for each in cluster.workers if each not in ended]
        for _ in ended:
            cluster.start_worker(*RESOURCE, nanny=True)
        return len(ended)

    # What must be, and what must not

    def _judge(self, code: int, killed: str, said: IO[bytes]) -> bool:
        """Say what is wrong with how a run ended; return whether all is there."""
        said.seek(0)
        words = [line for line in said.read().decode(errors="replace").splitlines() if line]
        ends = [line for line in words if not line.startswith("nnbench: warning: machine")]
        expected = {
            "submitter": {-signal.SIGKILL},
            "scheduler": {ExitCode.BACKEND_FAILED, ExitCode.OK},
        }.get(killed, {ExitCode.INTERRUPTED} if self.is_stopped else {ExitCode.OK})
        was_unlucky = code == ExitCode.BACKEND_FAILED and self.lost_for_good
        if code not in expected and not was_unlucky:
            self._blame(f"ended with {code} after {killed or 'no kill'}: {ends[-3:]}")
        if "Traceback" in "\n".join(words):
            self._blame(f"a traceback after {killed or 'no kill'}: {words[-5:]}")
        if self.done and (code or killed):
            self.kills[self.done - 1].followed.append(f"nnbench ended with {code}: {ends[-1:]}")
        self.counts["resumed since a block was lost three times"] += bool(was_unlucky)
        return code == ExitCode.OK and self._whole() == self.blocks

    def _look_for_doomed(self) -> None:
        """Hold that no block goes on whose outcome nobody can get any more."""
        self.doomed = [each for each in self.doomed if each.is_running()]
        if self.doomed and self.killed_at and time.monotonic() - self.killed_at > GONE_S:
            self._blame(f"go on without their scheduler: {self.doomed}")
            self.doomed = []

    @property
    def mark(self) -> Path:
        """What all processes of the study carry."""
        return self.folder.resolve()

    def _look_for_survivors(self, what: str) -> None:
        if left := wait_for_none(lambda: survivors(self.mark)):
            self._blame(f"live on after {what}: {[each.cmdline() for each in left]}")
            for each in left:
                each.kill()

    def _look_at_what_is_left(self, cluster: Cluster) -> None:
        """Look at the scheduler, for processes of blocks, and for locks."""
        from distributed import Client

        if left := wait_for_none(
            lambda: [*running(BLOCK, survivors(self.mark)), *running(CELL, survivors(self.mark))]
        ):
            self._blame(f"blocks live on after the run: {left}")
        with Client(cluster.address, set_as_default=False) as client:
            left = wait_for_none(lambda: client.run_on_scheduler(what_is_left))
            taken = wait_for_none(lambda: [*filter(None, client.run(what_is_taken).values())])
        if taken:
            self._blame(f"left on workers: {taken}")
        if left:
            self._blame(f"left in the scheduler: {left}")
        if locked := wait_for_none(locked_cpus):
            self._blame(f"locked: CPUs {locked}")

    def _blame(self, text: str) -> None:
        self.wrong.append(text)
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a script


def describe(pid: int, what: str = "") -> str:
    """Say what a process of dask, or of a block, is at."""
    processes = below(pid)
    if running(CELL, processes):
        return f"{what or 'a worker whose block'} trains".replace(
            "its block trains", "a block that trains"
        )
    if what or running(BLOCK, processes):
        return (
            "a block that starts, waits or ends"
            if what
            else "a worker whose block starts, waits or ends"
        )
    return "a worker without a block"


def wait_for_none(find: Any) -> Any:
    """Return what is found when there was enough time for it to go."""
    deadline = time.monotonic() + GONE_S
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return found


def what_is_left(dask_scheduler: Any) -> dict[str, list[str]]:
    """Return what a run may have left in the scheduler, in which this is called."""
    found = {
        "tasks": [*map(str, dask_scheduler.tasks)],
        "published": [*map(str, dask_scheduler.extensions["publish"].datasets)],
        "clients": [
            name for name in dask_scheduler.clients if dask_scheduler.clients[name].wants_what
        ],
    }
    return {name: those for name, those in found.items() if those}


def what_is_taken(dask_worker: Any) -> dict[str, Any]:
    """Return what a run may have left on a worker, in which this is called."""
    state = dask_worker.state
    is_free = state.available_resources == state.total_resources
    return {"tasks": [*state.tasks]} if state.tasks or not is_free else {}


def locked_cpus() -> list[int]:
    """Return the CPUs that some nnbench holds."""
    found = []
    for cpu in machine.usable_cpus():
        path = cpus.FOLDER / f"nnbench-cpu-{cpu}.lock"
        with suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(cpu)
    return found


def compare_ratios(run: Run, local: Run) -> dict[str, Any]:
    """Hold the ratio of the backends in one run against that in another."""
    [one, other] = (
        next(row for row in each.timing if row.backend != each.info.baseline)
        for each in (run, local)
    )
    apart = math.log(one.ratio / other.ratio)
    spread = math.hypot(*(math.log(row.ratio_high / row.ratio_low) / 2 for row in (one, other)))
    floor = max(run.info.noise_floor, local.info.noise_floor)
    return {
        "here": [round(value, 3) for value in (one.ratio, one.ratio_low, one.ratio_high)],
        "local": [round(value, 3) for value in (other.ratio, other.ratio_low, other.ratio_high)],
        "noise_floor": floor,
        "apart": round(apart, 4),
        "allowed": round(math.log1p(floor) + spread, 4),
        "are_alike": abs(apart) <= math.log1p(floor) + spread,
    }


def main() -> None:
    """Make the runs, compare them, and write down what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="of this call")
    parser.add_argument("--anew", action="store_true", help="forget what calls of before have left")
    parser.add_argument("--dry", action="store_true", help="write nothing down")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # not ignored, as in a shell's background job
    if len(machine.usable_cpus()) > CPUS:
        os.sched_setaffinity(0, machine.usable_cpus()[-CPUS:])
    print(f"kills are drawn from seed {options.seed}", flush=True)  # noqa: T201 - a script
    folder = RAW / f"lost_blocks-{options.blocks}-{options.kills}-{options.seed}"
    if options.anew:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    arguments = f"-w toy-sigmoid -b {','.join(BACKENDS)} -r {options.blocks} --seed 0".split()
    local = folder / LOCAL
    kills = draw(options.kills, options.blocks, options.seed)
    study = Study(folder, arguments, options.blocks, kills, until)
    if not (study.make() and make_local(local, arguments, study.env, until)):
        print("not finished: the next call goes on")  # noqa: T201 - a script
        sys.exit(UNFINISHED)
    run, unbroken = Run.open(study.run), Run.open(local)
    cells = [(cell.round, cell.backend) for cell in run.cells]
    wanted = [(number, name) for number in range(options.blocks) for name in BACKENDS]
    ratios = compare_ratios(run, unbroken)
    study.wrong += [] if sorted(cells) == sorted(wanted) else ["cells are missing, or there twice"]
    if options.blocks >= ENOUGH and not ratios["are_alike"]:
        study.wrong.append("the ratio is another than that of the local run")
    study.wrong += differences(study.run, local)
    found = {
        "run": " ".join(arguments),
        "seed": options.seed,
        "blocks": options.blocks,
        "cells": len(cells),
        "status": dict(Counter(cell.status.value for cell in run.cells)),
        "attempts": dict(Counter(str(cell.block_attempt + 1) for cell in run.cells)),
        **dict(sorted(study.counts.items())),
        "ratio": ratios,
        "kills": msgspec.to_builtins(study.kills[: study.done]),
        "wrong": study.wrong,
    }
    for name, value in found.items():
        print(f"{name}: {value}")  # noqa: T201 - a script
    if not options.dry:
        proofs.write("lost_blocks", found, "many-machines")
    sys.exit(bool(study.wrong))


def make_local(folder: Path, arguments: list[str], env: dict[str, str], until: float) -> bool:
    """Make the same run here, without dask, or go on with it; return whether it is finished."""
    asked = (
        ["--resume", str(folder)]
        if (folder / store.RUN).exists()
        else [*arguments, "-o", str(folder)]
    )
    command = [*NNBENCH, "run", "--no-progress", *asked]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        try:
            process.wait(min(until - time.monotonic(), 1e6))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
    return process.returncode == ExitCode.OK


if __name__ == "__main__":
    main()
