"""Show a run while it goes on: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nnbench import records
from nnbench.show.text import cell_line

if TYPE_CHECKING:
    from rich.console import Console

    from nnbench.records import CellResult, CellSpec, Event


class Silent:
    """Shows nothing, and is the base of those that do."""

    def __enter__(self) -> Self:
        """Start the display."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def cell_started(self, spec: CellSpec) -> None:
        """See nnbench.runs.runner.Display."""

    def cell_event(self, event: Event) -> None:
        """See nnbench.runs.runner.Display."""

    def cell_finished(self, result: CellResult) -> None:
        """See nnbench.runs.runner.Display."""

    def cell_kept(self, result: CellResult) -> None:
        """See nnbench.runs.runner.Display."""


class Plain(Silent):
    """One line for each finished cell, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def cell_finished(self, result: CellResult) -> None:
        """Print what became of the cell."""
        self.console.print(cell_line(result), markup=False, highlight=False, soft_wrap=True)


class Live(Plain):
    """The finished cells, and below them a bar for the run and one for the cell."""

    def __init__(self, console: Console, cells: int) -> None:
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
        self.run = self.progress.add_task("run", total=cells, state="")
        self.cell: TaskID | None = None
        self.spec: CellSpec | None = None

    def __enter__(self) -> Self:
        """Start the display."""
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away; the lines of finished cells stay."""
        self.progress.stop()

    def cell_started(self, spec: CellSpec) -> None:
        """Add a bar for the cell; it moves with the images, or the budget."""
        self.spec, self.images = spec, 0
        self.cell = self.progress.add_task(spec.label, total=1.0, state="starting")

    def cell_event(self, event: Event) -> None:
        """Move the cell's bar."""
        if self.cell is None or self.spec is None:
            return
        if isinstance(event, records.Ready):
            self.images = event.setup.epoch_images * self.spec.workload.epochs
        elif isinstance(event, records.Progress):
            share = max(event.images / self.images, event.train_s / self.spec.budget_s)
            rate = event.images / event.train_s
            loss = "not finite" if event.loss is None else f"{event.loss:.4f}"
            state = f"epoch {event.epoch}, {rate:,.0f} images/s, loss {loss}"
            self.progress.update(self.cell, completed=share, state=state)

    def cell_finished(self, result: CellResult) -> None:
        """Replace the cell's bar by a line."""
        if self.cell is not None:
            self.progress.remove_task(self.cell)
            self.cell = None
        self.progress.advance(self.run, int(result.final))
        super().cell_finished(result)

    def cell_kept(self, result: CellResult) -> None:
        """Move the bar of the run."""
        del result
        self.progress.advance(self.run)


def choose(console: Console, cells: int, *, wanted: bool) -> Silent:
    """Return the display that fits the console."""
    if not wanted:
        return Silent()
    return Live(console, cells) if console.is_terminal else Plain(console)
