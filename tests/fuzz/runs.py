"""Folders of runs in which something is not as nnbench has written it, for every command that reads one."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from nnbench.figures.metrics import METRICS
from nnbench.runs import store
from nnbench.show.charts import CHARTS
from nnbench.show.exports import FORMATS
from tests import nasty
from tests.fuzz import samples
from tests.fuzz.case import Case, Expected, few, somewhere

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from tests.fuzz.case import KeyPath

RUN, BASE = "run", "base"
GATES = [
    word for name, metric in METRICS.items() for word in ("--fail", f"{name}:5{metric.scale.value}")
]
READ = [  #: commands that read all of a run
    ["show", RUN],
    ["show", RUN, BASE, "--columns", "all"],
    *(["show", RUN, "--format", name] for name in ("md", "csv", "json")),
    *(["compare", RUN, BASE, "--format", name] for name in ("md", "csv", "json")),
    ["compare", BASE, RUN, *GATES],
    ["merge", RUN, BASE, "-o", "merged"],
    *(["history", RUN, BASE, "--format", name] for name in ("table", "md", "csv", "json")),
    *(["export", RUN, "--to", name, "-o", "exported"] for name in FORMATS),
]
SLOW = [
    ["report", RUN, BASE],
    ["site", RUN, BASE, "-o", "made"],
    *(["plot", RUN, "-f", name, "-o", "x.svg"] for name in CHARTS),
]
GO_ON = [["run", "--resume", RUN], ["run", "--resume", RUN, "--dry-run"], ["clean", RUN]]
PROVE = [["prove", RUN]]
#: How often: a picture takes a hundred times as long as a table.
SHARES = [(READ, 0.83), (SLOW, 0.03), (GO_ON, 0.12), (PROVE, 0.02)]
OF_ANY_KIND = {"schema_version"}  #: keys whose values are numbers or texts
#: Of a file as a whole: each is what no run has.
LINES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no text": lambda content: content + b"\xff\xfe",
    "a NUL": lambda content: content.replace(b'":', b'"\0:', 1),
    "cut": lambda content: content[: len(content) // 2],
    "two of it": lambda content: content + content,
    "marked": lambda content: b"\xef\xbb\xbf" + content,
    "of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "without an end": lambda content: content.rstrip(),
    "blank lines": lambda content: content + b"\n\n",
    "too deep": lambda _: b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
}


def make_endless(path: Path) -> None:
    """Write a file that is longer than any disk."""
    path.touch()
    os.truncate(path, 1 << 40)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a circle of links": lambda path: path.symlink_to(path.name),
    "endless": make_endless,
}
HEADS = [  #: of an array in a file
    b"",
    b"\x93NUMPY\x01\x00\xff\xff{}",
    b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
    b"\x93NUMPY\x01\x00\x00\x04" + b"(" * 1024,
    b"\x93NUMPY\x01\x00\x4e\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4294967296, 45), }  \n",
    b"\x93NUMPY\x01\x00\x40\x00{'descr': '|O', 'fortran_order': False, 'shape': (3, 45), }     \n",
]


def make(random: Random, folder: Path) -> Case:
    """Spoil a run, or none of it, and draw a command."""
    ways = [spoil_nothing, spoil_values, spoil_file, spoil_states]
    [spoil] = random.choices(ways, [0.05, 0.7, 0.15, 0.1])
    has_states = spoil is spoil_states
    sample = "kept" if has_states else random.choice([*samples.SAMPLES])
    run = samples.write(sample, folder / RUN)
    samples.write(random.choice([*samples.SAMPLES]), folder / BASE)
    about, known = spoil(random, run)
    [(commands, _)] = random.choices(SHARES, [share for _, share in SHARES])
    words = random.choice(PROVE if has_states else commands)
    is_known = {
        Expected.BAD: words not in GO_ON and words[0] not in {"history", "site"},
        Expected.FINE: words[0] == "show",
    }
    return Case(
        words=words,
        about=f"{sample}: {about}",
        expected=known if is_known.get(known) else Expected.EITHER,
        there="--resume" not in words,  # that this is the machine of the run, is pretended
    )


def spoil_nothing(_: Random, run: Path) -> tuple[str, Expected]:
    """Leave a run as it is."""
    return f"{run.name} is fine", Expected.FINE


def spoil_values(random: Random, run: Path) -> tuple[str, Expected]:
    """Replace values, or leave some out, in ``run.json`` or in one cell."""
    documents, number = lines(run), 0
    if random.random() < 0.6:
        number = random.randrange(1, len(documents))
    document: Any = json.loads(documents[number])
    changes: list[tuple[KeyPath, str]] = []
    is_wrong = False
    for _ in range(few(random)):
        path = somewhere(random, document)
        name = random.choice([*nasty.VALUES, nasty.MISSING] if path else [*nasty.VALUES])
        is_wrong = name != nasty.MISSING and is_of_another_kind(path, at(document, path), name)
        changes.append((path, name))
        document = nasty.replaced(document, path, None if name == nasty.MISSING else "")
    is_last = number == len(documents) - 1  # which may look torn
    documents[number] = nasty.written(json.loads(documents[number]), changes)
    (run / store.RUN).write_bytes(documents[0])
    (run / store.CELLS).write_bytes(b"".join(line + b"\n" for line in documents[1:]))
    where = f"line {number} of {store.CELLS}" if number else store.RUN
    is_bad_for_sure = is_wrong and len(changes) == 1 and not is_last
    return f"{where}: {spelled(changes)}", Expected.BAD if is_bad_for_sure else Expected.EITHER


def spoil_file(random: Random, run: Path) -> tuple[str, Expected]:
    """Have a file be another one, or none."""
    path = run / random.choice([store.RUN, store.CELLS])
    kind = random.choice([*LINES, *NO_FILES, nasty.MISSING])
    if kind in LINES:
        content = LINES[kind](path.read_bytes())
        path.write_bytes(content)
        return f"{path.name} is {kind}", Expected.BAD if is_bad(path, content) else Expected.EITHER
    path.unlink()
    if kind in NO_FILES:
        NO_FILES[kind](path)
    is_there = os.path.exists(path)  # noqa: PTH110 - which a circle of links is not, without an error
    is_needed = is_there or path.name == store.RUN
    return f"{path.name} is {kind}", Expected.BAD if is_needed else Expected.EITHER


def spoil_states(random: Random, run: Path) -> tuple[str, Expected]:
    """Have a file of states be another one; commands that show a run do not look."""
    states = sorted((run / "states").glob("*.npy"))
    if not states:
        return spoil_nothing(random, run)
    path = random.choice(states)
    content = path.read_bytes()
    match random.choice(["head", "cut", "longer", "byte", "no file"]):
        case "head":
            path.write_bytes(random.choice(HEADS) + content[128:])
        case "cut":
            path.write_bytes(content[: random.randrange(len(content))])
        case "longer":
            path.write_bytes(content + bytes(random.choice([1, 4, 1 << 16])))
        case "byte":
            where = random.randrange(128)
            path.write_bytes(content[:where] + random.randbytes(1) + content[where + 1 :])
        case _:
            path.unlink()
            NO_FILES[random.choice([*NO_FILES])](path)
    return f"{path.name} is another one", Expected.EITHER


def lines(run: Path) -> list[bytes]:
    """Return ``run.json`` and each line of ``cells.jsonl``."""
    return [(run / store.RUN).read_bytes(), *(run / store.CELLS).read_bytes().splitlines()]


def at(document: Any, path: KeyPath) -> Any:
    """Return the value at a path."""
    for key in path:
        document = document[key]
    return document


def is_of_another_kind(path: KeyPath, before: object, name: str) -> bool:
    """Tell whether a value is of another kind than what it replaces, as a text where a number stood."""
    new = value(name)
    if before is None or new is None or OF_ANY_KIND & {*path}:
        return False
    return kind_of(before) is not kind_of(new)


def kind_of(value: object) -> type:
    """Return the type of a value, as JSON knows them."""
    return int if isinstance(value, float) else type(value)


@cache
def value(name: str) -> object:
    """Return a nasty value as Python has it; of what it cannot read, its first character tells the kind."""
    text = nasty.VALUES[name]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"[": [], "{": {}, '"': ""}.get(text[0], 0)


def is_bad(path: Path, content: bytes) -> bool:
    """Tell whether a file is none of a run for sure; a last line that is torn is left out, and may be."""
    try:
        whole = content.splitlines()[:-1] if path.name == store.CELLS else [content]
        for line in whole:
            json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return True
    return False


def spelled(changes: list[tuple[KeyPath, str]]) -> str:
    """Write changes in a line."""
    return "; ".join(f"{'.'.join(map(str, path)) or 'all'} is {name}" for path, name in changes)
