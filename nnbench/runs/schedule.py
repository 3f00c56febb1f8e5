"""Run the blocks of a run, write down what comes, and announce it.

A round has a block for each point of the run. Blocks are known by their number (:meth:`RunInfo.number`): round after round.

In a block every backend runs once, with the same seed, in an order that depends on the seed alone. Its
cells are written when all of them were judged: until then nobody can read its seed. A block that is lost
is given out again, whole. Several may run at once, and come in out of order.
All events of a run are announced here, whatever command started it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, deque
from contextlib import closing, suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, assert_never

from nnbench import catalog
from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.data import seeding
from nnbench.execution.executor import Blocks
from nnbench.records.cells import CellResult, Status, now
from nnbench.records.events import (
    BlockLost,
    CellEvent,
    CellFinished,
    CellStarted,
    MachineJoined,
    Queue,
)
from nnbench.records.runs import Block
from nnbench.runs import observing, store
from nnbench.runs.sweep import Sweep
from nnbench.runs.times import Times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from nnbench.records.events import Happening
    from nnbench.records.runs import Point, RunInfo
    from nnbench.runs.planning import Plan
    from nnbench.runs.run import Run

    Conclude = Callable[[Sweep], object]  #: writes the tables of the run
    #: Whether a point needs no further block, by all its rounds before the first one that is not in. Blocks that come
    #: in early are those of fast machines, or of short trainings: who stopped when they look well would choose by them.
    Enough = Callable[[Run, Times], bool]
    Kept = Mapping[tuple[int, str], CellResult]

SEED_BITS = 48  #: of a seed that is drawn
MORE = 2  #: attempts at a block that is lost, in one run
SLOW_ROUNDS = 3  #: blocks in which the budget stops a backend that further ones are made without


def never(_: Run, __: Times) -> bool:
    """Have a run make all of its rounds."""
    return False


def by(is_over: Callable[[Run], bool]) -> Enough:
    """End a run by what its rounds have shown."""
    return lambda run, _: is_over(run)


class TimeLimit:
    """Ends a run before a block that would end too late, by the longest so far; but makes so many.

    Parameters
    ----------
    seconds
        From now on.
    fewest
        Blocks that are made, however long they take.
    """

    def __init__(self, seconds: float, fewest: int) -> None:
        self.fewest = fewest
        self._end = monotonic() + seconds

    def __call__(self, _: Run, times: Times) -> bool:
        """Tell whether the time is up; asked before each block."""
        return times.given >= self.fewest and monotonic() + times.longest_s > self._end

    def fits(self, times: Times) -> int:
        """Return how many rounds in all will be made, if each takes as long as those before."""
        return max(self.fewest, times.given + times.fitting(self._end - monotonic()))


def run(plan: Plan, folder: Path, conclude: Conclude, enough: Enough = never) -> None:
    """Run every cell, in a folder without a run, and write each result as it comes.

    ``enough`` is asked before each block, and may end the run before all rounds are made.
    Whatever ends this, an interruption (KeyboardInterrupt) as well: the cells trained by then
    are in ``folder``, ``conclude`` was called with the run, and the end of the run was announced.
    """
    points = [with_dataset(plan, point) for point in plan.info.points]
    plan = plan._replace(info=replace(plan.info, points=points))
    with store.hold(folder):
        store.create(folder, plan.info)
        _execute(plan, Sweep(plan.info, [], folder), folder, conclude, enough)


def with_dataset(plan: Plan, point: Point) -> Point:
    """Return a point with what its dataset is."""
    digest = plan.executor.dataset_sha256(point.workload)
    classes = [*plan.executor.dataset_classes(point.workload)]
    return replace(point, dataset_sha256=digest, dataset_classes=classes)


def resume(plan: Plan, folder: Path, conclude: Conclude, enough: Enough = never) -> None:
    """Run the blocks in which cells are missing in ``folder``, whose run is that of ``plan``.

    A block runs whole, with a new seed if that is drawn: who knows a part of its cells knows the seed.
    """
    for point in plan.info.points:
        require_same_dataset(folder, point, plan.executor.dataset_sha256(point.workload))
    with store.hold(folder):
        _execute(plan, Sweep.go_on(folder), folder, conclude, enough)


def require_same_dataset(folder: Path, point: Point, digest: str) -> None:
    """Refuse to go on with a run whose dataset has changed."""
    if digest != point.dataset_sha256:
        name = point.workload.dataset
        raise ResultsError(f"{folder} cannot be resumed: the dataset {name} has changed")


def identify(info: RunInfo, folder: Path) -> str:
    """Return what tells a run from others, and stays the same when it is resumed."""
    return hashlib.sha256(f"{info.started} {folder.resolve()}".encode()).hexdigest()[:16]


def _execute(plan: Plan, run: Sweep, folder: Path, conclude: Conclude, enough: Enough) -> None:
    plan.executor.folder, plan.executor.identity = folder, identify(plan.info, folder)
    plan.executor.number = plan.info.number
    with observing.told():
        catalog.notify("nnbench_run_started", run=run.info, folder=folder)
        try:
            _Schedule(plan, run, folder, enough).execute()
        except store.ForgedError:
            raise  # nothing is concluded from what others have written
        except BaseException:
            with suppress(NnbenchError, OSError):  # what ended the run is the one to report
                conclude(run)
            raise
        else:
            conclude(run)
        finally:
            catalog.notify("nnbench_run_finished", run=run.info, folder=folder)


class _AtPoint:
    """What is left to be done at a point of a run."""

    def __init__(self, plan: Plan, index: int, kept: Kept) -> None:
        self.index, self.point = index, plan.info.points[index]
        self.kept = kept  #: its finished cells, by round and backend
        going, self.stops = going_on(plan.info, kept)
        unavailable = plan.info.unavailable
        self.remaining = {e.label: e for e in plan.entries if e.label in going - {*unavailable}}
        self.next_round = 0  #: that is to be given out, if it is not kept
        self.is_told = False  #: that there is enough, by all that has come in

    def is_made(self, round_: int) -> bool:
        """Tell whether a round has a cell of each backend that goes on."""
        return all((round_, label) in self.kept for label in self.remaining)

    def drop_if_slow(self, result: CellResult) -> None:
        """Leave a backend out of further blocks if it can't run, or is too slow for more.

        Variants of one backend are there to be compared, and need all their pairs.
        """
        entry = self.remaining.get(result.backend)
        self.stops[result.backend] += is_stopped(result)
        is_slow = self.stops[result.backend] >= SLOW_ROUNDS
        if entry and (result.status is Status.SKIPPED or (is_slow and not entry.variant)):
            del self.remaining[result.backend]


class _Schedule:
    """Gives the executor one block after the other, and takes in what comes of them."""

    def __init__(self, plan: Plan, run: Sweep, folder: Path, enough: Enough) -> None:
        self.info, self.folder, self.executor = plan.info, folder, plan.executor
        self.run, self.enough = run, enough
        self.points = [
            _AtPoint(plan, index, finished(own.cells)) for index, own in enumerate(run.runs)
        ]
        self.ledger = store.Ledger(folder)
        self.again: deque[int] = deque()  #: blocks that were lost
        self.losses = Counter[int]()  #: of each block
        self.unwritten: set[str] = set()  #: machines that run.json has not got yet
        self.adopted: set[int] = set()  #: blocks that ran already, as the run was killed
        #: labels of which a block that was given out has no cell
        self.missing: dict[int, set[str]] = {}
        self.times = Times()

    def execute(self) -> None:
        for label, reason in self.info.unavailable.items():
            for at in self.points:
                if (0, label) not in at.kept:
                    self.record(self.nothing(at, label, Status.SKIPPED, reason))
        with closing(self.executor.run(_Blocks(self))) as happenings:
            try:
                for happening in happenings:
                    self.take_in(happening)
            except BaseException as error:
                if isinstance(error, Exception):
                    raise
                # An interruption. The executor knows of it if it was at work; else it is told, and
                # gives what it has trained so far before it raises it again.
                self.take_in(happenings.throw(error))
                for happening in happenings:
                    self.take_in(happening)
                raise
        self.ledger.check()

    def take_in(self, happening: Happening) -> None:
        match happening:
            case CellStarted(spec=spec, machine=machine):
                catalog.notify("nnbench_cell_started", spec=spec, machine=machine)
            case CellEvent(spec=spec, event=event):
                catalog.notify("nnbench_cell_event", spec=spec, event=event)
            case CellFinished(result=result):
                self.record(result)
                self.points[result.point].drop_if_slow(result)
                self.note_in(result)
            case MachineJoined(name=name, machine=machine):
                if name not in self.run.info.machines:
                    self.run.join(name, machine)
                    self.unwritten.add(name)
            case BlockLost():
                self.lose(happening)
            case Queue():
                self.times.slots = happening.slots
                catalog.notify("nnbench_queue_changed", queue=happening)
            case unknown:
                assert_never(unknown)

    def blocks(self) -> Iterator[tuple[_AtPoint, int] | None]:
        """Yield points and rounds of which something is left to run, and None for as long as there is enough of all; announce what was kept.

        An executor that takes the next block before the last one is over may make some more than enough. Rounds of a point
        that has enough by now wait until the end: there may be less than enough when others have come in.
        """
        waiting: list[tuple[_AtPoint, int]] = []
        rest = set[int]()  # points that wait
        for round_ in range(self.info.rounds):
            for at in self.points:
                if at.index not in rest:
                    at.next_round = round_
                if at.is_made(round_):
                    for label in self.info.backends:
                        if cell := at.kept.get((round_, label)):
                            catalog.notify("nnbench_cell_kept", result=cell)
                elif self.number(at, round_) not in self.adopted:
                    if at.index not in rest and not self.is_enough(at):
                        yield at, round_
                    else:
                        rest.add(at.index)
                        waiting.append((at, round_))
        while waiting:
            left = next((each for each in waiting if not self.is_enough(each[0])), None)
            if left:
                waiting.remove(left)
                later = [round_ for at, round_ in waiting if at is left[0]]
                left[0].next_round = min(later, default=self.info.rounds)
            if left is None or not left[0].is_made(left[1]):
                yield left
        for at in self.points:
            at.next_round = self.info.rounds

    def number(self, at: _AtPoint, round_: int) -> int:
        return self.info.number(at.index, round_)

    def is_enough(self, at: _AtPoint) -> bool:
        """Tell whether a point needs no further block: asked again when one has come in, since then it may."""
        if self.enough is not never and not at.is_told:
            rounds, count = self.missing.keys(), len(self.points)
            out = [number // count for number in rounds if number % count == at.index]
            before = self.run.runs[at.index].before(min([at.next_round, *out]))
            at.is_told = self.enough(before, self.times)
        return at.is_told

    def note_in(self, result: CellResult) -> None:
        """Note that a cell is here, and with the last one its block."""
        number = self.info.number(result.point, result.round)
        missing = self.missing.get(number)
        if missing and result.final:
            missing.discard(result.backend)
            if not missing:
                del self.missing[number]
                self.times.end(number)
                self.points[result.point].is_told = False

    def adopt(self, block: Block) -> bool:
        """Take a block that is not finished for its next attempt, if it is that."""
        labels = {entry.label for entry in block.entries}
        is_wanted = (
            block.round < self.info.rounds
            and block.point < len(self.points)
            and block.attempt == self.next_attempt(block.point, block.round)
            and labels <= {*self.info.backends}
            and not self.points[block.point].is_made(block.round)
        )
        if is_wanted:
            self.adopted.add(self.info.number(block.point, block.round))
            self.note_out(block)
        return is_wanted

    def note_out(self, block: Block) -> None:
        """Note that a block runs."""
        number = self.info.number(block.point, block.round)
        self.missing[number] = {entry.label for entry in block.entries}
        self.times.begin(number)

    def next_attempt(self, point: int, round_: int) -> int:
        return self.run.attempted.get((point, round_), -1) + 1

    def block(self, at: _AtPoint, round_: int) -> Block:
        """Return a block to be given out, all of it."""
        labels = [*self.info.backends, *self.info.unavailable]
        seed = self.seed(round_)
        order = seeding.block_order(labels, seed)
        block = Block(
            point=at.index,
            workload=at.point.workload,
            threads=at.point.threads,
            dataset_sha256=at.point.dataset_sha256,
            round=round_,
            seed=seed,
            open_seed=self.info.seed is not None,
            proof=self.info.proof or "off",
            keep_states=self.info.keep_states,
            turns=self.info.turns,
            baseline=self.info.baseline,
            attempt=self.next_attempt(at.index, round_),
            entries=[at.remaining[label] for label in order if label in at.remaining],
            budget_s=self.info.budget_s,
            timeout_s=self.info.timeout_s,
        )
        self.note_out(block)
        return block

    def lost(self) -> tuple[_AtPoint, int] | None:
        """Return the point and the round of a block that was lost and runs again, if there is one."""
        while self.again:
            round_, index = divmod(self.again.popleft(), len(self.points))
            if self.points[index].remaining:
                return self.points[index], round_
        return None

    def lose(self, lost: BlockLost) -> None:
        """Write down that a block was lost, in the cells that it would have had; have it run again, if it may."""
        block, at = lost.block, self.points[lost.block.point]
        number = self.number(at, block.round)
        self.losses[number] += 1
        self.run.attempted[block.point, block.round] = block.attempt
        runs_again = self.losses[number] <= MORE
        self.times.drop(number)
        at.is_told = False
        if runs_again:
            self.again.append(number)
        else:
            self.missing.pop(number, None)
        for position, entry in enumerate(block.entries):
            nothing = self.nothing(at, entry.label, Status.LOST, lost.message)
            self.record(
                replace(
                    nothing,
                    round=block.round,
                    seed=block.seed,
                    position=position,
                    machine=lost.machine,
                    block_attempt=block.attempt,
                    final=not runs_again,
                )
            )

    def seed(self, round_: int) -> int:
        """Return the seed of a block; one that nobody asked for is known to nobody before.

        One that was asked for is that of a round at each point, as if the point had a run of its own.
        """
        if self.info.seed is not None:
            return self.info.seed + round_
        return secrets.randbits(SEED_BITS)

    def record(self, result: CellResult) -> None:
        result = replace(result, recorded=now())
        if result.machine in self.unwritten:  # all that have joined by now: there may be thousands
            store.rewrite(self.folder, self.run.info)
            self.unwritten.clear()
        self.ledger.append(result)
        self.run.add(result)
        catalog.notify("nnbench_cell_finished", result=result)

    def nothing(self, at: _AtPoint, label: str, status: Status, reason: str) -> CellResult:
        """Return a cell of which there is nothing but why."""
        return CellResult(
            backend=label,
            workload=at.point.workload.name,
            point=at.index,
            round=0,
            seed=self.info.seed or 0,
            threads=at.point.threads,
            position=0,
            started=now(),
            wall_s=0.0,
            status=status,
            message=reason,
        )


class _Blocks(Blocks):
    """The blocks of a run: those that were lost first, then round after round."""

    def __init__(self, schedule: _Schedule) -> None:
        self._schedule, self._blocks = schedule, schedule.blocks()

    def __next__(self) -> Block:
        next_one = self._schedule.lost() or next(self._blocks)
        if next_one is None:
            raise StopIteration
        return self._schedule.block(*next_one)

    def adopt(self, block: Block) -> bool:
        return self._schedule.adopt(block)


def is_stopped(result: CellResult) -> bool:
    """Tell whether the budget has stopped a backend in a block."""
    return result.status is Status.BUDGET and result.final


def going_on(info: RunInfo, kept: Kept) -> tuple[set[str], Counter[str]]:
    """Return the backends that further blocks of a point have, and in how many of its blocks the budget has stopped each.

    Parameters
    ----------
    info
        Of a run that goes on.
    kept
        Its finished cells at the point. Those of a block that was torn do not count, as it runs again: a block is whole if it has
        all backends that were not left out by others.
    """
    rounds: dict[int, dict[str, CellResult]] = {}
    for (round_, label), cell in kept.items():
        rounds.setdefault(round_, {})[label] = cell
    going = {*info.backends}
    while True:
        whole = [
            cell for cells in rounds.values() if going <= cells.keys() for cell in cells.values()
        ]
        stops = Counter(cell.backend for cell in whole if is_stopped(cell))
        left = {cell.backend for cell in whole if cell.status is Status.SKIPPED}
        left |= {label for label, count in stops.items() if count >= SLOW_ROUNDS}
        if not left & going:
            return going, stops
        going -= left


def finished(cells: Iterable[CellResult]) -> dict[tuple[int, str], CellResult]:
    """Return the cells of a point that need not run again, by round and backend."""
    return {
        (cell.round, cell.backend): cell
        for cell in cells
        if cell.final and cell.status is not Status.LOST
    }
