"""Run the blocks of a run, write down what comes, and announce it.

In a block every backend runs once, with the same seed, in an order that depends on the seed alone. Its
cells are written when all of them were judged: until then nobody can read its seed. A block that is lost
is given out again, whole.
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
from nnbench.records import (
    Block,
    BlockLost,
    CellEvent,
    CellFinished,
    CellResult,
    CellStarted,
    MachineJoined,
    Status,
    now,
)
from nnbench.runs import observing, store
from nnbench.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from nnbench.records import Happening, RunInfo
    from nnbench.runs.planning import Plan

    Conclude = Callable[[Run], object]  #: writes the tables of the run
    Enough = Callable[[Run], bool]  #: whether a run needs no further block

SEED_BITS = 48  #: of a seed that is drawn
MORE = 2  #: attempts at a block that is lost, in one run
SLOW_ROUNDS = 3  #: blocks of a backend that the budget stops before its training is complete


def never(_: Run) -> bool:
    """Have a run make all of its rounds."""
    return False


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
        self.rounds = 0  #: that are made
        self.round_s = self._longest = 0.0  #: the last one took
        self._before = monotonic()
        self._end = self._before + seconds

    def __call__(self, run: Run) -> bool:
        """Tell whether the time is up; asked before each block."""
        now = monotonic()
        self.rounds = len({cell.round for cell in run.cells if cell.status.ran})
        if self.rounds:
            self.round_s = now - self._before
            self._longest = max(self._longest, self.round_s)
        self._before = now
        return self.rounds >= self.fewest and now + self._longest > self._end

    @property
    def fits(self) -> int:
        """Rounds in all that will be made, if each takes as long as the last one."""
        left_s = max(0.0, self._end - self._before)
        return max(self.fewest, self.rounds + int(left_s / self.round_s))


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
        self.remaining = {e.label: e for e in plan.entries if e.label not in unavailable}
        self.kept = finished(run.cells)
        self.ledger = store.Ledger(folder)
        self.again: deque[int] = deque()  #: rounds whose block was lost
        self.losses = Counter[int]()  #: blocks of each round
        self.unwritten: set[str] = set()  #: machines that run.json has not got yet
        self.adopted: set[int] = set()  #: rounds whose block runs already, as the run was killed

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
            case MachineJoined(name=name, machine=machine):
                if name not in self.run.info.machines:
                    machines = {**self.run.info.machines, name: machine}
                    self.run.info = replace(self.run.info, machines=machines)
                    self.unwritten.add(name)
            case BlockLost():
                self.lose(happening)
            case unknown:
                assert_never(unknown)

    def rounds(self) -> Iterator[int]:
        """Yield the rounds in which something is left to run; of others, announce what was kept.

        An executor that takes the next block before the last one is over may make one more than enough.
        """
        for round_ in range(self.info.rounds):
            kept = [cell for label in self.remaining if (cell := self.kept.get((round_, label)))]
            if len(kept) == len(self.remaining):
                for cell in kept:
                    catalog.notify("nnbench_cell_kept", result=cell)
                    self.drop_if_slow(cell)
                continue
            if round_ in self.adopted:
                continue
            if self.enough(self.run):
                return
            yield round_

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
        return is_wanted

    def next_attempt(self, round_: int) -> int:
        return self.run.attempted.get((0, round_), -1) + 1

    def block(self, round_: int) -> Block:
        """Return a block, all of it."""
        labels = [*self.info.backends, *self.info.unavailable]
        seed = self.seed(round_)
        order = seeding.block_order(labels, seed)
        return Block(
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

    def lose(self, lost: BlockLost) -> None:
        """Write down that a block was lost, in the cells that it would have had; have it run again, if it may."""
        block = lost.block
        self.losses[block.round] += 1
        self.run.attempted[block.point, block.round] = block.attempt
        runs_again = self.losses[block.round] <= MORE
        if runs_again:
            self.again.append(block.round)
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
        has_had_enough = is_too_slow(result)
        if entry and (result.status is Status.SKIPPED or (has_had_enough and not entry.variant)):
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
        return schedule.block(schedule.again.popleft() if runs_again else next(self._rounds))

    def adopt(self, block: Block) -> bool:
        return self._schedule.adopt(block)


def is_too_slow(result: CellResult) -> bool:
    """Tell whether the budget has stopped a backend in so many blocks that it is left out of others."""
    is_slow = result.status is Status.BUDGET and result.final
    return is_slow and result.round + 1 >= SLOW_ROUNDS


def finished(cells: Iterable[CellResult]) -> dict[tuple[int, str], CellResult]:
    """Return the cells that need not run again, by round and backend."""
    return {
        (cell.round, cell.backend): cell
        for cell in cells
        if cell.final and cell.status is not Status.LOST
    }
