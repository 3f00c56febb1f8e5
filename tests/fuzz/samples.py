"""Runs that are fine: one of the toy with its states, one of the oldest version, and one that knows accuracies."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from nnbench.runs import store

TESTS = Path(__file__).parents[1]
KEPT = TESTS / "fuzz" / "kept"
SAMPLES = {
    "kept": KEPT,
    "oldest": TESTS / "nnbench" / "cli" / "versions" / "1",
    "wide": TESTS.parent / "results" / "wide",
}
MOST_CELLS = 10  #: of a sample; each takes its time to be read


@cache
def read(name: str) -> tuple[bytes, list[bytes]]:
    """Return ``run.json`` and the first lines of ``cells.jsonl``."""
    folder = SAMPLES[name]
    cells = (folder / store.CELLS).read_bytes().splitlines()
    return (folder / store.RUN).read_bytes(), cells[:MOST_CELLS]


def write(name: str, folder: Path) -> Path:
    """Write a sample to a folder, and return it."""
    folder.mkdir()
    run, cells = read(name)
    (folder / store.RUN).write_bytes(run)
    (folder / store.CELLS).write_bytes(b"".join(line + b"\n" for line in cells))
    if name == "kept":
        shutil.copytree(KEPT / "states", folder / "states")
    return folder
