"""What studies of the proof share: runs that can be gone on with, and counts of their cells.

Runs lie below ``out/``, so that a second call goes on where the first was stopped; what is counted is
written below ``results``, with the machine and the versions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnbench import catalog
from nnbench.contract.errors import ExitCode
from nnbench.execution import machine, supervisor
from nnbench.records.cells import Status
from nnbench.runs import store
from tests.cells import read_final
from tests.plugins.helpers import EXAMPLE, NNBENCH, environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnbench.records.cells import CellResult

RAW = Path("out", "proof")
RESULTS = Path("results")
#: A study wants to see what is invalid, and a backend may be unable to train a workload.
FINE = {ExitCode.OK, ExitCode.ACCURACY, ExitCode.BACKEND_FAILED}
DEVIATIONS = ("loss", "displacement", "first", "second")


def run(name: str, *arguments: object) -> list[CellResult]:
    """Make a run, or go on with it; return the cells that count."""
    folder = RAW / name
    asked = ["--resume", folder] if (folder / store.RUN).exists() else [*arguments, "-o", folder]
    command = [*NNBENCH, "run", "--no-progress", *map(str, asked)]
    env = environment("cheats", EXAMPLE, **{supervisor.SHARED: ""})
    done = subprocess.run(command, env=env, stdout=sys.stderr, check=False)
    if done.returncode not in FINE:
        sys.exit(f"{' '.join(command)}: ended with {done.returncode}")
    return read_final(folder)


def is_found(cell: CellResult) -> bool:
    """Say whether a cell was found wrong."""
    return cell.status in {Status.INVALID, Status.DIVERGED, Status.CRASHED}


def count(cells: Iterable[CellResult]) -> dict[str, dict[str, Any]]:
    """Return by backend how many cells ended how, and the largest deviations of their proofs."""
    by_backend = defaultdict(list)
    for cell in cells:
        by_backend[cell.backend].append(cell)
    return {name: describe(found) for name, found in sorted(by_backend.items())}


def describe(cells: list[CellResult]) -> dict[str, Any]:
    """Return what the cells of a backend come to."""
    proofs = [cell.proof for cell in cells if cell.proof]
    deviations = [asdict(proof.deviations) for proof in proofs]
    return {
        "cells": len(cells),
        "status": dict(Counter(cell.status.value for cell in cells)),
        "found": sum(map(is_found, cells)),
        "steps_proved": sum(proof.proved for proof in proofs),
        "steps_trained": sum(proof.trained for proof in proofs),
        "flips": sum(proof.flips for proof in proofs),
        "largest": {n: largest(each[n] for each in deviations) for n in DEVIATIONS},
        "messages": sorted({cell.message for cell in cells if cell.message}),
    }


def largest(values: Iterable[float | None]) -> float | None:
    """Return the largest; None is not finite, and beyond all."""
    found = [*values]
    return None if None in found else max((each for each in found if each), default=0.0)


def write(name: str, findings: object, folder: str = "proof", study: str = "") -> None:
    """Write what a study has found, with the machine and the versions; it is named as its file, or else."""
    libraries = {each for backend in catalog.backends().values() for each in backend.libraries}
    content = {
        "command": f"python -m tests.studies.{study or name} {' '.join(sys.argv[1:])}".strip(),
        "environment": asdict(machine.examine(libraries)),
        "found": findings,
    }
    path = RESULTS / folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
