"""The schema of what crosses the pipe, as it was when ``records.PROTOCOL`` got its number.

``make documents`` records it in ``protocol.json``, but refuses to if an nnbench with the same number
would misread what is sent now: then the number has to be raised first.
"""

import json
import sys
from pathlib import Path

import msgspec

from nnbench.catalog.listings import Listing
from nnbench.records import PROTOCOL
from nnbench.records.runs import Environment
from nnbench.records.worker import Answer, Command

RECORD = Path(__file__).with_name("protocol.json")
SENT = {"workers are asked": Command, "workers answer": Answer}
PRINTED = {"list --json": Listing, "info --json": Environment}
PROSE = {"title", "description"}
#: What a value may be at most is checked by who reads it, and misread by nobody.
BOUNDS = {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "propertyNames"),
}


def current():
    """Return the number, and the schema of each of these with all types in it."""
    roots = SENT | PRINTED
    schemas, types = msgspec.json.schema_components(roots.values())
    whole = {name: expand(node, types) for name, node in zip(roots, schemas, strict=True)}
    return json.loads(json.dumps({"protocol": PROTOCOL, "schema": whole}))


def recorded():
    """Return what was recorded."""
    return json.loads(RECORD.read_text("utf-8"))


def expand(node, types, fields=False):
    """Put types in the place of their names, and leave out what is for readers only."""
    if isinstance(node, list):
        return [expand(each, types) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        rest = {key: value for key, value in node.items() if key != "$ref"}  # such as a default
        return expand({**types[name], **rest}, types)
    kept = {key: value for key, value in node.items() if fields or key not in PROSE}
    return {key: expand(value, types, key == "properties") for key, value in kept.items()}


def misread(old, new):
    """Return what an nnbench with the older schema would misread, or fail to read.

    It ignores fields that it does not know, and fills in those that have a default: a new one of these
    changes nothing for it.
    """
    pairs = ((name, old["schema"][name], new["schema"].get(name)) for name in old["schema"])
    return list(dict.fromkeys(path for pair in pairs for path in differences(*pair)))


def differences(path, before, after):
    """Return the places where two schemas differ in more than new fields with defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        return differences_of_objects(path, before, after)
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [each for one, other in pairs for each in differences(path, one, other)]
    return [] if before == after else [path]


def differences_of_objects(path, before, after):
    """Return the same of two objects, each a type with its fields, or something in one."""
    one, other = before.get("properties", {}), after.get("properties", {})
    demanded = set(before.get("required", [])) ^ set(after.get("required", []))
    shared = sorted(one.keys() & other.keys())
    found = [f"{path}.{name}" for name in sorted(demanded)]
    found += [x for name in shared for x in differences(f"{path}.{name}", one[name], other[name])]
    apart = {"properties", "required", *BOUNDS}
    rest = [{k: v for k, v in x.items() if k not in apart} for x in (before, after)]
    if rest[0].keys() != rest[1].keys():
        return [*found, path]
    return found + [x for key in rest[0] for x in differences(path, rest[0][key], rest[1][key])]


def record():
    """Write the schema of today down."""
    now = current()
    if RECORD.exists():
        old = recorded()
        if now["protocol"] == old["protocol"] and (changes := misread(old, now)):
            sys.exit(f"raise PROTOCOL in nnbench/records first: {', '.join(changes)}")
    RECORD.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    record()
