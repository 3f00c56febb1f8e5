"""The kinds of cases, and how one comes of its name: ``KIND:SEED:NUMBER``, which says all of it."""

from __future__ import annotations

import shutil
from random import Random
from typing import TYPE_CHECKING

from tests.fuzz import cli, events, idx, listing, plugins, runs, toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fuzz.case import Case

#: What makes a case of each kind, and how often, of all.
KINDS: dict[str, tuple[Callable[[Random, Path], Case], float]] = {
    "cli": (cli.make, 0.25),
    "runs": (runs.make, 0.31),
    "toml": (toml.make, 0.16),
    "idx": (idx.make, 0.10),
    "events": (events.make, 0.10),
    "plugins": (plugins.make, 0.078),
    "listing": (listing.make, 0.002),
}


def name(seed: int, number: int) -> str:
    """Return the name of a case by its number."""
    weights = [weight for _, weight in KINDS.values()]
    [kind] = Random(f"{seed}:{number}").choices([*KINDS], weights)
    return f"{kind}:{seed}:{number}"


def prepare(name: str, scratch: Path) -> tuple[Path, Case]:
    """Make a case in a folder of its own below another one, and return both."""
    above = scratch / "case"  # so that what it writes beside its folder is its own, too
    shutil.rmtree(above, ignore_errors=True)
    folder = above / "folder"
    folder.mkdir(parents=True)
    make, _ = KINDS[name.partition(":")[0]]
    return folder, make(Random(name), folder)
