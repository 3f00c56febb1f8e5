"""Show a run while it goes on: a live display on a terminal, plain lines elsewhere.

It is an observer like any other, registered for the run.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, assert_never

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nnbench import catalog, records
from nnbench.contract import hookimpl
from nnbench.show.text import cell_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from nnbench.records import CellResult, CellSpec, Event, RunInfo


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

    @hookimpl
    def nnbench_cell_finished(self, result: CellResult) -> None:
        """Print what became of the cell."""
        self.console.print(cell_line(result), markup=False, highlight=False, soft_wrap=True)


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
        self.cells: dict[str, TaskID] = {}  # that are running, by label
        self.images = 0

    @hookimpl
    def nnbench_run_started(self, run: RunInfo) -> None:
        """Show the bar of the run."""
        self.progress.update(self.run, total=len(run.backends) * run.rounds)
        self.progress.start()

    @hookimpl
    def nnbench_run_finished(self) -> None:
        """Take the bars away; the lines of finished cells stay."""
        self.progress.stop()

    @hookimpl
    def nnbench_cell_started(self, spec: CellSpec) -> None:
        """Add a bar for the cell; it moves with the images, or the budget."""
        self.cells[spec.label] = self.progress.add_task(spec.label, total=1.0, state="starting")

    @hookimpl
    def nnbench_cell_event(self, spec: CellSpec, event: Event) -> None:
        """Move the cell's bar."""
        match event:
            case records.Ready(setup=setup):
                self.images = setup.epoch_images * spec.workload.epochs
            case records.Progress(epoch=epoch, images=images, train_s=train_s, loss=loss):
                share = max(images / self.images, train_s / spec.budget_s)
                shown = "not finite" if loss is None else f"{loss:.4f}"
                state = f"epoch {epoch}, {images / train_s:,.0f} images/s, loss {shown}"
                self.progress.update(self.cells[spec.label], completed=share, state=state)
            case records.EpochFinished() | records.Finished() | records.Failed():
                pass
            case unknown:
                assert_never(unknown)

    @hookimpl
    def nnbench_cell_finished(self, result: CellResult) -> None:
        """Replace the cell's bar by a line."""
        if (cell := self.cells.pop(result.backend, None)) is not None:
            self.progress.remove_task(cell)
            self.progress.advance(self.run, int(result.final))
        super().nnbench_cell_finished(result)

    @hookimpl
    def nnbench_cell_kept(self) -> None:
        """Move the bar of the run."""
        self.progress.advance(self.run)
