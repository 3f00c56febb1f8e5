"""What is wrong with an object that a plugin has made: each field is held against its type.

The annotations of the contract's classes say what a value may be, with the bounds of
:mod:`nnbench.contract.bounds`; so a field that is added is checked like the others. A hint that nothing here knows
is a TypeError of whoever wrote it.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from nnbench.contract.bounds import LARGEST

MOST_ITEMS = 1000  #: of a tuple or a mapping
LONGEST = 60  #: characters of a value that is shown
NOUNS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    NoneType: "None",
}
BOUNDS = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "min_length": "at least",
    "max_length": "at most",
}
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_short = reprlib.Repr()
_short.maxstring = _short.maxother = LONGEST


def of(item: object, kind: type, where: str = "") -> str | None:
    """Return what is wrong with the first field of an object that is not as its class says, or None.

    Parameters
    ----------
    item
        The object.
    kind
        The class: what is annotated in it, or in what it derives from, is a field.
    where
        How to call the object before its fields.
    """
    for name, hint in hints(kind).items():
        place = f"{where}.{name}" if where else name
        try:
            value = getattr(item, name)
        except Exception as error:  # noqa: BLE001 - a property of a plugin may raise anything
            return f"{place} is missing ({type(error).__name__}), and must be {words(hint)}"
        if found := find(value, hint, place):
            return found
    return None


@cache
def hints(kind: type) -> dict[str, Any]:
    """Return the types of the fields of a class, with their bounds."""
    return get_type_hints(kind, include_extras=True)


def find(value: object, hint: Any, where: str) -> str | None:
    """Return what is wrong with a value by its type, or None.

    Parameters
    ----------
    value, hint
        The value, and the type: a text, a number, a truth value, None, a literal, a class, a function, and unions,
        tuples of any length and mappings of these. Subclasses of texts and numbers do not fit, since others would read
        them otherwise; nor do numbers that are not finite, and texts that UTF-8 cannot hold. A list is as good as a tuple.
    where
        How to call the value.
    """
    hint = _without_prose(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if any(find(value, each, where) is None for each in arguments):
            return None
    elif origin is tuple and arguments[1:] == (...,):
        if isinstance(value, tuple | list):
            items = ((f"{where}[{number}]", each) for number, each in enumerate(value))
            return _too_many(value, where) or _first(items, arguments[0])
    elif origin is Mapping:
        if isinstance(value, Mapping):
            pairs = {**value}
            keys = ((f"a key of {where}", key) for key in pairs)
            items = ((f"{where}[{show(key)}]", each) for key, each in pairs.items())
            key_hint, item_hint = arguments
            return _too_many(pairs, where) or _first(keys, key_hint) or _first(items, item_hint)
    elif origin is Callable:
        if callable(value):
            return None
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return of(value, hint, where)
    elif _fits(value, hint):
        return None
    return f"{where} is {show(value)}, and must be {words(hint)}"


def _without_prose(hint: Any) -> Any:
    """Return a hint without what is only for readers; bounds are those of texts and numbers."""
    if get_origin(hint) is Annotated and get_args(hint)[0] not in NOUNS:
        return get_args(hint)[0]
    return hint


def _first(items: Any, hint: Any) -> str | None:
    return next((found for where, each in items if (found := find(each, hint, where))), None)


def _too_many(items: Any, where: str) -> str | None:
    if len(items) <= MOST_ITEMS:
        return None
    return f"{where} has {len(items):,} items, and must have at most {MOST_ITEMS:,}"


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is what a hint says that has no parts."""
    if get_origin(hint) is Literal:
        return any(type(value) is type(each) and value == each for each in get_args(hint))
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if kind not in NOUNS:
        return isinstance(value, kind)
    with suppress(UnicodeEncodeError, msgspec.ValidationError):
        if kind is float and type(value) is int and abs(value) <= LARGEST:
            value = float(value)
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            return False
        if kind is str:
            value.encode()
        if kind is not hint:
            msgspec.convert(value, hint)
        return True
    return False


def words(hint: Any) -> str:
    """Say what a value must be.

    Raises
    ------
    TypeError
        If nothing is known of such a hint.
    """
    hint = _without_prose(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(*arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(words, arguments)))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple and arguments[1:] == (...,):
        return f"a tuple, each item {words(arguments[0])}"
    if origin is Mapping:
        key, item = map(words, arguments)
        return f"a mapping, each key {key}, each value {item}"
    if origin is Callable:
        return "a function"
    if hint in NOUNS:
        return NOUNS[hint]
    if isinstance(hint, type):
        return f"of the class {hint.__name__}"
    raise TypeError(f"nothing checks whether a value is {hint}")


def _bounded(kind: type, *metas: msgspec.Meta) -> str:
    """Say what a text or a number must be; a pattern is told by its description."""
    if told := [meta.description for meta in metas if meta.pattern and meta.description]:
        return told[0]
    bounds = [
        f"{word} {limit:,}" if isinstance(limit, int) else f"{word} {limit:g}"
        for meta in metas
        for name, word in BOUNDS.items()
        if (limit := getattr(meta, name)) is not None
    ]
    unit = " characters" if kind is str and bounds else ""
    return ", ".join([NOUNS[kind], *filter(None, [" and ".join(bounds)])]) + unit


def show(value: object) -> str:
    """Write a value in a line of bearable length, whatever it is, and the same in every process."""
    try:
        text = _short.repr(value)
    except Exception:  # noqa: BLE001 - its repr may raise anything
        text = f"of the class {type(value).__name__}"
    return " ".join(ADDRESS.sub("", text).split())
