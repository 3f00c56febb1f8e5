"""Plugins of which a field, a hook or the file that tells of them is not as it should be.

Nothing of them is trained: what a backend does when it trains, the conformance suite and the proof are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.case import FOLDER, Case, Expected

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

FOLDERS = "plugins"
BACKEND = {
    "name": "'mine'",
    "summary": "'of my own'",
    "create": "'mine.code:Network'",
    "requires": "()",
    "unavailable": "lambda: None",
    "supports": "lambda spec, batch_size: None",
    "other_optimizer": "lambda spec: None",
    "options": "{'fused': Option(True, 'whether it is'), 'size': Option(3, 'how large', (1, 3))}",
    "libraries": "('numpy',)",
    "environment": "('MINE',)",
    "record": "lambda network: {}",
    "device": "'cpu'",
    "precision": "'float32'",
    "skips_zeros": "False",
    "deterministic": "True",
    "compiles": "False",
}
#: What no text, no names, no options and no reason can be; of others it is not known for sure.
WRONG = {
    "name": [
        "3",
        "None",
        "b'x'",
        "()",
        "''",
        "'a b'",
        "'all'",
        "'-x'",
        "'a\\nb'",
        "'a@b'",
        "object()",
    ],
    "summary": ["3", "None", "b'x'", "()", "True", "1.5", "object()"],
    "create": ["''", "'x'", "':'", "'x:'", "':x'"],
    "requires": ["3", "(3,)", "('no-such-distribution',)", "[None]"],
    "unavailable": [
        "3",
        "'x'",
        "lambda: 'no device'",
        "lambda: 1/0",
        "lambda: True",
        "lambda x: None",
    ],
    "options": ["3", "('x',)", "{'a': 3}", "{'a': None}"],
    "libraries": ["3", "(3,)", "('',)", "[None]"],
    "environment": ["3", "(3,)", "[None]"],
    "device": ["3", "None", "'mps'", "''"],
    "precision": ["3", "None", "'float8'", "''"],
}
VALUES = [
    "3",
    "None",
    "True",
    "1.5",
    "10**400",
    "float('nan')",
    "-1",
    "''",
    "'x'",
    "b'x'",
    "()",
    "[]",
    "{}",
    "{'a': 1}",
    "{1: 2}",
    "('',)",
    "(3,)",
    "[None]",
    "object()",
    "int",
    "...",
    "range(3)",
    "1j",
    "{3}",
    "'a' * 10**6",
    "'a' * 5000",
    "'\\x1b[31m'",
    "'::error::x'",
    "'\\ud800'",
    "'\\0'",
    "'\\u202e'",
    "'%s{0}'",
    "lambda *_: None",
    "lambda *_: 3",
    "lambda *_: 1/0",
    "lambda *_: exit(3)",
    "lambda *_: ''",
    "print",
    "lambda *_: 'x' * 10**6",
    "Nasty()",
    "[Nasty()]",
    "(Nasty(),)",
    "{Nasty(): Nasty()}",
    "Nasty",
    "[[]]",
    "{'a': Option('', '')}",
    "{'a': Option(None, None)}",
    "{'a': Option(1, 'x', 3)}",
    "{'': Option(1, 'x')}",
    "{'threads': Option(1, 'x')}",
    "{'a=b': Option(1, 'x')}",
    "{'a': Option(10**400, 'x')}",
    "Backend",
    "{'a': Option(float('nan'), 'x')}",
    "{3: Option(1, 'x')}",
    "[*range(10**5)]",
    "('numpy',) * 10**4",
]
HEAD = """from nnbench import Backend, Dataset, Option, Workload, hookimpl


class Nasty:
    def __repr__(self):
        raise ValueError("it has no text")

    __str__ = __hash__ = __iter__ = __len__ = __bool__ = __eq__ = __fspath__ = __repr__

"""
HOOK = """
@hookimpl
def nnbench_backends():
    return {}


"""
#: What a hook may do instead of returning what it lists; each loses all of it.
RETURNS = [
    "None",
    "3",
    "'x'",
    "[3]",
    "[None]",
    "[Backend]",
    "Backend",
    "{'a': 1}",
    "(1/0 for _ in [1])",
    "Nasty()",
    "exit(3)",
    "1/0",
    "[Nasty()]",
    "[*map(ord, 'x')]",
    "lambda: []",
    "{Backend: 1}",
    "b'x'",
    "range(3)",
]
#: What a module may do when it is imported; each loses all of it.
IMPORTS = [
    "1/0",
    "exit()",
    "exit(3)",
    "raise MemoryError",
    "import no_such_module",
    "def",
    "\0",
    "raise RecursionError",
    "f = lambda: f()\nf()",
    "\x1b[31m",
    "del nnbench_backends",
    "nnbench_backends = 3",
    "from nnbench import no_such_name",
    "raise Nasty()",
    "raise type('X', (Exception,), {'__str__': lambda _: 1/0})()",
    "raise StopIteration",
    "x = '\\ud800",
]
#: Likewise, and all that the same distribution brings is lost with it.
ENDS = ["raise KeyboardInterrupt", "raise BaseException('x')"]
#: What may stand in a file that tells of plugins instead of NAME = MODULE.
ENTRIES = [
    "",
    "mine",
    "= mine",
    "mine =",
    "mine = ",
    "mine == mine",
    "mine = mine:",
    "mine = :x",
    "mine = 3",
    "mine = mine\nmine = mine",
    "[nnbench]\nmine = mine",
    "[",
    "]",
    "mine = mine [extra]",
    "m i n e = mine",
    "mine = mine; x",
    "mine: mine",
    "mine = no_such_module",
    "mine = mine:no_such_name",
    "mine = mine.py",
    "no:mine = mine",
    "a,b = mine",
    "\x1b[31m = mine",
    "é = mine",
    "\0 = mine",
    "mine = os",
    "numpy = mine",
    "mine = mine\n[nnbench.other]\nx = y",
    "#",
    " ",
    "mine = ../mine",
    "-mine = mine",
    "%s = %(mine)s",
]
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
#: What may be left of a distribution, or have become of it: a name of its folder, and what tells of it.
REMAINS = [
    ("~ine-1.0.dist-info", METADATA),
    ("mine.dist-info", METADATA),
    ("-1.0.dist-info", METADATA),
    ("mine-1.0.dist-info", ""),
    ("mine-1.0.dist-info", "Name: {name}\n"),
    ("mine-1.0.dist-info", "Version: 1.0\n"),
    ("mine-1.0.dist-info", "Metadata-Version: 2.1\nName: \x1b[31m\nVersion: ::error::x\n"),
    ("mine-1.0.dist-info", "Metadata-Version: 2.1\nName: numpy\nVersion: 9\n"),
    ("mine-1.0.dist-info", "\0"),
    ("mine.egg-info", METADATA),
]


class Module(NamedTuple):
    """What a plugin's module says, how that differs from one that is fine, and what is known of it."""

    text: str
    about: str
    expected: Expected


def make(random: Random, folder: Path) -> Case:
    """Write one plugin, and ask for what it brings."""
    made = module(random, "mine")
    entry, remains, about, known = (
        "mine = mine",
        ("mine-1.0.dist-info", METADATA),
        made.about,
        made.expected,
    )
    if random.random() < 0.25:
        entry, known = random.choice(ENTRIES), Expected.EITHER
        about = f"{about}; {entry!r} tells of it"
    if random.random() < 0.1:
        remains, known = random.choice(REMAINS), Expected.EITHER
        about = f"{about}; its folder is {remains[0]!r}, and says {remains[1]!r}"
    write(folder, {"mine": made.text}, f"[nnbench]\n{entry}\n", *remains)
    [words] = random.choices([WORDS, ["list", "--plugins"], ["list", "--json"]], [0.8, 0.1, 0.1])
    return Case(
        words=words,
        about=about,
        expected=known if words is WORDS else Expected.EITHER,
        variables={"PYTHONPATH": f"{FOLDER}/{FOLDERS}"},
    )


WORDS = ["run", "--dry-run", "--workload", "toy-sigmoid", "--backends", "mine"]


def write(
    folder: Path, modules: dict[str, str], entry_points: str, info: str, metadata: str
) -> None:
    """Write the modules of a distribution, and what tells of them."""
    place = folder / FOLDERS
    (place / info).mkdir(parents=True)
    for name, text in modules.items():
        (place / f"{name}.py").write_text(text, "utf-8")
    (place / info / "entry_points.txt").write_text(entry_points, "utf-8")
    (place / info / "METADATA").write_text(metadata.format(name="mine"), "utf-8")


def module(random: Random, name: str, imports: Sequence[str] = (*IMPORTS, *ENDS)) -> Module:
    """Draw the module of a plugin that brings a backend of a name."""
    fields = {**BACKEND, "name": repr(name), "create": f"'{name}.code:Network'"}
    returned, imported, known = "", "", Expected.FINE
    [kind] = random.choices(["fine", "wrong", "values", "return", "import"], [5, 40, 35, 10, 10])
    about = "it is fine"
    match kind:
        case "wrong":
            field = random.choice([*WRONG])
            fields[field] = random.choice(WRONG[field])
            about, known = f"{field}={fields[field]}", Expected.BAD
        case "values":
            changed = random.sample([*fields], random.choice((1, 1, 2)))
            fields |= {field: random.choice(VALUES) for field in changed}
            about = ", ".join(f"{field}={fields[field]}" for field in changed)
            known = Expected.EITHER
        case "return":
            returned = random.choice(RETURNS)
            about, known = f"it returns {returned}", Expected.BAD
        case "import":
            imported = random.choice(imports)
            about, known = f"it ends with {imported!r}", Expected.BAD
    backend = "".join(f"        {key}={text},\n" for key, text in fields.items())
    hook = HOOK.format(returned or f"[Backend(\n{backend}    )]")
    return Module(f"{HEAD}{hook}{imported}\n", about, known)
