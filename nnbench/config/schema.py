"""JSON Schemas of the files, made from their records; editors and the checks here use them."""

from __future__ import annotations

from typing import Any

import msgspec

from nnbench.config.run_table import RunTable
from nnbench.data.workloads import Workload

Node = dict[str, Any]  #: a schema, or a part of one
DIALECT = "https://json-schema.org/draft/2020-12/schema"
RECORDS = {"config": RunTable, "workload": Workload}
TITLES = {"config": "A run of nnbench", "workload": "A workload of nnbench"}
FULL = "full"  #: how a file writes a batch of the whole training split; TOML has no null
OPTIONAL = {"name", "summary"}  #: fields of a Workload that a file may leave out


def make(kind: str) -> Node:
    """Return the JSON Schema (draft 2020-12) of a ``config`` or a ``workload`` file."""
    [root], tables = msgspec.json.schema_components([RECORDS[kind]])
    for table in tables.values():
        table["additionalProperties"] = False
        table["description"] = table["description"].partition("\n")[0]
        table["properties"] = {k: _without_null(v) for k, v in table["properties"].items()}
    _loosen(tables[Workload.__name__])
    return {"$schema": DIALECT, "title": TITLES[kind], **root, "$defs": tables}


def _without_null(node: Node) -> Node:
    """Drop the null of an optional field: a file just leaves it out."""
    kinds = [kind for kind in node.get("anyOf", []) if kind != {"type": "null"}]
    if not kinds:
        return node
    kept = {k: v for k, v in node.items() if (k, v) != ("default", None) and k != "anyOf"}
    return kept | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


def _loosen(workload: Node) -> None:
    fields = workload["properties"]
    size = fields["batch_size"]
    number = {key: size.pop(key) for key in ("type", "minimum", "maximum")}
    size["anyOf"] = [number, {"enum": [FULL]}]
    workload["required"] = [key for key in workload["required"] if key not in OPTIONAL]
