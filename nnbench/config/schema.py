"""What the files may say: JSON Schemas made from their records, which editors use and so do we.

:func:`convert` turns a document into its record, or says in one line what is wrong, and where.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from nnbench.config.documents import shorten
from nnbench.config.run_table import EFFORTS, OPTIONS, RunTable
from nnbench.data.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nnbench.config.documents import Document, KeyPath
    from nnbench.contract.errors import ConfigError

Node = dict[str, Any]  #: a schema, or a part of one
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES = {  #: kind: its record and its title
    "config": (RunTable, "A run of nnbench"),
    "workload": (Workload, "A workload of nnbench"),
}
FULL = "full"  #: how a file writes a batch of the whole training split; TOML has no null
OPTIONAL = {"name", "summary"}  #: fields of a Workload that a file may leave out
T = TypeVar("T")
LONGEST = 60  #: characters of a value that an error shows
PLACE = re.compile(r" - at `\$(.*)`$")  # how msgspec ends its messages
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
NOUNS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "a table",
}
BOUNDS = {
    "minimum": "from {:,}",
    "exclusiveMinimum": "above {:,}",
    "maximum": "up to {:,}",
    "exclusiveMaximum": "below {:,}",
    "minLength": "of {} or more characters",
    "maxLength": "(at most {:,})",
    "minItems": "of {} or more items",
}


def make(kind: str) -> Node:
    """Return the JSON Schema (draft 2020-12) of a ``config`` or a ``workload`` file."""
    record, title = FILES[kind]
    [root], tables = msgspec.json.schema_components([record])
    for key, option in OPTIONS.items() if record is RunTable else ():
        tables[RunTable.__name__]["properties"][key]["description"] = option.description
    for table in tables.values():
        table["additionalProperties"] = False
        if "description" in table:  # it is a docstring, which python -OO leaves out
            table["description"] = table["description"].partition("\n")[0]
        table["properties"] = {k: _without_null(v) for k, v in table["properties"].items()}
    if record is RunTable:
        *_, parameters = tables[RunTable.__name__]["properties"]["executor"]["anyOf"]
        parameters["required"] = ["name"]
    workload = tables[Workload.__name__]
    size = workload["properties"]["batch_size"]
    number = {key: size.pop(key) for key in ("type", "minimum", "maximum")}
    size["anyOf"] = [number, {"enum": [FULL]}]
    workload["required"] = [key for key in workload["required"] if key not in OPTIONAL]
    return {"$schema": DIALECT, "title": title, **root, "$defs": tables}


def _without_null(node: Node) -> Node:
    """Drop the null of an optional field: a file just leaves it out."""
    kinds = [kind for kind in node.get("anyOf", []) if kind != {"type": "null"}]
    if not kinds:
        return node
    kept = {k: v for k, v in node.items() if (k, v) != ("default", None) and k != "anyOf"}
    return kept | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


class Item(NamedTuple):
    """A value in a document, and what the schema says of it."""

    value: Any
    options: list[Node]  #: schemas of which one must fit; none for an unknown key
    siblings: list[str]  #: the keys that are known beside it


def convert(document: Document, kind: str, table: Mapping[str, Any], record: type[T]) -> T:
    """Return the record that a document holds.

    ``table`` is what to convert: the document's own table, with what a file may write otherwise
    replaced.

    Raises
    ------
    ConfigError
        At a key that is unknown, or a value that does not fit.
    """
    items = dict(_walk(make(kind), document.table))
    for path, item in items.items():
        if not item.options:
            *parents, key = path
            where = f" in [{spell(parents)}]" if parents else ""
            flag = key in EFFORTS and "effort" in item.siblings
            hint = f'; write effort = "{key}"' if flag else ""
            named = repr(shorten(str(key), LONGEST))
            text = f"unknown key {named}{where}{hint}; known: {', '.join(item.siblings)}"
            raise document.error(path, text)
        if isinstance(item.value, float | int) and not _is_finite(item.value):
            raise document.error(path, f"{spell(path)} must be finite, not {show(item.value)}")
    try:
        return msgspec.convert(table, record)
    except msgspec.ValidationError as error:
        raise _misfit(document, items, str(error)) from error


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float can be
        return False


def _walk(root: Node, table: dict[str, Any]) -> Iterator[tuple[KeyPath, Item]]:
    """Yield everything in a document with its path, from the root down."""

    def options(node: Node) -> list[Node]:
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rpartition("/")[2]]
        return [x for part in node["anyOf"] for x in options(part)] if "anyOf" in node else [node]

    def walk(path: KeyPath, item: Item) -> Iterator[tuple[KeyPath, Item]]:
        yield path, item
        for option in item.options:
            if isinstance(item.value, dict) and "properties" in option:
                known = option["properties"]
                for key, value in item.value.items():
                    fitting = options(known[key]) if key in known else []
                    yield from walk((*path, key), Item(value, fitting, list(known)))
            elif isinstance(item.value, list) and "items" in option:
                for index, value in enumerate(item.value):
                    yield from walk((*path, index), Item(value, options(option["items"]), []))

    return walk((), Item(table, options(root), []))


def _misfit(document: Document, items: Mapping[KeyPath, Item], message: str) -> ConfigError:
    place = PLACE.search(message)
    steps = STEP.findall(place[1]) if place else []
    path = tuple(key or int(index) for key, index in steps)
    value, options, _ = items[path]
    name = spell(path) or "the file"
    if isinstance(value, dict):
        for option in options:
            if missing := [key for key in option.get("required", []) if key not in value]:
                where = f" in [{name}]" if path else ""
                return document.error(path, f"missing{where}: {', '.join(missing)}")
    expected = " or ".join(spell_type(option) for option in options)
    return document.error(path, f"{name} must be {expected}, not {show(value)}")


def spell(path: KeyPath | list[str | int]) -> str:
    """Write a path as in TOML: ``workload.hidden[0]``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def spell_type(node: Node) -> str:
    """Say in words what a value must be; ``node`` is a schema without references."""
    if "enum" in node:
        return " or ".join(map(show, node["enum"]))
    bounds = (text.format(node[key]) for key, text in BOUNDS.items() if key in node)
    text = " ".join([NOUNS[node["type"]], *bounds])
    return f"{text}, each {spell_type(node['items'])}" if "items" in node else text


def show(value: object) -> str:
    """Write a value as in TOML, within bounds."""
    try:
        text = (
            str(value)
            if isinstance(value, float)
            else json.dumps(value, ensure_ascii=False, default=str)
        )
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = "a number of thousands of digits"
    return shorten(text, LONGEST)
