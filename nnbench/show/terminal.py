"""Tables on the terminal: the least important columns go where it is narrow."""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from nnbench.figures.columns import BARS
from nnbench.show.text import Sheet, relabelled, remarks, sheet
from nnbench.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnbench.figures.columns import Column, Row, Table
    from nnbench.runs.sweep import Sweep

WORDS = 24  #: columns that a name or a remark gets at least, if it needs them
GAP = 3  #: columns between two of a table
PLAIN = str.maketrans(
    {**dict(zip(BARS, "_.:-=+*#", strict=True)), "–": "-", "×": "x", "±": "~", "≥": ">", "µ": "u"}
)
WIDE = 160  #: columns of the tables in a pipe
NARROWEST, WIDEST = 20, 2000  #: columns, whatever a terminal says of itself
SIZE = re.compile(
    "[1-9][0-9]{0,3}"
)  #: what COLUMNS and LINES may hold; anything else counts as not set


class Terminal(Console):
    """Standard output, as wide as the terminal or WIDE, or standard error.

    On standard output a reader who leaves is an error here too.
    """

    def __init__(self, *, err: bool = False) -> None:
        surroundings = {
            name: value
            for name, value in os.environ.items()
            if name not in {"COLUMNS", "LINES"} or SIZE.fullmatch(value)
        }
        width = None if err or sys.stdout.isatty() else WIDE
        super().__init__(stderr=err, width=width, _environ=surroundings)
        if not NARROWEST <= self.width <= WIDEST:
            self.width = min(max(self.width, NARROWEST), WIDEST)

    def on_broken_pipe(self) -> None:
        """Leave the exit code to nnbench.cli."""
        raise  # noqa: PLE0704 - called while BrokenPipeError is handled


def print_tables(console: Console, tables: Iterable[Table], run: Sweep) -> None:
    """Print tables, what is said beside them, and how to see columns that found no room.

    Parameters
    ----------
    console
        If its encoding has no bars or mathematical signs, ASCII characters take their place.
    tables, run
        What to print, and of which run.
    """
    hidden: dict[str, None] = {}
    for table in tables:
        columns = fit(table.shown, table.rows, console.width)
        shown = sheet(table._replace(columns=columns))
        title = Text(plain(shown.title, console.encoding), "table.title")
        console.print(title, grid(shown, columns, console.encoding))
        hidden |= dict.fromkeys(c.name for c in table.shown if c not in columns)
    for line in filter(None, [relabelled(run), *remarks(run)]):
        say(console, line)
    if hidden and run.folder:
        command = shlex.join(["nnbench", "show", str(run.folder), "--columns", ",".join(hidden)])
        say(console, f"No room for some columns: {command}")


def say(console: Console, text: str) -> None:
    """Print a line that the terminal breaks, so that it can be copied whole."""
    text = plain(text, console.encoding)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_heading(console: Console, text: str) -> None:
    """Print what stands above the tables of a run, where there are several."""
    console.print(Text(plain(text, console.encoding), "bold"), soft_wrap=True)


def fit(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[Column]:
    """Return the columns for which there is room, and those that must stay."""
    left = []
    for column in columns:
        widest = max(map(cell_len, [column.heading, *map(column.text, rows)]))
        left.append((column, min(widest, WORDS) if column.wraps else widest))
    while sum(needed + GAP for _, needed in left) - 1 > width:
        droppable = [item for item in left if item[0].drop]
        if not droppable:
            break
        left.remove(min(droppable, key=lambda item: item[0].drop))
    return [column for column, _ in left]


def grid(table: Sheet, columns: Sequence[Column], encoding: str) -> Grid:
    """Return a table for the terminal: figures to the right, and only words on several lines."""

    def text(cell: str) -> Text:
        return Text(plain(cell, encoding))

    shown = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, column in zip(table.headings, columns, strict=True):
        if column.wraps:
            shown.add_column(text(heading), overflow="fold")  # shortened names can be alike
        else:
            shown.add_column(text(heading), justify="right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*map(text, row))
    return shown


def print_sheet(console: Console, table: Sheet) -> None:
    """Print a table of text: words on the left and at the right end, and figures between them."""
    title = Text(plain(table.title, console.encoding), "table.title")
    shown = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    last = len(table.headings) - 1
    for number, heading in enumerate(table.headings):
        if number in {0, last}:
            shown.add_column(Text(plain(heading, console.encoding)), overflow="fold")
        else:
            shown.add_column(Text(plain(heading, console.encoding)), justify="right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(Text(plain(cell, console.encoding)) for cell in row))
    console.print(title, shown)


def plain(text: str, encoding: str) -> str:
    """Return a text in characters that an encoding has, and that do nothing to a terminal."""
    text = one_line(text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(PLAIN).encode(encoding, "replace").decode(encoding)
    return text
