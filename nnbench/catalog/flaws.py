"""What is wrong with what a plugin lists, and with what it raises, in a line.

Of a plugin with a fault as little as can be is left out: the one thing that it lists, if that has a field that is not as its type
says; else all that its hook lists; else the plugin. So a backend can be used whose neighbour is faulty. There is one
warning, which says what is at fault and what it must be; the same is said to who asks for what is left out.
"""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnbench.catalog.listings import Problem, describe, kinds
from nnbench.catalog.names import NOT, why_unselectable
from nnbench.contract import faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnbench.catalog.listings import Plugin

#: Environment variable: names of the plugins to load, or after ``no:`` of those not to load, with commas.
LIMIT = "NNBENCH_PLUGINS"
LONGEST = 1000  #: characters of what a plugin raises, or gives as a reason


def why_faulty(kind: str, item: object) -> str | None:
    """Return what is wrong with something that a plugin lists: with a field of it, or its name; or None."""
    expected = kinds()[kind]
    try:
        if not isinstance(item, expected):
            return f"it is {faults.show(item)}, and must be {faults.words(expected)}"
        return faults.of(item, expected) or why_unselectable(kind, item.name)
    except BaseException as error:  # noqa: BLE001 - whatever a property of a plugin raises
        let_through(error)
        return f"a field cannot be read: {shorten(error)}"


def name_of(item: object) -> object:
    """Return the name of something that a plugin lists; None if it has none."""
    try:
        return getattr(item, "name", None)
    except BaseException as error:  # noqa: BLE001 - as above
        let_through(error)
        return None


def clash(kind: str, name: str, plugin: Plugin, first: Plugin | None) -> Problem:
    """Say that something is left out, since its name is taken: by a plugin, or by what ships (None)."""
    if first is None:
        reason = "one of this name ships with nnbench"
    elif first == plugin:
        reason = "it is listed twice"
    else:
        reason = taken(first)
    return of(kind, name, reason)


def of(kind: str, name: object, reason: str) -> Problem:
    """Say why one thing is left out."""
    return Problem(thing=describe(kind, name), reason=reason)


def taken(first: Plugin) -> str:
    """Say that a plugin has a name, and how to have another one's instead."""
    how = f"{LIMIT}={shlex.quote(NOT + first.identity)} leaves out that one instead"
    return f"{first.origin} has one of this name; {how}"


def let_through(error: BaseException) -> None:
    """Raise again what may not be a plugin's fault: an interruption, where there may be one."""
    if not (_uninterrupted or isinstance(error, Exception | SystemExit)):
        raise error


_uninterrupted: list[None] = []  # holds one for each context


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within this context take whatever is raised for a plugin's fault: nobody stops this process by an exception."""
    _uninterrupted.append(None)
    try:
        yield
    finally:
        _uninterrupted.pop()


def shorten(error: BaseException) -> str:
    """Write an error in one line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - it may be a plugin's, too
        text = ""
    return in_a_line(": ".join(filter(None, [type(error).__name__, text])))


def in_a_line(text: str) -> str:
    """Write a text that a plugin has made in one line, of bearable length."""
    line = " ".join(text[: 2 * LONGEST].split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
