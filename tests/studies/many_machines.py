"""What does a run on many machines cost whoever submits it, and the engine; and does a block cost more the longer the run is?

``python -m tests.studies.many_machines`` makes runs of 1,000 cells in 500 blocks on 20 machines: ``nnbench run`` as it is, a scheduler of dask
as it is, and real workers of dask, all in one process, whose blocks answer at once with the content of trainings of ``mnist``
(:mod:`tests.studies.stub_workers`). So all that is left of a block is what is to be measured, and dask's part is in it. One run shows nothing,
one is on a terminal, and in one each block tells how it goes on in 31 messages, as in a minute, and not in one.
Four times a second the study notes the cells on disk, and the time and the memory of each process; it fits both over the cells. A block may cost 50 ms of the wall clock, and of the CPU time of nnbench and dask together,
and the last cells at most half as much again of nnbench's CPU time as the first ones.

What such a run does not show is measured alone: what it takes to prove a part of each block once more, and to know 2,000 machines.
It ends with 1 if anything is above its limit, and writes what it found below ``results/many-machines``.
"""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from nnbench import catalog
from nnbench.execution import loading, witnesses
from nnbench.execution.executor import LocalExecutor
from nnbench.records.events import CellFinished
from nnbench.records.runs import Block, Entry
from nnbench.runs import store
from tests.clusters import Cluster
from tests.plugins.helpers import NNBENCH, environment, wait_until
from tests.studies import proofs

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKENDS = "numpy", "python"
LIMIT_S = 0.05  #: of a block
GROWTH = 0.5  #: of the time a cell from the first to the last, of that of the first
MACHINES = 20
MORE = 2000  #: machines that a run is thought of on
LOOK_S = 0.25
LOOKS = 5
OFTEN = 31  #: messages of a block
PROVED = 5  #: blocks that are proved once more
MEGABYTE = 1e6
A_CELL = "CPU a cell of nnbench, ms"


@dataclass
class Watched:
    """A process, with those that it has started: its CPU time and memory as they grow with the cells."""

    pid: int
    cpu_s: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Note how much it has used."""
        cpu, memory = 0.0, 0
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            times = process.cpu_times()
            cpu = times.user + times.system + times.children_user + times.children_system
            memory = process.memory_info().rss
        self.cpu_s.append(cpu)
        self.megabytes.append(memory / MEGABYTE)


def fit(cells: list[int], values: list[float], count: int) -> tuple[float, float]:
    """Return by how much a value grows with a cell at the start of a run, and at its end; by least squares."""
    square, slope, _ = np.polyfit(cells, values, 2).tolist()
    return slope, slope + 2 * square * count


def in_ms(pair: tuple[float, float]) -> dict[str, float]:
    """Return a fit of seconds."""
    return {"first cell": round(1e3 * pair[0], 2), "last cell": round(1e3 * pair[1], 2)}


def watch(
    folder: Path, blocks: int, machines: int, messages: int, *, is_live: bool
) -> dict[str, Any]:
    """Make a run, and return what it has taken."""
    env = environment(mark=folder, NNBENCH_PLUGINS=",".join([*BACKENDS, "dask"]))
    cluster = Cluster(env, folder)
    stub = [
        sys.executable,
        "-m",
        "tests.studies.stub_workers",
        cluster.address,
        *map(str, (machines, messages)),
    ]
    cluster.workers.append(subprocess.Popen(stub, env=env))
    path = folder / "run" / store.CELLS
    asked = [
        *(*NNBENCH, "run", "-w", "mnist", "-b", ",".join(BACKENDS), "-r", str(blocks)),
        *("--seed", "0", "--proof", "off", "-o", str(folder / "run")),
        *("--executor", f"dask[address={cluster.address}]"),
    ]
    try:
        wait_until(lambda: look_at_workers(cluster.address)[0] == machines)
        look_s = median(look_at_workers(cluster.address)[1] for _ in range(LOOKS))
        with terminal() as screen:
            shown = ["--progress"] if is_live else ["--no-progress"]
            begin = time.monotonic()
            run = subprocess.Popen(
                [*asked, *shown],
                env={**env, "TERM": "xterm-256color"},
                stdout=subprocess.DEVNULL,
                stderr=screen if is_live else None,
            )
            pids = {"nnbench": run.pid, "scheduler": cluster.scheduler.pid}
            watched = {
                n: Watched(p) for n, p in (pids | {"workers": cluster.workers[0].pid}).items()
            }
            moments, cells = [], []
            while run.poll() is None:
                moments.append(time.monotonic() - begin)
                cells.append(count_lines(path))
                for each in watched.values():
                    each.look()
                time.sleep(LOOK_S)
            whole_s = time.monotonic() - begin
            _ = run.wait()
    finally:
        cluster.close()
    if run.returncode:
        sys.exit(f"{' '.join(asked)}: ended with {run.returncode}")
    found = describe(blocks, moments, cells, watched, whole_s)
    return {**found, "a look at the workers, ms": round(1e3 * look_s, 1)}


def describe(
    blocks: int,
    moments: list[float],
    cells: list[int],
    watched: dict[str, Watched],
    whole_s: float,
) -> dict[str, Any]:
    """Return what a run has taken from its first cell to its last one."""
    count = blocks * len(BACKENDS)
    inside = [number for number, each in enumerate(cells) if 0 < each < count]
    own, first, last = [cells[n] for n in inside], inside[0], inside[-1]
    made = (cells[last] - cells[first]) / len(BACKENDS)

    def a_block(values: list[float]) -> float:
        return (values[last] - values[first]) / made

    each_s = {name: a_block(process.cpu_s) for name, process in watched.items()}
    memory = watched["nnbench"].megabytes
    return {
        "cells": count,
        "looks": len(inside),
        "seconds": round(whole_s, 1),
        "seconds before the first cell": round(moments[first], 1),
        "wall a block, ms": round(1e3 * a_block(moments), 1),
        "CPU a block, ms": {name: round(1e3 * seconds, 1) for name, seconds in each_s.items()},
        "wall a cell, ms": in_ms(fit(own, [moments[n] for n in inside], count)),
        A_CELL: in_ms(fit(own, [watched["nnbench"].cpu_s[n] for n in inside], count)),
        "memory of nnbench, MB": {
            "first cell": round(memory[first]),
            "last cell": round(memory[last]),
        },
        "memory of the scheduler, MB": {
            "first cell": round(watched["scheduler"].megabytes[first]),
            "last cell": round(watched["scheduler"].megabytes[last]),
        },
        "memory a cell of nnbench, kB": {
            name: round(1e3 * value)
            for name, value in zip(
                ("first cell", "last cell"),
                fit(own, [memory[n] for n in inside], count),
                strict=True,
            )
        },
    }


def look_at_workers(address: str) -> tuple[int, float]:
    """Return how many workers a scheduler has, and the seconds that it takes to ask, as nnbench does each second."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        begin = time.monotonic()
        workers = client.scheduler_info(n_workers=-1)["workers"]
        return len(workers), time.monotonic() - begin


def count_lines(path: Path) -> int:
    """Return how many lines a file has that grows; reading it all takes less time than a cell."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@contextmanager
def terminal() -> Iterator[int]:
    """Give the descriptor of a terminal whose content is thrown away."""
    ours, theirs = pty.openpty()

    def drain() -> None:
        with suppress(OSError):
            while os.read(ours, 1 << 16):
                pass

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        thread.join(1.0)
        os.close(ours)


def prove_again() -> dict[str, Any]:
    """Return what it takes to prove a part of a block of ``mnist`` once more."""
    workload = replace(catalog.workloads()["mnist"], epochs=1)
    splits = loading.load(workload)
    blocks = [
        Block(
            workload=workload,
            threads=1,
            round=number,
            seed=number,
            entries=[Entry(label="numpy", backend="numpy")],
            is_witnessed=True,
            turns=True,
            baseline="numpy",
            budget_s=60.0,
            timeout_s=300.0,
        )
        for number in range(PROVED)
    ]
    found = [e for e in LocalExecutor().run(blocks) if isinstance(e, CellFinished) and e.witness]
    anew = witnesses.Anew(workload, splits)
    try:
        taken, size = [], []
        for each in found:
            start, before = time.monotonic(), cpu_with_children()
            problem = anew.problem(each.result, each.witness)
            taken.append((time.monotonic() - start, cpu_with_children() - before))
            size.append(len(each.witness.before) + len(each.witness.after))
            if problem:
                sys.exit(f"a right part is not proved: {problem}")
    finally:
        anew.close()
    later = taken[1:]  # the first one has the judge started
    return {
        "blocks": len(later),
        "wall, ms": round(1e3 * median(wall for wall, _ in later)),
        "CPU, ms": round(1e3 * median(cpu for _, cpu in later)),
        "bytes": round(median(size)),
    }


def cpu_with_children() -> float:
    """Return the CPU time of this process and those that it has started, which run."""
    here = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (here, *here.children(recursive=True)))


def know_machines(run: Path, count: int) -> dict[str, Any]:
    """Return what it takes to write down, and to read, what is known of so many machines."""
    info = store.read_info(run)
    [some, *_] = info.machines.values()
    many = replace(info, machines={f"machine{number}": some for number in range(count)})
    with TemporaryDirectory() as folder:
        start = time.monotonic()
        store.rewrite(Path(folder), many)
        written = time.monotonic()
        store.read_info(Path(folder))
        read = time.monotonic()
        size = (Path(folder) / store.RUN).stat().st_size
    return {
        "machines": count,
        "bytes": size,
        "write, ms": round(1e3 * (written - start)),
        "read, ms": round(1e3 * (read - written)),
    }


def too_much(found: dict[str, Any]) -> list[str]:
    """Say what of a run is above its limit."""
    cpu = found["CPU a block, ms"]
    spent = {"wall": found["wall a block, ms"], "CPU": cpu["nnbench"] + cpu["scheduler"]}
    problems = [f"{n} of a block: {ms:.1f} ms" for n, ms in spent.items() if ms > 1e3 * LIMIT_S]
    ends = found[A_CELL]  # other programs change the wall time
    if ends["last cell"] > (1 + GROWTH) * ends["first cell"]:
        problems.append(f"{A_CELL} grows from {ends['first cell']} to {ends['last cell']}")
    return problems


def main() -> None:
    """Make the runs, and write down what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=500)
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--dry", action="store_true", help="write nothing down")
    options = parser.parse_args()
    found: dict[str, Any] = {"machines": options.machines, "blocks": options.blocks}
    wrong: list[str] = []
    with TemporaryDirectory() as scratch:
        kinds = (
            ("nothing shown", False, 1),
            ("on a terminal", True, 1),
            ("told often", False, OFTEN),
        )
        for name, is_live, messages in kinds:
            folder = Path(scratch, name.replace(" ", "-"))
            folder.mkdir()
            found[name] = watch(folder, options.blocks, options.machines, messages, is_live=is_live)
            print(f"{name}: {found[name]}", flush=True)  # noqa: T201 - a script
            wrong += [f"{name}: {problem}" for problem in too_much(found[name])]
        found[f"{MORE} machines"] = know_machines(folder / "run", MORE)
    found["a part proved once more"] = prove_again()
    found["wrong"] = wrong
    for name in (f"{MORE} machines", "a part proved once more", "wrong"):
        print(f"{name}: {found[name]}")  # noqa: T201 - a script
    if not options.dry:
        proofs.write("many_machines", found, "many-machines")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
