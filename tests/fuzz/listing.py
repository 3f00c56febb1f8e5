"""Many plugins in one distribution, as the process lists them that a run relies on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.fuzz.case import FOLDER, Case, Expected
from tests.fuzz.plugins import FOLDERS, IMPORTS, METADATA, module, write

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

COUNT = 30  #: of plugins


def make(random: Random, folder: Path) -> Case:
    """Write many plugins, and hold what is listed against what is known of each."""
    made = {f"mine{number}": module(random, f"mine{number}", IMPORTS) for number in range(COUNT)}
    names = "".join(f"{name} = {name}\n" for name in made)
    texts = {name: each.text for name, each in made.items()}
    write(folder, texts, f"[nnbench]\n{names}", "mine-1.0.dist-info", METADATA)

    def look(output: str) -> str | None:
        there = {each["name"]: each["unavailable"] for each in json.loads(output)["backends"]}
        for name, each in made.items():
            is_offered = name in there and there[name] is None
            if each.expected is Expected.BAD and is_offered:
                return f"{name} is offered, of which {each.about}"
            if each.expected is Expected.FINE and not is_offered:
                return f"{name} is fine, and not offered"
        return None

    return Case(
        words=["list", "--json"],
        about=f"{COUNT} plugins in one distribution",
        expected=Expected.FINE,
        variables={"PYTHONPATH": f"{FOLDER}/{FOLDERS}"},
        here=False,
        look=look,
    )
