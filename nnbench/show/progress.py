"""How a run goes on: an observer like any other, registered for the run.

It is live on a terminal, and a line for each cell elsewhere. There the ratios so far are to be had from ``nnbench show``,
which reads the folder of a run that goes on as that of any other.
"""

from __future__ import annotations

import importlib
import math
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from nnbench import catalog
from nnbench.contract import hookimpl
from nnbench.execution import pauses
from nnbench.figures import axes, columns, statistics
from nnbench.figures.standings import Standing, UnderWay, standings
from nnbench.proof import kept
from nnbench.records import events
from nnbench.records.cells import LOCAL, Status
from nnbench.runs.sweep import Sweep
from nnbench.runs.times import Times
from nnbench.show.machines import GAP, Machines, in_rows
from nnbench.show.terminal import fit, grid, plain, say
from nnbench.show.text import bytes_text, cell_line, count, duration, sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console, RenderableType
    from rich.progress import TaskID

    from nnbench.figures.columns import Column
    from nnbench.figures.frames import Group
    from nnbench.records.cells import CellResult, CellSpec, Setup
    from nnbench.records.events import Event, Queue
    from nnbench.records.runs import RunInfo

LOOK_S = 0.25  #: between two looks at how things stand, at least
REST = 20  #: times as long as the last look took, likewise
REST_LINES = 6  #: of a terminal, beside rows of backends and lines of machines
LONG_S = 0.1  #: of a look, as after hundreds of rounds: from then on no event is worth one that is not due


def can_redraw(console: Console) -> bool:
    """Tell whether lines can be drawn over: on a terminal that says that it is dumb they cannot."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show the runs within this context on a console."""
    observer = Live(console) if can_redraw(console) else Plain(console)
    catalog.manager().register(observer, name=__name__)
    try:
        with _cursor_hidden(console):
            yield
    finally:
        catalog.manager().unregister(observer)


def _cursor_hidden(console: Console) -> AbstractContextManager[None]:
    """Have the cursor back for as long as Ctrl-Z stops nnbench, on a terminal where a live display hides it."""
    if can_redraw(console):
        with suppress(OSError):  # it pretends to be one
            return pauses.without_cursor(console.file.fileno())
    return nullcontext()


@contextmanager
def steps(console: Console, *, is_live: bool) -> Iterator[Callable[[str, str], None]]:
    """Show what is done for several things at once: a line for each step, and on a terminal how long it takes.

    Yields
    ------
    Callable
        To be called with the name of a thing and its next step.
    """
    with ExitStack() as stack:
        bar: Progress | None = None
        tasks: dict[str, TaskID] = {}
        if is_live and can_redraw(console):
            text = TextColumn("{task.description}", markup=False)
            columns = SpinnerColumn(), text, TimeElapsedColumn()
            stack.enter_context(_cursor_hidden(console))
            bar = stack.enter_context(Progress(*columns, console=console, transient=True))

        def tell(name: str, step: str) -> None:
            say(console, f"nnbench: {name} {step}")
            if bar:
                if name in tasks:
                    bar.remove_task(tasks[name])
                tasks[name] = bar.add_task(plain(f"{name} {step}", console.encoding), total=None)

        yield tell


class Plain:
    """One line for each finished cell, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.states: Path | None = None  # where they will be kept, until their size was said
        self.where: dict[int, str] = {}  # what tells each point from the others

    @hookimpl
    def nnbench_run_started(self, run: RunInfo, folder: Path) -> None:
        """Remember whether states are kept, and what the points are."""
        self.states = folder / kept.FOLDER if run.keep_states else None
        settings = axes.settings(run.points)
        self.where = {index: axes.described(own) for index, own in enumerate(settings)}

    @hookimpl
    def nnbench_cell_event(self, spec: CellSpec, event: Event) -> None:
        """Say how large the states will be that are kept, when the first cell is set up."""
        if isinstance(event, events.Ready) and self.states:
            say(self.console, states_line(self.states, spec, event.setup))
            self.states = None

    @hookimpl
    def nnbench_cell_finished(self, result: CellResult) -> None:
        """Print what became of the cell."""
        say(self.console, cell_line(result, self.where.get(result.point, "")))


def states_line(folder: Path, spec: CellSpec, setup: Setup) -> str:
    """Say how large the states of a cell will be; what rounding allows may cut an epoch more often."""
    workload = spec.workload
    size = kept.cut_size(setup.parameters, has_moments=workload.optimizer.keeps_moments)
    epoch_steps = math.ceil(setup.epoch_images / (workload.batch_size or setup.epoch_images))
    cuts = kept.least_cuts(workload.epochs, epoch_steps)
    return f"states: {bytes_text(size)} a cut, {bytes_text(size * cuts)} or more a cell, kept in {folder}"


class Live(Plain):
    """The finished cells, and below them a bar for the run and how its backends stand.

    What takes time is done when an event comes, since then no timed call is running. All that goes on beside
    one is that the terminal is drawn, four times a second.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self.task = self.bar.add_task("run", state="starts")
        #: By their number, blocks that were given out: an executor may have several.
        self.rounds: dict[int, Round] = {}
        self.latest: Round | None = None  # of which something was heard
        self.over = 0  # cells
        self.done: set[int] = set()  # blocks
        self.machines = Machines()
        self.times = Times()
        self.groups: dict[
            int, dict[str, Group]
        ] = {}  # of each point; what is missing is to be made
        self.look_s = 0.0  # that the last one took
        self.next_look = 0.0

    @hookimpl
    def nnbench_run_started(self, run: RunInfo, folder: Path) -> None:
        """Show the bar, and import what intervals need before anything is timed."""
        super().nnbench_run_started(run, folder)
        self.bar.update(self.task, total=len(run.backends) * run.blocks)
        self.bar.start()
        self.run = Sweep(run, folder=folder)
        _ = self.run.cells  # of before, if it is resumed
        importlib.import_module("nnbench.figures.frames")
        statistics.import_libraries(run.rounds)

    @hookimpl
    def nnbench_run_finished(self) -> None:
        """Take it all away; the lines of finished cells stay."""
        self.bar.stop()

    @hookimpl
    def nnbench_queue_changed(self, queue: Queue) -> None:
        """Show what waits."""
        self.machines.queue = queue
        self.times.slots = queue.slots
        for number in (*queue.given, *queue.arrived):
            self.round(number)
        self.look()

    @hookimpl
    def nnbench_cell_started(self, spec: CellSpec, machine: str) -> None:
        """Show the cell, or another attempt at it; all are kept of a baseline that comes once more in turns."""
        self.latest = self.round(self.run.info.number(spec.point, spec.round))
        self.latest.machine = machine
        attempts = self.latest.cells.setdefault(spec.label, [])
        if not (self.run.info.turns and spec.label == self.run.info.baseline):
            attempts.clear()
        attempts.append(UnderWay(spec))
        self.look()

    @hookimpl
    def nnbench_cell_event(self, spec: CellSpec, event: Event) -> None:
        """Show what it tells; of what comes often, now and then. Of a cell that began before a kill its start is not told."""
        super().nnbench_cell_event(spec, event)
        round_ = self.round(self.run.info.number(spec.point, spec.round))
        round_.cells.setdefault(spec.label, [UnderWay(spec)])[-1].take_in(event)
        is_often = isinstance(event, events.Progress)
        if is_often and round_.trains is None:
            round_.trains = monotonic()
        self.look(is_often=is_often)

    @hookimpl
    def nnbench_cell_finished(self, result: CellResult) -> None:
        """Replace the cell by a line, and count it in."""
        self.run.add(result)
        self.groups.pop(result.point, None)
        number, label = self.run.info.number(result.point, result.round), result.backend
        round_ = self.rounds.get(number)
        if result.status is Status.LOST:
            if round_:  # with its first cell; what runs again begins anew
                self.machines.lost[result.machine] += 1
                self.times.drop(number)
                del self.rounds[number]
            if result.final:
                self.done.add(number)
            self.over += result.final
        elif result.final and round_:
            round_.judged[label] = result.status
            self.over += 1
            if round_.is_over and number not in self.done:
                self.machines.done[result.machine] += 1
                self.times.end(number)
                self.done.add(number)
        super().nnbench_cell_finished(result)
        self.look()

    @hookimpl
    def nnbench_cell_kept(self, result: CellResult) -> None:
        """Move the bar."""
        self.over += 1
        self.done.add(self.run.info.number(result.point, result.round))
        self.look()

    def round(self, number: int) -> Round:
        """Return a block, which begins if it has not."""
        if number not in self.rounds:
            self.rounds = {number: each for number, each in self.rounds.items() if not each.is_over}
            self.rounds[number] = Round(number)
            self.times.begin(number)
        return self.rounds[number]

    @property
    def running(self) -> list[Round]:
        """The blocks that train, or are judged."""
        return [each for each in self.rounds.values() if each.cells and not each.is_over]

    def look(self, *, is_often: bool = False) -> None:
        """Find out how things stand, and show it; then rest from it.

        What comes often waits until the rest is over. So does everything once a look takes long, and if blocks run
        elsewhere: of many at once one always has something to tell.
        """
        from nnbench.figures import frames

        start, info = monotonic(), self.run.info
        is_here = info.executor == LOCAL
        if start < self.next_look and (is_often or not is_here or self.look_s > LONG_S):
            return
        round_ = (
            self.latest
            if is_here
            else min(self.running, default=None, key=lambda each: each.number)
        )
        if round_ or not is_here:
            number, index = divmod(round_.number if round_ else 0, len(info.points))
            at = self.run.runs[index]
            if index not in self.groups:
                self.groups[index] = frames.groups(at.info, at.cells, at.further)
            found = standings(at.info, self.groups[index], round_.results if round_ else {})
            if is_here and round_:
                head, state = f"round {number + 1} of {info.rounds}", round_.state(info)
                rows = [round_.line(at.info, standing) for standing in found]
            else:
                head = f"{len(self.done)} of {count(info.blocks, self.noun)}"
                state = self.machines.counts(len(self.running))
                rows = [Line(standing, basis(at.info, standing)) for standing in found]
            head = ", ".join(filter(None, [head, self.where[index]]))
            self.show(head, state, rows, self.outlook(found))
        done = self.over + sum(each.unjudged for each in self.rounds.values())
        self.bar.update(self.task, completed=done)
        end = monotonic()
        self.look_s = end - start
        self.next_look = end + max(LOOK_S, REST * self.look_s)

    def show(self, head: str, state: str, rows: Sequence[Line], *lines: str) -> None:
        """Show the bar with its words, and below it the table, what other machines do, and some lines."""
        info, encoding, size = self.run.info, self.console.encoding, self.console.size

        def text(said: str) -> Text:
            return Text(plain(said, encoding), "dim")

        shown = fit(live_columns(self.run.runs[0].info), [*rows, WIDEST], size.width)
        table = grid(sheet(columns.Table("", shown), rows), shown, encoding)
        machines = Table.grid(padding=(0, GAP, 0, 0))
        if info.executor != LOCAL:
            backends = len(info.backends)
            running = [(each.machine, each.in_brief(backends)) for each in self.running]
            texts = self.machines.texts(running)
            room = max(1, size.height - len(rows) - REST_LINES)
            for row in in_rows(texts, size.width, room):
                machines.add_row(*(text(each) for each in row))
        self.bar.below = (table, machines, *map(text, filter(None, lines)))
        self.bar.update(self.task, description=head, state=plain(state, encoding))

    def outlook(self, found: Iterable[Standing]) -> str:
        """Say what is still to come, how long it may take, and what is provisional."""
        info, queue = self.run.info, self.machines.queue
        if queue.is_ending:
            return "interrupted: no further block is begun, and Ctrl-C cancels those that run"
        begun = sum(not each.is_over for each in self.rounds.values())
        to_come = max(0, info.blocks - len(self.done) - begun)
        said = count(to_come, f"more {self.noun}") if to_come else f"the last {self.noun}"
        said += "s" if not to_come and begun > 1 else ""
        said += " at most" if info.detect and to_come else ""
        left_s = self.left_s(to_come)
        if left_s is not None and left_s >= 1:
            said += f", {'about' if self.times.took_s else 'more than'} {duration(left_s)} left"
        others = [each for each in found if each.backend != info.baseline]
        if any(each.ratio is not None and each.rounds < 2 for each in others):
            said += "; what one round says is provisional"
        return "; ".join(filter(None, [self.machines.waits(), said]))

    @property
    def noun(self) -> str:
        """What a block is called: of one point, a round."""
        return "block" if self.run.info.points[1:] else "round"

    def left_s(self, to_come: int) -> float | None:
        """Return seconds until the blocks that run, and so many more, are over; None if nothing is known.

        They will take what those before took. Of the first ones there is only what is left of the
        trainings that were begun, so it is the least that it can be.
        """
        block_s = self.times.block_s
        if block_s is None:
            spent = self.times.began
            known = [(spent[each.number], each.left_s) for each in self.running]
            now = monotonic()
            block_s = max(
                (now - since + left for since, left in known if left is not None), default=None
            )
        return None if block_s is None else self.times.needed_s(to_come, block_s)


@dataclass
class Round:
    """A block that runs."""

    number: int  #: see RunInfo.number
    machine: str = LOCAL
    trains: float | None = None  #: since when
    cells: dict[str, list[UnderWay]] = field(default_factory=dict)  #: attempts by label
    judged: dict[str, Status] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether all that has begun is judged."""
        return bool(self.judged) and self.judged.keys() >= self.cells.keys()

    @property
    def unjudged(self) -> float:
        """What the cells that are not judged come to, in cells."""
        return sum(own[-1].share for label, own in self.cells.items() if label not in self.judged)

    @property
    def results(self) -> dict[str, list[CellResult]]:
        """What there is of its cells so far."""
        return {label: [each.result for each in own] for label, own in self.cells.items()}

    @property
    def left_s(self) -> float | None:
        """Seconds until the trainings that were begun are over, at their pace so far; None if none has one."""
        last = [own[-1] for own in self.cells.values()]
        known = [(each.latest.train_s, each.share) for each in last if each.latest]
        if not known or self.trains is None:
            return None
        trained = sum(train_s for train_s, _ in known)
        rest = sum(train_s * (1 - share) / share for train_s, share in known if share)
        return (monotonic() - self.trains) * rest / trained if trained else 0.0

    def in_brief(self, backends: int) -> str:
        """Say how far so many backends have trained, or what else is done."""
        last = [own[-1] for own in self.cells.values()]
        if self.judged or (last and all(each.ended for each in last)):
            return "judges"
        if not any(each.latest for each in last):
            return "sets up"
        return f"{sum(each.share for each in last) / max(backends, len(last)):.0%}"

    def line(self, info: RunInfo, standing: Standing) -> Line:
        """Return what the table says of a backend."""
        label = standing.backend
        cell = self.cells[label][-1] if label in self.cells else None
        last = cell.latest if cell else None
        if label in self.judged:
            now = f"judged: {self.judged[label]}"
        else:
            now = stage(cell) if cell else "waits"
        return Line(
            standing=standing,
            of=basis(info, standing),
            images_per_s=last.images / last.train_s if last and last.train_s > 0 else None,
            loss=last.loss if last else None,
            now=now,
        )

    def state(self, info: RunInfo) -> str:
        """Say what is waited for."""
        if self.judged:
            return f"{len(self.judged)} of {len(self.cells)} judged"
        going = [own[-1] for own in self.cells.values() if not own[-1].ended]
        if not going:
            return f"{count(len(self.cells), 'cell')} to be judged"
        if starting := [each for each in going if not each.ready]:
            return f"sets up {starting[0].spec.label}"
        if all(each.share == 1 for each in going):
            return "phases of a step"
        return "all train in turns" if info.turns else f"trains {going[0].spec.label}"


class Bar(Progress):
    """A bar with something below it."""

    below: tuple[RenderableType, ...] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield both."""
        yield from super().get_renderables()
        yield from self.below


class Line(NamedTuple):
    """A row of the table."""

    standing: Standing
    of: str
    images_per_s: float | None = None
    loss: float | None = None
    now: str = ""


#: A row that needs as much room as others may, so that columns do not come and go.
WIDEST = Line(
    Standing("", 1.23, 1.23, 1.23), "100 turns", 1_000_000.0, loss=0.1, now="epoch 10, 100%"
)


def live_columns(info: RunInfo) -> list[Column]:
    """Return the columns of the table while a run goes on, those of the tables among them; of several blocks no more."""

    def of(standing_column: Column) -> Column:
        return standing_column._replace(text=lambda row: standing_column.text(row.standing))

    shown = [
        *(of(columns.column(info, name)) for name in ("backend", "speedup", "speedup_interval")),
        columns.plain("of", "of"),
    ]
    if info.executor != LOCAL:
        return shown
    return [
        *shown,
        columns.plain("images_per_s", "images/s", ",.0f")._replace(drop=2),
        columns.plain("loss", "loss", ".4f")._replace(drop=1),
        columns.plain("now", "now", wraps=True),
    ]


def basis(info: RunInfo, standing: Standing) -> str:
    """Say what a backend is held against the baseline by, or why it is not."""
    if standing.backend == info.baseline and not standing.no_rank:
        return "baseline"
    if standing.turns:
        return count(standing.turns, "turn")
    return count(standing.rounds, "round") if standing.rounds else standing.no_rank


def stage(cell: UnderWay) -> str:
    """Say where a cell stands until it is judged."""
    match cell:
        case UnderWay(ended=events.Failed(status=status)):
            return f"{status}, to be judged"
        case UnderWay(ended=events.Finished()):
            return "to be judged"
        case UnderWay(latest=events.Progress(epoch=epoch, loss=loss)):
            return f"epoch {epoch}, {cell.share:.0%}{', not finite' if loss is None else ''}"
        case UnderWay(ready=None):
            return "sets up"
        case _:
            return "ready"
