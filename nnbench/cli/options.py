"""What several commands share: types of values, which refuse what they cannot take; options; JSON."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import click

from nnbench.config.run_table import EFFORTS, OPTIONS, REPEATED, RunTable, Units
from nnbench.contract.bounds import Patience, Positive
from nnbench.texts import csv_text, encode, in_json, one_line, recordable

if TYPE_CHECKING:
    from collections.abc import Collection

    from click import Context, Parameter
    from click.shell_completion import CompletionItem

Command = Callable[..., Any]  #: a function that becomes one
Decorator = Callable[[Command], Command]


class Real(click.ParamType[float]):
    """A number above zero within bounds, which say so when they are passed: help need not tell of 10³⁶."""

    name = "number"

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        """Convert, or fail with a message."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not number > 0:  # as NaN is not
            self.fail(f"{value} is not a positive number", param, ctx)
        if number < self.least:
            self.fail(f"{value} is less than {self.least:g}", param, ctx)
        if number > self.most:
            self.fail(f"{value} is more than {self.most:g}", param, ctx)
        return number


class Whole(click.ParamType[int]):
    """A whole number within bounds, likewise."""

    name = "integer"

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> int:
        """Convert, or fail with a message."""
        number: int = click.INT.convert(value, param, ctx)
        if number < self.least:
            self.fail(f"{number} is less than {self.least}", param, ctx)
        if number > self.most:
            self.fail(f"{number} is more than {self.most:,}", param, ctx)
        return number


class Percentage(Real):
    """A percentage above 0 and up to 100, kept as a fraction."""

    name = "percent"

    def __init__(self) -> None:
        super().__init__(0.0, 100.0)

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        """Convert, or fail with a message."""
        return super().convert(str(value).removesuffix("%"), param, ctx) / 100


class Accuracy(Percentage):
    """The same of an accuracy, which may also be a fraction below 1: nobody aims at less than one in a hundred."""

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        """Convert, or fail with a message."""
        share = super().convert(value, param, ctx)
        is_fraction = share < 0.01 and not str(value).endswith("%")
        return share * 100 if is_fraction else share


class Words(click.ParamType[list[str]]):
    """Words with blanks between them, and quotes around some, as a shell takes them."""

    name = "text"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> list[str]:
        """Convert, or fail with a message."""
        try:
            return shlex.split(value)
        except ValueError as error:
            self.fail(f"{value!r} cannot be read as a shell does: {error}", param, ctx)


class LayerSizes(click.ParamType[tuple[int, ...]]):
    """Units of the hidden layers with commas between them, or ``none``."""

    name = "units"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> tuple[int, ...]:
        """Convert, or fail with a message."""
        if value == "none":
            return ()
        parts = [part.strip() for part in str(value).split(",")]
        if not all(re.fullmatch(r"[1-9][0-9]{0,8}", part) for part in parts):
            self.fail(f"{value!r} is no list of layer sizes such as 128,64 (or none)", param, ctx)
        return tuple(map(int, parts))


class Several(click.ParamType[tuple[Any, ...]]):
    """Values of one kind with commas between them.

    Parameters
    ----------
    kind
        That of each.
    split
        Takes a text apart; without it a text is one value.
    """

    def __init__(
        self, kind: click.ParamType[Any], split: Callable[[str], list[str]] | None
    ) -> None:
        self.kind, self.split = kind, split
        self.name = f"{kind.name}s"

    def get_metavar(self, param: Parameter, ctx: Context) -> str:
        """Return what stands for a value in the help."""
        one = self.kind.get_metavar(param, ctx) or self.kind.name.upper()
        return f"{one},…" if self.split else one

    def shell_complete(
        self, ctx: Context, param: Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the first value."""
        return self.kind.shell_complete(ctx, param, incomplete)

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> tuple[Any, ...]:
        """Convert each, or fail with a message."""
        parts = self.split(value) if self.split and isinstance(value, str) else [value]
        try:
            return tuple(self.kind.convert(part, param, ctx) for part in parts)
        except click.BadParameter as error:
            if len(parts) == 1:
                raise
            self.fail(f"{error.message}, in {value!r}", param, ctx)


class Folder(click.Path):
    """A folder that may be there or not. An empty name is an unset variable, and no folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        """Convert, or fail with a message."""
        if not value:
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


def _workloads(text: str) -> list[str]:
    from nnbench.config import points

    return points.split_workloads(text)


COMMA = re.compile(" *, *")
SPLIT: dict[str, Callable[[str], list[str]]] = {
    "workload": _workloads
}  #: names, which may have commas
LAYER_SIZES = LayerSizes()
FOLDER = Folder()
FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)

#: Options of ``run`` that are written in another way than in a file.
SPELLED: dict[str, click.ParamType[Any]] = {
    "target_accuracy": Accuracy(),
    "detect": Percentage(),
    "output": FOLDER,
}
HINTS = get_type_hints(RunTable, include_extras=True)


def option(key: str, *, several: bool = False, **changes: Any) -> Decorator:
    """Return an option of ``nnbench run`` as click takes it, from its field in ``RunTable``.

    ``changes`` is what is different in another command: fields of ``Option``, or the ``type``. With ``several`` values, the
    command gets all in a tuple, or None.
    """
    kind = changes.pop("type", None) or SPELLED.get(key) or type_of(HINTS[key])
    table = replace(OPTIONS[key], **changes)
    if several:
        default = () if table.default is None else (table.default,)
        help_ = f"{table.help} May be repeated." if key in REPEATED else table.help
        shown = table.shown or ", ".join(map(str, default))
        table = replace(table, default=default, help=help_, shown=shown)
        kind = Several(kind, None if key in REPEATED else SPLIT.get(key, COMMA.split))
    flag = key.replace("_", "-")
    flag = f"--{flag}/--no-{flag}" if table.default is True else f"--{flag}"
    return click.option(
        *([] if any(name.startswith("--") for name in table.flags) else [flag]),
        *table.flags,
        key,
        type=kind,
        is_flag=kind is click.BOOL,
        multiple=isinstance(table.default, tuple),
        default=table.default,
        metavar=table.metavar,
        help=f"{table.help}  [default: {table.shown}]" if table.shown else table.help or None,
        show_default=not table.shown if several else None,
        callback=(lambda _, __, values: sum(values, ()) or None) if several else None,
    )


def options(*keys: str, several: Collection[str] = ()) -> Decorator:
    """Return some options of ``nnbench run``; one that is an effort is a flag for each value.

    Those that are named as such take ``several`` values.
    """

    def decorate(command: Command) -> Command:
        for key in reversed(keys):
            if key == "effort":
                for value, effort in reversed(EFFORTS.items()):
                    flag = click.option(f"--{value}", key, flag_value=value, help=effort.help)
                    command = flag(command)
            else:
                command = option(key, several=key in several)(command)
        return command

    return decorate


def type_of(hint: Any) -> click.ParamType[Any]:
    """Return the type of an option from its field's, which is ``X | None``, or ``X`` is first.

    Raises
    ------
    TypeError
        If nothing here can convert it.
    """
    first = get_args(hint)[0]
    kind, *bounds = get_args(first) if get_origin(first) is Annotated else [first]
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind is int:
        return Whole(bounds[0].ge, bounds[0].le)
    if first in (Patience, Positive):  # a share is a percentage here
        return Real(bounds[0].gt, bounds[0].le)
    known = {bool: click.BOOL, str: click.STRING, Units: LAYER_SIZES}
    if kind not in known:
        raise TypeError(f"no type of option for {hint}")
    return known[kind]


#: Seconds that a user grants.
PATIENCE = type_of(Patience | None)


def command_line() -> str:
    """Return the command that was typed, as a shell takes it; of names that are no text, what can be recorded."""
    return recordable(shlex.join(["nnbench", *sys.argv[1:]]))


def echo_line(text: str, *, err: bool = False) -> None:
    """Print a line, whatever is in it.

    An error goes to whatever is standard error, which during a run is the display of that. click would look below it.
    """
    if err:
        print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201 - see above
    else:
        click.echo(one_line(text))


def echo_json(value: object) -> None:
    """Print records as JSON."""
    import msgspec

    click.echo(in_json(msgspec.json.format(encode(value)).decode()))


def echo_csv(rows: list[dict[str, object]]) -> None:
    """Print a line for each row, under their keys."""
    click.echo(csv_text([list(rows[0]), *(row.values() for row in rows)]) if rows else "", nl=False)
