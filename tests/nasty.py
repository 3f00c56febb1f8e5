"""JSON in which something is not as it should be: any value of it replaced, or left out."""

import json
import os

from hypothesis import strategies as st

#: More of them for who asks: NNBENCH_EXAMPLES=2000 python -m pytest -k nasty.
EXAMPLES = int(os.environ.get("NNBENCH_EXAMPLES", "0"))
TEXT = (
    "::error::<img src=x onerror=alert(1)>\r\n::warning::\x1b[31m\x1b]8;;http://e\x07x"
    "|`*_~ ##[group] \u202e \x00=1"
)
DEEP = 100_000
HOLE = "\ue000"  # what stands for a value until all is written begins and ends with it
MISSING = "missing"  #: the name of no value at all
VALUES = {
    "one less": "-1",
    "nothing": "0",
    "one": "1",
    "a half": "0.5",
    "negative zero": "-0.0",
    "hardly anything": "5e-324",
    "next to nothing": "1e-300",
    "a small time": "1e-9",
    "the largest count": "1000000000000000",
    "the largest time": "1e15",
    "beyond a count": "1000000000000001",
    "beyond 64 bits": str(2**70),
    "the largest signed": str(2**63 - 1),
    "beyond a float": "9" * 400,
    "beyond an integer": "9" * 5000,
    "nearly infinite": "1e308",
    "infinite": "1e400",
    "true": "true",
    "null": "null",
    "empty": '""',
    "letter": '"x"',
    "nasty": json.dumps(TEXT),
    "braces": '"{0} {x} %s"',
    "formula": '"=1+1"',
    "long": json.dumps("a" * 5000),
    "too long": json.dumps("a" * 2_000_000),
    "half a character": '"\\ud800"',
    "list": "[]",
    "table": "{}",
    "list of a list": "[[[]]]",
    "numbers": "[1, -1, 1e300, 0]",
    "deep": "[" * DEEP + "]" * DEEP,
    "deep table": '{"a":' * DEEP + "1" + "}" * DEEP,
}


def paths(value, path=()):
    """Yield the path of every value in a document, the document itself first."""
    yield path
    match value:
        case dict():
            for key, each in value.items():
                yield from paths(each, (*path, key))
        case list():
            for index, each in enumerate(value):
                yield from paths(each, (*path, index))


def replaced(value, path, new):
    """Return a document with another value at a path; None leaves it out."""
    if not path:
        return new
    key, *rest = path
    changed = value.copy()
    if new is None and not rest:
        del changed[key]
    else:
        changed[key] = replaced(value[key], rest, new)
    return changed


def written(document, changes, values=VALUES):
    """Return a document, as bytes, after changes: a path, and the name of its new value or MISSING."""
    holes: dict[str, str] = {}
    for path, name in changes:
        hole = None if name == MISSING else f"{HOLE}{len(holes)}{HOLE}"
        document = replaced(document, path, hole)
        if hole:
            holes[json.dumps(hole, ensure_ascii=False)] = values[name]
    text = json.dumps(document, ensure_ascii=False)
    for hole, value in holes.items():
        text = text.replace(hole, value)
    return text.encode()


@st.composite
def mutations(draw, document, values=VALUES):
    """Draw a document, as bytes, in which one value is another one, or is missing."""
    path = draw(st.sampled_from([*paths(document)]))
    name = draw(st.sampled_from([*values, MISSING] if path else [*values]))
    return written(document, [(path, name)], values)
