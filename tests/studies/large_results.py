"""Is nnbench still quick on a run of 10,000 cells? Make one, and time the commands that read it.

``python -m tests.studies.large_results`` writes what ``nnbench run --quick --rounds 1000`` of ten
backends would leave: one epoch of MNIST in each cell, with all 938 losses and five repeats of each
phase (100 MB). ``--epochs 5`` makes it what the default workload leaves (500 MB), ``--parts 30`` what
cells leave that trained in turns: so many parts of each epoch. Then each command
runs in a process of its own; its wall time, its CPU time and its peak memory are printed, and the
study ends with 1 if the time or the memory is above the limits.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from nnbench.figures import metrics
from nnbench.records.cells import (
    CellResult,
    Deviations,
    Epoch,
    Part,
    Phases,
    Proof,
    Setup,
    Status,
    now,
)
from nnbench.runs import planning, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnbench.records.runs import RunInfo

SECONDS, GIGABYTES = 15.0, 1.0
STEPS, IMAGES, STEP_US = 938, 60_000, 200.0
COMMANDS = [
    "show {run}",
    "show {run} --format json",
    "compare {run} {run}",
    "export {run} --to parquet -o {out}",
    "export {run} --to csv -o {out}",
    "export {run} --to pytest-benchmark -o {out}",
    "export {run} --to github-action-benchmark -o {out}",
    "export {run} --to bencher -o {out}",
    "export {run} --to junit -o {out}",
    "export {run} --to step-summary -o {out}",
    "plot {run} -f rounds -o {out}.svg",
    "report {run} -o {out}",
]


def main() -> int:
    """Make the run, time the commands, and return 1 if one is beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--parts", type=int, default=0, help="of each epoch; 0 is of cells as before turns"
    )
    parser.add_argument("--run", type=Path, help="write the run here, and keep it")
    parser.add_argument("commands", nargs="*", default=COMMANDS, help="such as 'show {run}'")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = options.run or Path(scratch, "run")
        if not (run / store.RUN).exists():
            write(run, options.backends, options.rounds, options.epochs, options.parts)
        megabytes = (run / store.CELLS).stat().st_size / 1e6
        print(f"{options.backends * options.rounds:,} cells, {megabytes:,.0f} MB")  # noqa: T201 - a script
        measured = [
            measure(text.format(run=run, out=Path(scratch, "out")).split())
            for text in options.commands
        ]
    return int(any(s > SECONDS or g > GIGABYTES for s, g in measured))


def write(folder: Path, backends: int, rounds: int, epochs: int, parts: int) -> None:
    """Write a run whose backends differ by 10% from one to the next, with 2% of noise."""
    names = [f"backend-{number}" for number in range(backends)]
    store.create(folder, describe(names, rounds, epochs))
    with (folder / store.CELLS).open("wb") as file:
        for result in cells(names, rounds, epochs, parts):
            file.write(msgspec.json.encode(result) + b"\n")


def describe(names: Sequence[str], rounds: int, epochs: int) -> RunInfo:
    """Return what such a run would have been asked."""
    info, *_ = planning.plan(
        command="nnbench run",
        backends=["numpy"],
        workload="mnist",
        overrides={"epochs": epochs},
        rounds=rounds,
        seed=0,
        threads=1,
        budget=15.0,
        timeout=300.0,
        baseline=None,
    )
    return replace(info, backends=dict.fromkeys(names, "made"), baseline=names[0])


def cells(names: Sequence[str], rounds: int, epochs: int, parts: int = 0) -> Iterator[CellResult]:
    """Yield the cells in the order in which they would have run."""
    rng = np.random.default_rng(0)
    for round_ in range(rounds):
        for position, number in enumerate(rng.permutation(len(names)).tolist()):
            pace = STEP_US * 1.1**number
            made = [epoch(each, pace, rng) for each in range(1, epochs + 1)]
            if parts:
                made = [replace(each, parts=turns(each, parts, rng)) for each in made]
            yield cell(names[number], round_, position, made, pace, rng)


def turns(whole: Epoch, count: int, rng: np.random.Generator) -> list[Part]:
    """Return parts of an epoch, each in a turn of its own, with what is kept of a part."""
    train_s = (whole.train_s / count * rng.normal(1, 0.05, count)).tolist()
    first = (whole.number - 1) * count
    return [
        Part(
            images=IMAGES // count,
            train_s=seconds,
            turn=first + number,
            state=rng.bytes(32).hex(),
            optimizer_steps=first + number,
            wall_s=seconds + 1e-3,
            cpu_s=seconds,
            late_s=0.0,
            waited_s=0.0,
            dump_s=1e-3,
            dump_cpu_s=1e-3,
            threads=1,
            lead_images=64,
            lead_s=3e-3,
        )
        for number, seconds in enumerate(train_s)
    ]


def cell(
    name: str,
    round_: int,
    position: int,
    epochs: list[Epoch],
    pace_us: float,
    rng: np.random.Generator,
) -> CellResult:
    """Return a finished cell; its losses fall as those of MNIST do."""
    setup = Setup(
        setup_s=rng.normal(0.2, 0.01),
        transfer_s=rng.normal(0.5, 0.01),
        warmup_s=rng.normal(0.3, 0.01),
        epoch_images=IMAGES,
        parameters=39_760,
        thread_pools={"libscipy_openblas64_-32a4b2a6.so": 1},
        operations=159_800.0,
    )
    repeats = {
        name: rng.normal(share * pace_us, 1.0, 5).tolist()
        for name, share in zip(
            (phase.field for phase in metrics.PHASES), (0.05, 0.3, 0.4, 0.2), strict=True
        )
    }
    return CellResult(
        backend=name,
        workload="mnist",
        round=round_,
        seed=round_,
        threads=1,
        position=position,
        started=now(),
        wall_s=rng.normal(3.0, 0.1),
        status=Status.OK,
        setup=setup,
        epochs=epochs,
        phases=Phases(**repeats),
        peak_memory_bytes=int(rng.normal(5e8, 1e6)),
        complete=True,
        deviation=3e-7,
        tolerance=1e-4,
        changed=True,
        achieved_gflops=47.0,
        ceiling_gflops=100.0,
        proof=proof(len(epochs)),
    )


def proof(epochs: int) -> Proof:
    """Return what a judge would have found: all of the first epoch, and three parts."""
    steps = STEPS * epochs
    return Proof(
        mode="sampled",
        proved=min(steps, STEPS + 300),
        trained=steps,
        deviations=Deviations(loss=2e-7, displacement=3e-5, first=1e-6, second=1e-6),
        tolerance=Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5),
        flips=1,
    )


def epoch(number: int, pace_us: float, rng: np.random.Generator) -> Epoch:
    """Return one epoch."""
    steps = np.arange(STEPS) + (number - 1) * STEPS
    losses = 2.3 * np.exp(-steps / 100) + rng.uniform(0.1, 0.5, STEPS)
    train_s = pace_us * 1e-6 * STEPS * rng.normal(1, 0.02)
    return Epoch(
        number=number,
        images=IMAGES,
        train_s=train_s,
        losses=losses.round(6).tolist(),
        test_loss=0.12,
        accuracy=rng.normal(0.93 + 0.007 * number, 0.001),
        evaluate_s=0.01,
        cpu_s=train_s,
    )


def measure(arguments: Sequence[str]) -> tuple[float, float]:
    """Run a command; return and print its seconds and the gigabytes that it took at most."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "nnbench", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, gigabytes = time.perf_counter() - start, usage.ru_maxrss / 1e6  # kilobytes on Linux
    code = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    line = f"{seconds:5.1f} s (CPU {cpu:4.1f} s)  {gigabytes:.2f} GB  exit {code}"
    print(f"{line}  nnbench {' '.join(arguments)}", flush=True)  # noqa: T201 - a script
    return seconds, gigabytes


if __name__ == "__main__":
    sys.exit(main())
