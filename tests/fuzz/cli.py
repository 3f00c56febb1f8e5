"""Command lines, drawn from the tree of commands: a new one, or a new option, is among them by itself."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nnbench.cli import cli
from tests import nasty
from tests.fuzz import samples
from tests.fuzz.case import Case, Expected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

RUNS = ["run", "base"]
#: What fits, by the name of what takes it, where its type does not tell. The others get any of it.
FITTING = {
    "backends": ["numpy", "all", "numpy,python", "numpy[threads=1]"],
    "backend": ["numpy", "python"],
    "workload": ["toy-sigmoid", "toy-sigmoid+epochs=2", "mnist", "mine.toml", "toy-sigmoid,mnist"],
    "hidden": ["none", "8", "5,5"],
    "activation": ["sigmoid", "relu,sigmoid"],
    "optimizer": ["sgd", "sgd,adam"],
    "learning_rate": ["0.5", "0.5,1"],
    "batch_size": ["4", "2,4"],
    "epochs": ["1", "1,2"],
    "threads": ["1", "1,2"],
    "chosen": ["epochs=2", "hidden=5,5", "x"],
    "dataset": ["toy", "mnist"],
    "baseline": ["numpy"],
    "executor": ["local"],
    "metric": ["train_s_per_epoch", "accuracy", "setup_s"],
    "trained": ["toy-sigmoid", "mnist-wide"],
    "since": ["2026-01-01", "HEAD"],
    "gates": ["train_s_per_epoch:5%", "accuracy:1pp", "setup_s:1%"],
    "columns": ["all", "ratio,rank"],
    "sort": ["-ratio", "backend"],
    "config": ["run.toml"],
    "name": ["my-backend"],
    "seconds": ["0.05"],
}
PIPE = "pipe.toml"  #: that nobody writes to, or reads: to write to one is to wait for a reader, as everywhere
NUMBERS = ["0", "-1", "nan", "inf", "-inf", "1e999", "", "abc", "1,5", "0x1p", "9" * 5000]
TEXTS = [  #: of which most are wrong everywhere
    "",
    " ",
    "x",
    ".",
    "..",
    "~",
    "0",
    "-1",
    "%s",
    "{0}",
    "*",
    "$(x)",
    "a\nb",
    "=1+1",
    "é",
    "\udcff",
    "[",
    "numpy[threads=2",
    "numpy[threads=10000]",
    "numpy,,",
    "a" * 300,
    "a" * 5000,
    "9" * 5000,
    "toy-sigmoid+epochs=0",
    "toy-sigmoid+hidden=1e400",
    "mnist+batch_size=full",
    "+",
    "+epochs=",
    "train_s_per_epoch:nan%",
    "accuracy:1e400pp",
    ":",
    "ratio:",
    "1e400",
    "../base",
    "run/run.json",
    "folder",
    "empty",
    "zero",
    "loop",
    "binary",
    "/dev/null",
    "/proc/self/mem",
    PIPE,
    "zero.toml",
    "folder.toml",
    "empty.toml",
    "binary.toml",
    "loop.toml",
    "gone.toml",
    nasty.TEXT.replace("\0", ""),
]
WRONG = "bogus"  #: what no choice, no option and no command is
SELDOM = {
    "plot": 0.15,
    "report": 0.15,
    "site": 0.15,
    "profile": 0.15,
}  #: how often, of others: each takes a hundred times as long
LARGEST = 10  #: of a number that fits where any would: the commands are to end soon
SPECIAL = {  #: what stands in the folder besides runs and files of options
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    PIPE: os.mkfifo,
}
MINE = 'dataset = "toy"\nhidden = [5]\nloss = "squared_error"\nactivation = "sigmoid"\n'
OPTIONS = 'workload = "toy-sigmoid"\nbackends = "numpy"\nrounds = 2\n'


class Word(NamedTuple):
    """A value of an option or an argument, and whether it is refused for sure."""

    text: str
    is_bad: bool


def make(random: Random, folder: Path) -> Case:
    """Draw a command with some of its options, and values of which some are wrong."""
    for name in RUNS:
        samples.write(random.choice([*samples.SAMPLES]), folder / name)
    (folder / "mine.toml").write_text(MINE)
    (folder / "run.toml").write_text(OPTIONS)
    for name, place in SPECIAL.items():
        place(folder / name)
        if "." not in name:
            place(folder / f"{name}.toml")
    weights = [SELDOM.get(command.name or "", 1.0) for _, command in commands()]
    [(path, command)] = random.choices(commands(), weights)
    mistakes = random.choices(["none", "value", "option", "command", "help"], [30, 55, 8, 2, 5])[0]
    if mistakes == "help":
        words = random.choice([[*path, "--help"], ["--help"], ["--version"]])
        return Case(words=words, about="help", expected=Expected.FINE)
    if mistakes == "command":
        return Case(words=[WRONG, *path], about="no such command", expected=Expected.BAD)
    words, is_bad = fill(random, command, 0.3 if mistakes == "value" else 0.0)
    if mistakes == "option":
        unknown = random.choice([f"--{WRONG}", f"--{WRONG}=1", "-%"])
        words.insert(random.randrange(len(words) + 1), unknown)
        is_bad = False  # where it is an option's value, it may do
    if command.name == "run" and "--resume" not in words and random.random() < 0.5:
        words.append("--dry-run")
    if command.name == "profile" and "--seconds" not in words:
        words += ["--seconds", "0.1"]
    return Case(
        words=[*path, *words],
        about="a command line",
        expected=Expected.BAD if is_bad else Expected.EITHER,
        there=not any(word.startswith("--resume") for word in words),  # see tests.fuzz.runs
    )


@cache
def commands() -> list[tuple[list[str], click.Command]]:
    """Return every command with the words that call it."""
    return [*walk(cli)]


def walk(group: click.Group, *above: str) -> Iterator[tuple[list[str], click.Command]]:
    """Yield the commands of a group, and of those in it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, *above, name)
        else:
            yield [*above, name], command


def fill(random: Random, command: click.Command, wrong: float) -> tuple[list[str], bool]:
    """Draw arguments and options of a command, each with that chance of a value that is mostly wrong."""
    words: list[str] = []
    is_bad = False
    few = random.choice((0.05, 0.15, 0.4))
    for param in command.params:
        if not (param.required or random.random() < few):
            continue
        times = (
            random.choice((1, 1, 2))
            if param.nargs == -1 or getattr(param, "multiple", False)
            else 1
        )
        for _ in range(times):
            if isinstance(param, click.Option) and param.is_flag:
                words.append(random.choice([*param.opts, *param.secondary_opts]))
                continue
            word = draw(random, param, is_wrong=random.random() < wrong)
            is_bad |= word.is_bad
            if isinstance(param, click.Argument):
                words.insert(0, word.text)
            else:
                words += spell(random, param.opts, word.text)
    return words, is_bad


def spell(random: Random, names: list[str], text: str) -> list[str]:
    """Write an option with its value in one of the ways that there are."""
    name = random.choice(names)
    if name.startswith("--") and (text.startswith("-") or random.random() < 0.3):
        return [f"{name}={text}"]
    return [name, text]


def draw(random: Random, param: click.Parameter, *, is_wrong: bool) -> Word:
    """Draw a value: one that fits, or one that mostly does not."""
    kind: Any = param.type
    match kind.name:
        case "choice":
            fitting, wrong = choices(kind), [WRONG, *TEXTS]
        case "number" | "percent":
            fitting, wrong = FITTING.get(param.name or "", ["1", "0.5", "2e1", "1e6"]), NUMBERS
        case "integer":
            fitting = [str(kind.least), str(min(kind.most or LARGEST, LARGEST))]
            wrong = [*NUMBERS, str(kind.least - 1), "1.5"]
        case "units":
            fitting, wrong = ["none", "8", "5,5"], ["1,,2", "0", "", "1e3", "³", "9" * 5000]
        case "directory":
            fitting, wrong = [*RUNS, "new"], TEXTS
        case "file":
            fitting = ["x.svg", "x.png", "new/x.html", "x", "-"]
            wrong = [text for text in TEXTS if text != PIPE]
        case _:
            fitting, wrong = fitting_texts(param.name or ""), TEXTS
    text = random.choice(wrong if is_wrong else fitting)
    return Word(text, is_wrong and is_refused(kind, text))


def choices(kind: Any) -> list[str]:
    """Return what may be chosen."""
    return [*map(str, kind.choices)]


def is_refused(kind: Any, text: str) -> bool:
    """Tell whether a value is no number, or no choice, for sure."""
    match kind.name:
        case "choice":
            return text not in choices(kind)
        case "integer":
            return not (text.isascii() and text.isdigit()) or int(text[:20]) < kind.least
        case "number" | "percent" | "units":
            return True
        case "directory":
            return not text
        case _:
            return False


def fitting_texts(name: str) -> list[str]:
    """Return texts that fit where one of a name is asked for; any that fit elsewhere if nobody said."""
    return FITTING.get(name) or [text for texts in FITTING.values() for text in texts]
