"""The terminal: how a run goes on, and its tables.

The display of a run is an observer like any other, registered for the run: live on a terminal, plain
lines elsewhere. In a table the least important columns go where it is narrow.
"""

from __future__ import annotations

import math
import shlex
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, assert_never

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as Grid
from rich.text import Text

from nnbench import catalog, records
from nnbench.contract import hookimpl
from nnbench.figures.columns import BARS, Table
from nnbench.proof import kept
from nnbench.show.text import Sheet, bytes_text, cell_line, notes, one_line, sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from nnbench.figures.columns import Column, Row
    from nnbench.records import CellResult, CellSpec, Event, RunInfo, Setup

WORDS = 24  #: columns that a name or a remark gets at least, if it needs them
GAP = 3  #: columns between two of a table
PLAIN = str.maketrans(
    {**dict(zip(BARS, "_.:-=+*#", strict=True)), "–": "-", "×": "x", "±": "~", "≥": ">", "µ": "u"}
)
WIDE = 160  #: columns of the tables in a pipe


class Terminal(Console):
    """Standard output, as wide as the terminal or WIDE; a reader who leaves is an error here too."""

    def __init__(self) -> None:
        super().__init__(width=None if sys.stdout.isatty() else WIDE)

    def on_broken_pipe(self) -> None:
        """Leave the exit code to nnbench.cli."""
        raise  # noqa: PLE0704 - called while BrokenPipeError is handled


def print_tables(
    console: Console, tables: Iterable[Table], frame: pd.DataFrame, folder: Path | None
) -> None:
    """Print tables, why a backend has no figures, and how to see columns that found no room.

    Parameters
    ----------
    console
        If its encoding has no bars or mathematical signs, ASCII characters take their place.
    tables, frame
        What to print, and the rows of all of them.
    folder
        Of the run, if it is on disk.
    """
    hidden: dict[str, None] = {}
    rows: list[Row] = [*frame.itertuples()]
    for table in tables:
        columns = fit(table.columns, rows, console.width)
        shown = sheet(Table(table.title, columns), rows)
        title = Text(plain(shown.title, console.encoding), "table.title")
        console.print(title, grid(shown, columns, console.encoding))
        hidden |= dict.fromkeys(c.name for c in table.columns if c not in columns)
    for line in notes(frame):
        say(console, line)
    if hidden and folder:
        command = shlex.join(["nnbench", "show", str(folder), "--columns", ",".join(hidden)])
        say(console, f"No room for some columns: {command}")


def say(console: Console, text: str) -> None:
    """Print a line that the terminal breaks, so that it can be copied whole."""
    text = plain(text, console.encoding)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


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


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show the runs within this context on a console."""
    observer = Live(console) if console.is_terminal else Plain(console)
    catalog.manager().register(observer, name=__name__)
    try:
        yield
    finally:
        catalog.manager().unregister(observer)


class Plain:
    """One line for each finished cell, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.states: Path | None = None  # where they will be kept, until their size was said

    @hookimpl
    def nnbench_run_started(self, run: RunInfo, folder: Path) -> None:
        """Remember whether states are kept."""
        self.states = folder / kept.FOLDER if run.keep_states else None

    @hookimpl
    def nnbench_cell_event(self, spec: CellSpec, event: Event) -> None:
        """Say how large the states will be that are kept, when the first cell is set up."""
        if isinstance(event, records.Ready) and self.states:
            say(self.console, states_line(self.states, spec, event.setup))
            self.states = None

    @hookimpl
    def nnbench_cell_finished(self, result: CellResult) -> None:
        """Print what became of the cell."""
        say(self.console, cell_line(result))


def states_line(folder: Path, spec: CellSpec, setup: Setup) -> str:
    """Say how large the states of a cell will be; what rounding allows may cut an epoch more often."""
    workload = spec.workload
    size = kept.cut_size(setup.parameters, has_moments=workload.optimizer.keeps_moments)
    epoch_steps = math.ceil(setup.epoch_images / (workload.batch_size or setup.epoch_images))
    cuts = kept.least_cuts(workload.epochs, epoch_steps)
    return f"states: {bytes_text(size)} a cut, {bytes_text(size * cuts)} or more a cell, kept in {folder}"


class Live(Plain):
    """The finished cells, and below them a bar for the run and one for the cell."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
        )
        self.progress = Progress(*columns, console=console, transient=True, refresh_per_second=4)
        self.run = self.progress.add_task("run", state="")
        self.cells: dict[str, TaskID] = {}  # that run, or wait for their verdict, by label
        self.images = self.waiting = self.judged = 0

    @hookimpl
    def nnbench_run_started(self, run: RunInfo, folder: Path) -> None:
        """Show the bar of the run."""
        super().nnbench_run_started(run, folder)
        self.progress.update(self.run, total=len(run.backends) * run.rounds)
        self.progress.start()

    @hookimpl
    def nnbench_run_finished(self) -> None:
        """Take the bars away; the lines of finished cells stay."""
        self.progress.stop()

    @hookimpl
    def nnbench_cell_started(self, spec: CellSpec) -> None:
        """Add a bar for the cell, or for another attempt; it moves with the images, or the budget."""
        if (earlier := self.cells.get(spec.label)) is not None:
            self.progress.remove_task(earlier)
        self.cells[spec.label] = self.progress.add_task(spec.label, total=1.0, state="starting")

    @hookimpl
    def nnbench_cell_event(self, spec: CellSpec, event: Event) -> None:
        """Move the cell's bar."""
        super().nnbench_cell_event(spec, event)
        match event:
            case records.Ready(setup=setup):
                self.images = setup.epoch_images * spec.workload.epochs
                self.progress.update(self.cells[spec.label], state="ready")
            case records.Progress(epoch=epoch, images=images, train_s=train_s, loss=loss):
                share = max(images / self.images, train_s / spec.budget_s)
                shown = "not finite" if loss is None else f"{loss:.4f}"
                state = f"epoch {epoch}, {images / train_s:,.0f} images/s, loss {shown}"
                self.progress.update(self.cells[spec.label], completed=share, state=state)
            case records.Finished():
                self.wait(spec, "trained")
            case records.Failed(status=status):
                self.wait(spec, status)
            case records.EpochFinished():
                pass
            case unknown:
                assert_never(unknown)

    @hookimpl
    def nnbench_cell_finished(self, result: CellResult) -> None:
        """Replace the cell's bar by a line, and say how many of the block are judged."""
        if result.final and (cell := self.cells.pop(result.backend, None)) is not None:
            self.progress.remove_task(cell)
            self.progress.advance(self.run)
        self.judged += 1
        if self.judged < self.waiting:
            self.progress.update(self.run, state=f"{self.judged} of {self.waiting} judged")
        else:
            self.progress.update(self.run, state="")
            self.waiting = self.judged = 0
        super().nnbench_cell_finished(result)

    def wait(self, spec: CellSpec, state: str) -> None:
        """Say what became of a training that has ended; the judge comes when all of the block have."""
        self.waiting += 1
        state = f"{state}, waits for its verdict"
        self.progress.update(self.cells[spec.label], completed=1.0, state=state)

    @hookimpl
    def nnbench_cell_kept(self) -> None:
        """Move the bar of the run."""
        self.progress.advance(self.run)
