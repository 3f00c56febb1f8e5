"""Change one thing at a time in the modules of [tool.mutmut], and see whether a test fails.

A change that no test notices is a mistake that nobody would notice either. It is listed, unless
survivors.toml says why it may survive. This ends with 1 if something is listed, or if an entry of
that file is not needed any more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MUTMUT = Path(sys.executable).with_name("mutmut")
NOTICED = {"killed", "timeout", "segfault"}
HANDED_ON = {"NNBENCH_INHERIT": "MUTANT_UNDER_TEST"}  #: workers are mutants, too
ANY = "*"  #: of an entry without changes: all those of its functions


def config() -> dict[str, Any]:
    """Return what mutmut is told."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return found["tool"]["mutmut"]  # type: ignore[no-any-return]  # as TOML has it


def survivors() -> list[dict[str, Any]]:
    """Return the groups of mutants that may survive, each with its reason."""
    text = Path(__file__).with_name("survivors.toml").read_text("utf-8")
    return tomllib.loads(text)["survivor"]  # type: ignore[no-any-return]  # likewise


def mutmut(*arguments: str) -> str:
    """Run mutmut in the repository and return what it prints."""
    done = subprocess.run(
        [MUTMUT, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def function_of(mutant: str) -> str:
    """Return the dotted name of the function that was changed."""
    name = re.sub(r"__mutmut_\d+$", "", mutant)
    module, _, function = name.rpartition(".")
    return f"{module}.{function.removeprefix('x').strip('ǁ').removeprefix('_').replace('ǁ', '.')}"


def change_of(mutant: str) -> str:
    """Return the lines that the change brings, or, after a minus, those that it takes away."""
    lines = [line for line in mutmut("show", mutant).splitlines() if line[:3] not in {"---", "+++"}]
    gone, there = ([" ".join(line[1:].split()) for line in lines if line[:1] == c] for c in "-+")
    return " ".join(there) if len(there) >= len(gone) else "- " + " ".join(gone)


def main() -> int:
    """Make the mutants, and report those that survive without a reason."""
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)  # else mutmut keeps what old tests said
    command = [MUTMUT, "run", *sys.argv[1:]]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | HANDED_ON, check=False)
    if done.returncode:
        return done.returncode  # it has said why
    reasons = {
        (function, change)
        for entry in survivors()
        for function in entry["functions"]
        for change in entry.get("changes", [ANY])
    }
    ends: defaultdict[str, Counter[str]] = defaultdict(Counter)
    used, unexplained = set(), []
    for line in mutmut("results", "--all", "true").splitlines():
        mutant, status = line.strip().split(": ")
        if status == "not checked":  # arguments have chosen others
            continue
        end = "killed"
        if status not in NOTICED:
            function = function_of(mutant)
            change = ANY if (function, ANY) in reasons else change_of(mutant)
            end = "survived with a reason"
            if (function, change) in reasons:
                used.add((function, change))
            else:
                end = "survived"
                unexplained.append((status, function, change))
        ends[mutant.partition(".x")[0]][end] += 1
    write = sys.stdout.write
    for module, counts in sorted(ends.items()):
        text = ", ".join(f"{count} {end}" for end, count in sorted(counts.items()))
        write(f"{module}: {counts.total()} mutants, {text}\n")
    for status, function, change in unexplained:
        write(f"{status}: {function}\n    {change}\n")
    unused = set() if sys.argv[1:] else reasons - used
    for function, change in sorted(unused):
        write(f"no longer survives: {function}\n    {change}\n")
    return bool(unexplained or unused)


if __name__ == "__main__":
    sys.exit(main())
