"""A case: what nnbench is given, what is known of that beforehand, and what must not come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nnbench.cli import main
from nnbench.contract.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    KeyPath = tuple[str | int, ...]

LONGEST_LINE = 20_000  #: characters that anyone may be told at once
START = "nnbench: "  #: of every line on standard error
SIGNAL = 128  #: and above: what a signal comes to
ANSWERS = {code for code in ExitCode if code < SIGNAL} - {ExitCode.INTERNAL} | {
    ExitCode.INTERRUPTED
}
CONTROL = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e"} - {"\n"}
FOLDER = "{folder}"  #: in a value of a variable: where the case is


class Expected(StrEnum):
    """What is known of a case beforehand."""

    BAD = "bad"  #: for sure: to end with 0 is to have overlooked it
    FINE = "fine"  #: for sure: to end with anything else is to have refused what is right
    EITHER = "either"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What nnbench is given, in a folder that has the files for it.

    Parameters
    ----------
    words
        Of the command, without ``nnbench``.
    about
        What is wrong with the input, in words.
    expected
        What is known of it.
    variables
        Of the environment, besides the usual ones; FOLDER stands for the folder.
    entry
        What is called in a process that has many cases.
    here, there
        Whether it can be tried in such a process, and in one of its own.
    look
        Finds what else is wrong with what was printed; None is nothing.
    """

    words: Sequence[str]
    about: str
    expected: Expected = Expected.EITHER
    variables: Mapping[str, str] = field(default_factory=dict)
    entry: Callable[[], object] = main
    here: bool = True
    there: bool = True
    look: Callable[[str], str | None] = lambda _: None

    @property
    def prints_data(self) -> bool:
        """Whether what it prints may be for a program to read, which other formats take care of."""
        return bool({"export", "json", "-"} & {word.rpartition("=")[2] for word in self.words})


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    code: int | None  #: None: it was ended
    output: str = ""
    errors: str = ""
    ended: str = ""  #: how


def problem(case: Case, done: Outcome) -> str | None:
    """Return what is wrong with how a case ended, or None."""
    lines = done.errors.splitlines()
    if done.ended:
        return done.ended
    if "Traceback (most recent call last)" in done.errors:
        return "it ended with a traceback"
    if done.code not in ANSWERS:
        return f"it ended with {done.code}, which is no answer to any input"
    if case.expected is Expected.BAD and done.code == ExitCode.OK:
        return "it ended with 0, though its input is bad"
    if case.expected is Expected.FINE and done.code != ExitCode.OK:
        return f"it ended with {done.code}, though its input is fine"
    if done.code == ExitCode.USAGE:
        if done.output:
            return "it was refused, and has printed something"
        if not lines or not lines[-1].startswith(f"{START}error: "):
            return "it was refused, and the last line is no error"
        if others := [line for line in lines if not line.startswith(START)]:
            return f"it was refused, and a line is not nnbench's: {others[0]!r}"
    if found := CONTROL & {*done.errors, *("" if case.prints_data else done.output)}:
        return f"a terminal would obey {sorted(found)}"
    if len(max(lines, key=len, default="")) > LONGEST_LINE:
        return f"a line has more than {LONGEST_LINE:,} characters"
    return case.look(done.output)


def disagreement(here: Outcome, there: Outcome) -> str | None:
    """Return how a process of its own differs from one that had other cases before, or None."""
    if here.code != there.code:
        return f"it ended with {there.code} in a process of its own, and with {here.code} elsewhere"
    if here.code == ExitCode.USAGE:
        ends = [done.errors.splitlines()[-1:] for done in (here, there)]
        if ends[0] != ends[1]:
            return f"a process of its own says {ends[1]}, and another one {ends[0]}"
    return None


def somewhere(random: Random, document: Any) -> KeyPath:
    """Draw a path into a document: a list of thousands counts no more than what stands beside it."""
    path: KeyPath = ()
    while isinstance(document, (dict, list)) and document and random.random() > 0.1:
        key: Any = random.choice(
            [*document] if isinstance(document, dict) else range(len(document))
        )
        path, document = (*path, key), document[key]
    return path


def few(random: Random) -> int:
    """Draw how many mistakes there are: mostly one, since the first hides the others."""
    return random.choice((1, 1, 1, 1, 2, 3))
