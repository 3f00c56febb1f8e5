"""Names that users type: what can be one, and what was meant by one that is unknown."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, TypeVar

from nnbench.catalog.listings import describe
from nnbench.contract.errors import NnbenchError
from nnbench.records.cells import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nnbench.catalog.listings import Plugin

NOT = "no:"
ALL = "all"  #: what users type for every backend but those that are ``named_only``
LONGEST_NAME = 100  #: characters: it stands in tables, and in the names of files
RESERVED = {"backends": ALL, "executors": LOCAL}  #: names that stand for something else
#: What no name may hold, since users type more than a name there; nor may one be empty, or start as an option does.
_MARKS = re.compile(r"[\s,=@\[\]]")  # name[key=value],name; a name@variant is of a comparison
MARKS = {
    "backends": _MARKS,
    "executors": _MARKS,
    "plugins": re.compile(rf"[\s,]|^{NOT}"),  # in the environment variable
}
T = TypeVar("T")


def why_unselectable(kind: str, name: object) -> str | None:
    """Return why users could never select something by a name, or None."""
    if not isinstance(name, str) or not name:
        return "it has no name"
    if len(name) > LONGEST_NAME:
        return f"a name has at most {LONGEST_NAME} characters"
    if name == RESERVED.get(kind):
        return "this name stands for something else"
    if name.startswith("-") or not name.isprintable() or name != name.strip():
        return "a name has no blanks around it, no control characters, and no - at its start"
    if (marks := MARKS.get(kind)) and (found := marks.search(name)):
        return f"{found[0]!r} cannot be in its name: nobody could select it"
    return None


def find(kind: str, name: str, known: Mapping[str, T], among: Iterable[Plugin]) -> T:
    """Return what a name stands for that a user typed.

    Parameters
    ----------
    kind
        What it is called; its first word is that of what plugins list.
    name, known
        The name, and all that there are.
    among
        The plugins that may bring these.

    Raises
    ------
    NnbenchError
        If it is unknown; the message says which plugin that may bring it is left out, and why, or suggests the
        nearest name.
    """
    if name in known:
        return known[name]
    start, plural = f"no {kind} named {name!r}", f"{kind.partition(' ')[0]}s"
    thing = describe(plural, name)
    broken = [plugin for plugin in among if plugin.left_out]
    if named := [p for p in broken if any(each.thing == thing for each in p.left_out)]:
        raise NnbenchError(f"{start}: {_told(named, thing)}")
    if named := [p for p in broken if name in p.spellings]:
        raise NnbenchError(f"{start}: {_told(named)}")
    near = _nearest(name, known)
    hint = f"did you mean {near}? " if near else ""
    text = f"{start}; {hint}known: {', '.join(sorted(known))}"
    if not near and (may := suspects(plural, broken)):
        text = f"{text}; it may be brought by what could not be loaded: {_told(may)}"
    raise NnbenchError(text)


def _told(broken: Iterable[Plugin], thing: str = "") -> str:
    """Say why plugins are left out, or why one thing of each is."""
    return "; ".join(
        f"plugin {p.name!r} of {p.origin} is left out: {_reason(p, thing)}" for p in broken
    )


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return which name may have been meant: the first one of those that are most like it."""

    def likeness(each: str) -> float:
        return difflib.SequenceMatcher(None, each, name).ratio()

    near = difflib.get_close_matches(name, known, n=1)
    return max(sorted(known), key=likeness) if near else None


def _reason(plugin: Plugin, thing: str) -> str:
    own = (str(each) for each in plugin.left_out if thing and each.thing == thing)
    return next(own, plugin.why_left_out)


def suspects(kind: str, known: Iterable[Plugin]) -> list[Plugin]:
    """Return the plugins that bring nothing of a kind, and are left out for a fault: nobody knows what they would bring."""
    return [
        plugin
        for plugin in known
        if plugin.left_out
        and not any(problem.wanted for problem in plugin.left_out)
        and not plugin.brings.get(kind)
    ]
