"""What git knows of the revisions that runs were made at, in the repository of the working directory."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from nnbench.contract.errors import NnbenchError

if TYPE_CHECKING:
    from collections.abc import Iterable

REVISION = re.compile(r"[0-9a-f]{4,64}")  #: nothing else of a record is handed to git
DIRTY = "-dirty"
PATIENCE_S = 60.0


class Commit(NamedTuple):
    """A commit, in a few words."""

    revision: str  #: short
    subject: str


def ask(*words: str, given: Iterable[str] = ()) -> str | None:
    """Return what git says; None if it is not there, there is no repository, or it does not know."""
    command = ["git", "--no-pager", "-c", "log.showSignature=false", *words]
    content = "".join(f"{line}\n" for line in given).encode()
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, input=content, timeout=PATIENCE_S
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def clean(state: str | None) -> str:
    """Return the commit of a recorded state, without whether files had changed; empty is none."""
    commit = (state or "").removesuffix(DIRTY)
    return commit if REVISION.fullmatch(commit) else ""


def resolve(revisions: Iterable[str]) -> dict[str, str]:
    """Return the whole names of those commits that the repository has."""
    asked = [each for each in dict.fromkeys(revisions) if REVISION.fullmatch(each)]
    said = ask("cat-file", "--batch-check=%(objectname) %(objecttype)", given=asked) or ""
    pairs = zip(asked, said.splitlines(), strict=False)
    return {each: line.split()[0] for each, line in pairs if line.endswith(" commit")}


def order(revisions: Iterable[str]) -> dict[str, int]:
    """Return the places of commits, named whole, in the history that leads to all of them."""
    said = ask("rev-list", "--topo-order", "--reverse", "--stdin", given=revisions) or ""
    return {commit: place for place, commit in enumerate(said.split())}


def find(revision: str) -> str | None:
    """Return the whole name of a commit that a user names; None if the repository has none of that name."""
    if revision.startswith("-"):
        return None
    said = ask("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return said.strip() if said else None


def ancestors(commit: str) -> set[str]:
    """Return all commits that lead to one, named whole, without itself."""
    return {*(ask("rev-list", commit) or "").split()} - {commit}


def between(old: str, new: str) -> list[Commit] | None:
    """Return the commits that a revision has beyond another, the newest first; None if git cannot say.

    Raises
    ------
    NnbenchError
        If they are no commits.
    """
    if not (REVISION.fullmatch(old) and REVISION.fullmatch(new)):
        raise NnbenchError(f"{old!r} and {new!r} are no commits")
    said = ask("log", "--no-color", "--format=%h%x00%s", f"{old}..{new}", "--")
    if said is None:
        return None
    return [Commit(*line.split("\0", 1)) for line in said.split("\n") if "\0" in line]
