"""Files of workloads and runs in which something is not as the schema has it, or that are no TOML."""

from __future__ import annotations

import json
import os
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from tests.fuzz.case import Case, Expected, few, somewhere

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"
WORKLOAD: dict[str, Any] = {
    "name": '"mine"',
    "summary": '"of my own"',
    "dataset": '"toy"',
    "hidden": "[5, 5]",
    "activation": '"sigmoid"',
    "loss": '"squared_error"',
    "bias": "false",
    "l2": "0.0",
    "optimizer": {"kind": '"sgd"', "learning_rate": "1.0"},
    "batch_size": '"full"',
    "epochs": "3",
    "validation": "0",
    "shuffle": "true",
    "initial": '"normal"',
}
RUN: dict[str, Any] = {
    "backends": '["numpy"]',
    "workload": WORKLOAD,
    "rounds": "2",
    "threads": "1",
    "seed": "5",
    "budget": "1.5",
    "timeout": "60",
    "proof": '"sampled"',
    "keep_states": "true",
    "baseline": '"numpy"',
    "output": '"out"',
}
#: Of each kind of file: what is in it, its schema, and the commands that read it.
FILES: dict[str, tuple[dict[str, Any], str, list[list[str]]]] = {
    "workload": (WORKLOAD, "workload", [["run", "--dry-run", "-b", "numpy", "-w"], ["info", "-w"]]),
    "run": (RUN, "nnbench", [["run", "--dry-run", "--config"]]),
}
NAME = "file.toml"
VALUES = [
    "-1",
    "0",
    "1",
    "0.5",
    "-0.0",
    "1e400",
    "nan",
    "-inf",
    "5e-324",
    "9" * 400,
    "9" * 5000,
    str(2**70),
    "0x10",
    "1_000",
    "0o7",
    "+1",
    "01",
    "1.",
    ".5",
    "true",
    "yes",
    "null",
    "",
    "=",
    "#",
    "1 2",
    '""',
    '"x"',
    "'x'",
    '"\\u0000"',
    '"\\ud800"',
    '"a\\u0000b"',
    '"/"',
    '"~"',
    '"~nobody/x"',
    '".."',
    '"\\u001b[31m"',
    '"::error::x"',
    '"mnist"',
    '"a.toml"',
    '"="',
    f'"{"a" * 5000}"',
    '"""\nx\n"""',
    "[]",
    "[[]]",
    "[1, 'x']",
    "[0]",
    "[-1]",
    "[1e9]",
    "[1e300]",
    "{}",
    "{ a = 1 }",
    "{ a = {} }",
    "[",
    "1979-05-27T07:32:00Z",
    "1979-05-27",
    "07:32:00",
    "[1, ]",
    "{ a = 1, }",
    '"\\x"',
    '"\n"',
    "{",
]
KEYS = ["unknown", "quick", '""', '"a b"', "a.b", "effort", "proof", '"\\u0000"', "é", "__class__"]
#: What nests deeply, which takes this process as long to read as another: it is bad for sure.
DEEP = {
    "keys": lambda depth: "a." * depth + "b = 1\n",
    "tables": lambda depth: "[" + "a." * depth + "b]\n",
    "lists": lambda depth: "deep = " + "[" * depth + "]" * depth + "\n",
    "inline tables": lambda depth: "deep = " + "{a=" * depth + "1" + "}" * depth + "\n",
}
DEPTHS = (100, 5_000, 30_000)
SIGNS = [
    b"[",
    b"]",
    b'"',
    b"'",
    b"=",
    b".",
    b"#",
    b"\n",
    b"\0",
    b"{",
    b",",
    b"\\",
    b"\xff",
    b"\x7f",
]
BYTES: dict[str, Callable[[Random, bytes], bytes]] = {
    "as it is": lambda _, content: content,
    "cut": lambda random, content: content[: random.randrange(len(content))],
    "with a byte more": lambda random, content: insert(random, content, random.randbytes(1)),
    "with a sign more": lambda random, content: insert(random, content, random.choice(SIGNS)),
    "twice": lambda _, content: content + content,
    "marked": lambda _, content: b"\xef\xbb\xbf" + content,
    "of Windows": lambda _, content: content.replace(b"\n", b"\r\n"),
    "of an old Mac": lambda _, content: content.replace(b"\n", b"\r"),
    "in two bytes each": lambda _, content: content.decode().encode("utf-16"),
    "empty": lambda *_: b"",
    "too large": lambda _, content: content + b"#" * (1 << 21),
}
NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a circle of links": lambda path: path.symlink_to(path.name),
    "missing": lambda _: None,
}


def make(random: Random, folder: Path) -> Case:
    """Write a file with some mistakes, or none, and draw a command."""
    document, schema, commands = FILES[random.choice([*FILES])]
    path = folder / NAME
    about, known = random.choices([values, text, deep, no_file], [65, 22, 8, 5])[0](
        random, path, document
    )
    if known is None:
        is_fine = not about
        known = Expected.FINE if is_fine else judge(path.read_bytes(), schema)
    words = [*random.choice(commands), NAME]
    return Case(words=words, about=about or "a file that is fine", expected=known)


def values(random: Random, path: Path, document: dict[str, Any]) -> tuple[str, Expected | None]:
    """Replace values or keys of a document, or leave some out."""
    changes = []
    for _ in range(random.choice((0, *[few(random)] * 15))):
        *above, key = somewhere(random, document) or ("",)
        value, how = random.choice(VALUES), random.choice(["value"] * 6 + ["key", "missing"])
        document = changed(document, above, str(key), value, how, random.choice(KEYS))
        changes.append(f"{'.'.join(map(str, [*above, key]))}: {how} {value[:40]!r}")
    path.write_text(spell(document), "utf-8", "surrogateescape")
    return "; ".join(changes), None


def text(random: Random, path: Path, document: dict[str, Any]) -> tuple[str, Expected | None]:
    """Change the bytes of a file."""
    name = random.choice([*BYTES])
    content = BYTES[name](random, spell(document).encode())
    path.write_bytes(content)
    if name == "as it is":
        return "", None
    return f"a file, {name}", Expected.BAD if name == "too large" else None


def deep(random: Random, path: Path, document: dict[str, Any]) -> tuple[str, Expected | None]:
    """Nest something deeply under a key that nobody knows."""
    name, depth = random.choice([*DEEP]), random.choice(DEPTHS)
    path.write_text(DEEP[name](depth) + spell(document))
    return f"{name}, nested {depth:,} deep", Expected.BAD


def no_file(random: Random, path: Path, document: dict[str, Any]) -> tuple[str, Expected | None]:
    """Have no file there."""
    del document
    name = random.choice([*NO_FILES])
    NO_FILES[name](path)
    return f"the file is {name}", Expected.BAD


def changed(
    document: dict[str, Any], above: list[Any], key: str, value: str, how: str, other: str
) -> dict[str, Any]:
    """Return a document with a value, or a key, that is another one, or missing."""
    new = dict(document)
    if above:
        first, *rest = above
        new[first] = changed(document[first], rest, key, value, how, other)
    elif how == "missing":
        new.pop(key, None)
    elif how == "key":
        new[other] = new.pop(key, value)
    else:
        new[key or other] = value
    return new


def spell(document: dict[str, Any]) -> str:
    """Write a document: values as they are, and tables in a line."""

    def inline(table: dict[str, Any]) -> str:
        return (
            "{ "
            + ", ".join(f"{k} = {v if isinstance(v, str) else inline(v)}" for k, v in table.items())
            + " }"
        )

    return "".join(
        f"{key} = {value if isinstance(value, str) else inline(value)}\n"
        for key, value in document.items()
    )


def insert(random: Random, content: bytes, more: bytes) -> bytes:
    """Return bytes with more of them somewhere."""
    where = random.randrange(len(content) + 1)
    return content[:where] + more + content[where:]


def judge(content: bytes, schema: str) -> Expected:
    """Say that a file is bad which Python cannot read, or that the published schema refuses."""
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return Expected.BAD
    return Expected.EITHER if validator(schema).is_valid(document) else Expected.BAD


@cache
def validator(name: str) -> Draft202012Validator:
    """Return what holds documents against a schema."""
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8")))
