"""Run the blocks of a run, write down what comes, and announce it.

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
from nnbench.runs.run import Run
from nnbench.runs.times import Times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from nnbench.records.events import Happening
    from nnbench.records.runs import RunInfo
    from nnbench.runs.planning import Plan

    Conclude = Callable[[Run], object]  #: writes the tables of the run
    #: Whether a run needs no further block, by all rounds before the first one that is not in. Blocks that come
    #: in early are those of fast machines, or of short trainings: who stopped when they look well would choose by them.
    Enough = Callable[[Run, Times], bool]

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
    workload = plan.info.workload
    digest = plan.executor.dataset_sha256(workload)
    classes = list(plan.executor.dataset_classes(workload))
    plan = plan._replace(info=replace(plan.info, dataset_sha256=digest, dataset_classes=classes))
    with store.hold(folder):
        store.create(folder, plan.info)
        _execute(plan, Run(plan.info, [], folder), folder, conclude, enough)


def resume(plan: Plan, folder: Path, conclude: Conclude, enough: Enough = never) -> None:
    """Run the blocks in which cells are missing in ``folder``, whose run is that of ``plan``.

    A block runs whole, with a new seed if that is drawn: who knows a part of its cells knows the seed.
    """
    require_same_dataset(folder, plan.info, plan.executor.dataset_sha256(plan.info.workload))
    with store.hold(folder):
        _execute(plan, Run.go_on(folder), folder, conclude, enough)


def require_same_dataset(folder: Path, info: RunInfo, digest: str) -> None:
    """Refuse to go on with a run whose dataset has changed."""
    if digest != info.dataset_sha256:
        name = info.workload.dataset
        raise ResultsError(f"{folder} cannot be resumed: the dataset {name} has changed")


def identify(info: RunInfo, folder: Path) -> str:
    """Return what tells a run from others, and stays the same when it is resumed."""
    return hashlib.sha256(f"{info.started} {folder.resolve()}".encode()).hexdigest()[:16]


def _execute(plan: Plan, run: Run, folder: Path, conclude: Conclude, enough: Enough) -> None:
    plan.executor.folder, plan.executor.identity = folder, identify(plan.info, folder)
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


class _Schedule:
    """Gives the executor one block after the other, and takes in what comes of them."""

    def __init__(self, plan: Plan, run: Run, folder: Path, enough: Enough) -> None:
        self.info, self.folder, self.executor = plan.info, folder, plan.executor
        self.run, self.enough = run, enough
        unavailable = self.info.unavailable
        self.kept = finished(run.cells)
        going, self.stops = going_on(self.info, self.kept)
        self.remaining = {e.label: e for e in plan.entries if e.label in going - {*unavailable}}
        self.ledger = store.Ledger(folder)
        self.again: deque[int] = deque()  #: rounds whose block was lost
        self.losses = Counter[int]()  #: blocks of each round
        self.unwritten: set[str] = set()  #: machines that run.json has not got yet
        self.adopted: set[int] = set()  #: rounds whose block ran already, as the run was killed
        self.next_round = 0  #: that is to be given out, if it is not kept
        #: labels of which a round that was given out has no cell
        self.missing: dict[int, set[str]] = {}
        self.times = Times()
        self.is_told = False  #: that there is enough, by all that has come in

    def execute(self) -> None:
        for label, reason in self.info.unavailable.items():
            if (0, label) not in self.kept:
                self.record(self.nothing(label, Status.SKIPPED, reason))
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
                self.drop_if_slow(result)
                self.note_in(result)
            case MachineJoined(name=name, machine=machine):
                if name not in self.run.info.machines:
                    machines = {**self.run.info.machines, name: machine}
                    self.run.info = replace(self.run.info, machines=machines)
                    self.unwritten.add(name)
            case BlockLost():
                self.lose(happening)
            case Queue():
                self.times.slots = happening.slots
                catalog.notify("nnbench_queue_changed", queue=happening)
            case unknown:
                assert_never(unknown)

    def rounds(self) -> Iterator[int | None]:
        """Yield the rounds in which something is left to run, and None for as long as there is enough; announce what was kept.

        An executor that takes the next block before the last one is over may make some more than enough.
        """
        for round_ in range(self.info.rounds):
            self.next_round = round_
            kept = {
                label: self.kept[key]
                for label in self.info.backends
                if (key := (round_, label)) in self.kept
            }
            if self.remaining.keys() <= kept.keys():
                for cell in kept.values():
                    catalog.notify("nnbench_cell_kept", result=cell)
                continue
            if round_ in self.adopted:
                continue
            while self.is_enough():
                yield None
            yield round_
        self.next_round = self.info.rounds

    def is_enough(self) -> bool:
        """Tell whether no further block is needed: asked again when one has come in, since then it may be."""
        if self.enough is not never and not self.is_told:
            first_out = min([self.next_round, *self.missing])
            self.is_told = self.enough(self.run.before(first_out), self.times)
        return self.is_told

    def note_in(self, result: CellResult) -> None:
        """Note that a cell is here, and with the last one its block."""
        missing = self.missing.get(result.round)
        if missing and result.final:
            missing.discard(result.backend)
            if not missing:
                del self.missing[result.round]
                self.times.end(result.round)
                self.is_told = False

    def adopt(self, block: Block) -> bool:
        """Take the block of a round that is not finished for its next attempt, if it is that."""
        labels = {entry.label for entry in block.entries}
        is_wanted = (
            block.round < self.info.rounds
            and block.attempt == self.next_attempt(block.round)
            and labels <= {*self.info.backends}
            and not all((block.round, label) in self.kept for label in self.remaining)
        )
        if is_wanted:
            self.adopted.add(block.round)
            self.note_out(block)
        return is_wanted

    def note_out(self, block: Block) -> None:
        """Note that a block runs."""
        self.missing[block.round] = {entry.label for entry in block.entries}
        self.times.begin(block.round)

    def next_attempt(self, round_: int) -> int:
        return self.run.attempted.get((0, round_), -1) + 1

    def block(self, round_: int) -> Block:
        """Return a block to be given out, all of it."""
        labels = [*self.info.backends, *self.info.unavailable]
        seed = self.seed(round_)
        order = seeding.block_order(labels, seed)
        block = Block(
            workload=self.info.workload,
            threads=self.info.threads,
            dataset_sha256=self.info.dataset_sha256,
            round=round_,
            seed=seed,
            open_seed=self.info.seed is not None,
            proof=self.info.proof or "off",
            keep_states=self.info.keep_states,
            turns=self.info.turns,
            baseline=self.info.baseline,
            attempt=self.next_attempt(round_),
            entries=[self.remaining[label] for label in order if label in self.remaining],
            budget_s=self.info.budget_s,
            timeout_s=self.info.timeout_s,
        )
        self.note_out(block)
        return block

    def lose(self, lost: BlockLost) -> None:
        """Write down that a block was lost, in the cells that it would have had; have it run again, if it may."""
        block = lost.block
        self.losses[block.round] += 1
        self.run.attempted[block.point, block.round] = block.attempt
        runs_again = self.losses[block.round] <= MORE
        self.times.drop(block.round)
        self.is_told = False
        if runs_again:
            self.again.append(block.round)
        else:
            self.missing.pop(block.round, None)
        for position, entry in enumerate(block.entries):
            nothing = self.nothing(entry.label, Status.LOST, lost.message)
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
        """Return the seed of a round; one that nobody asked for is known to nobody before."""
        if self.info.seed is not None:
            return self.info.seed + round_
        return secrets.randbits(SEED_BITS)

    def drop_if_slow(self, result: CellResult) -> None:
        """Leave a backend out of further blocks if it can't run, or is too slow for more.

        Variants of one backend are there to be compared, and need all their pairs.
        """
        entry = self.remaining.get(result.backend)
        self.stops[result.backend] += is_stopped(result)
        is_slow = self.stops[result.backend] >= SLOW_ROUNDS
        if entry and (result.status is Status.SKIPPED or (is_slow and not entry.variant)):
            del self.remaining[result.backend]

    def record(self, result: CellResult) -> None:
        result = replace(result, recorded=now())
        if result.machine in self.unwritten:  # all that have joined by now: there may be thousands
            store.rewrite(self.folder, self.run.info)
            self.unwritten.clear()
        self.ledger.append(result)
        self.run.add(result)
        catalog.notify("nnbench_cell_finished", result=result)

    def nothing(self, label: str, status: Status, reason: str) -> CellResult:
        """Return a cell of which there is nothing but why."""
        return CellResult(
            backend=label,
            workload=self.info.workload.name,
            round=0,
            seed=self.info.seed or 0,
            threads=self.info.threads,
            position=0,
            started=now(),
            wall_s=0.0,
            status=status,
            message=reason,
        )


class _Blocks(Blocks):
    """The blocks of a run: those that were lost first, then round after round."""

    def __init__(self, schedule: _Schedule) -> None:
        self._schedule, self._rounds = schedule, schedule.rounds()

    def __next__(self) -> Block:
        schedule = self._schedule
        runs_again = schedule.again and schedule.remaining
        round_ = schedule.again.popleft() if runs_again else next(self._rounds)
        if round_ is None:
            raise StopIteration
        return schedule.block(round_)

    def adopt(self, block: Block) -> bool:
        return self._schedule.adopt(block)


def is_stopped(result: CellResult) -> bool:
    """Tell whether the budget has stopped a backend in a block."""
    return result.status is Status.BUDGET and result.final


def going_on(
    info: RunInfo, kept: Mapping[tuple[int, str], CellResult]
) -> tuple[set[str], Counter[str]]:
    """Return the backends that further blocks have, and in how many blocks the budget has stopped each.

    Parameters
    ----------
    info
        Of a run that goes on.
    kept
        Its finished cells. Those of a block that was torn do not count, as it runs again: a block is whole if it has
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
    """Return the cells that need not run again, by round and backend."""
    return {
        (cell.round, cell.backend): cell
        for cell in cells
        if cell.final and cell.status is not Status.LOST
    }
