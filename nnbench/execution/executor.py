"""What runs the blocks of a run, and the one that is always there: it runs them on this machine.

What goes in and comes out are records (:mod:`nnbench.records`), so that both can be sent to another machine as
JSON, as :mod:`nnbench.execution.remote` does.
"""

from __future__ import annotations

import itertools
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from nnbench import catalog, selection
from nnbench.contract.errors import DatasetError, NnbenchError
from nnbench.data import arrays
from nnbench.execution import (
    ceilings,
    cell,
    disturbance,
    energy,
    fitness,
    gpu,
    interpreters,
    loading,
    machine,
    pauses,
    process,
    turns,
    variables,
    witnesses,
)
from nnbench.execution.assignment import Assignment
from nnbench.execution.cell import Cell, Spool
from nnbench.execution.cpus import Chooser
from nnbench.execution.judges import Judges
from nnbench.execution.memory import Memory
from nnbench.proof import kept
from nnbench.records.cells import LOCAL, CellResult, CellSpec
from nnbench.records.events import CellEvent, CellFinished, CellStarted, MachineJoined
from nnbench.records.runs import Block, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nnbench.contract.backend import Backend
    from nnbench.data.workloads import Workload
    from nnbench.execution.cpus import Held
    from nnbench.records.events import Event, Happening
    from nnbench.records.judging import JudgeCell
    from nnbench.records.runs import Entry
    from nnbench.records.worker import StoredSplits

    Keep = Callable[[CellResult, kept.States], object]


class Stopped(BaseException):
    """To be raised in a block that shall end at once, whatever it has trained."""


class Sizes(NamedTuple):
    """How large a training is."""

    epoch_steps: int
    parameters: int
    logits: int  #: numbers, of the whole test split
    dataset_bytes: int  #: that each worker gets


class Blocks(Iterator[Block]):
    """The blocks of a run. When there was no other one, and then one is lost, there may be another."""

    @abstractmethod
    def adopt(self, block: Block) -> bool:
        """Take a block that runs, or has run, for one that was given out; tell whether it is wanted."""


class Executor(ABC):
    """Knows its machines, and runs blocks on them."""

    folder: Path | None = None  #: of the run that it is used for: temporary files may lie there
    identity: str = ""  #: of that run, also when it is resumed
    known: Mapping[str, Machine] = MappingProxyType({})  #: machines of that run, when it is resumed
    number: Callable[[int, int], int]  #: of a block of that run, by its point and round

    def __init__(self) -> None:
        self.number = lambda _, round_: round_

    @property
    def slots(self) -> int:
        """How many blocks can run at once, as of now."""
        return 1

    @abstractmethod
    def machines(
        self, entries: Sequence[Entry], threads: int, libraries: Iterable[str] = ()
    ) -> dict[str, Machine]:
        """Look at the machines before a run: what they are, and what they cannot run.

        Parameters
        ----------
        entries
            The backends of the run. What of them cannot run on a machine is in its
            ``unavailable``.
        threads
            CPU threads of an entry that has none of its own.
        libraries
            Distributions whose versions belong into the environment.

        Returns
        -------
            Each machine by its name, without ceilings; one at least.

        Raises
        ------
        NnbenchError
            If no machine can be reached, or none has so many CPUs.
        """

    @abstractmethod
    def with_roofs(
        self, machines: dict[str, Machine], entries: Sequence[Entry], threads: Collection[int]
    ) -> dict[str, Machine]:
        """Return the machines with their ceilings, for the devices and threads of entries.

        ``threads`` are all those that an entry may have that has none of its own.
        """

    @abstractmethod
    def dataset_sha256(self, workload: Workload) -> str:
        """Load the dataset of a workload, and return the SHA-256 of its content.

        Raises
        ------
        DatasetError
            If it cannot be loaded, or does not fit the workload.
        """

    @abstractmethod
    def dataset_classes(self, workload: Workload) -> Sequence[int]:
        """Return what a dataset's source calls each of its classes; nothing where that is 0 to K - 1."""

    @abstractmethod
    def sizes(self, workload: Workload) -> Sizes:
        """Return how large the training of a workload is."""

    @abstractmethod
    def run(self, blocks: Iterable[Block]) -> Generator[Happening]:
        """Run blocks and yield what happens, each thing when it happens.

        The next block is taken when a machine is free for it, and no sooner: whoever gives the
        blocks leaves out the backends that have turned out too slow. A block chooses neither its
        machine nor its CPUs; a result names its machine. Every cell of a block yields a
        ``CellStarted`` and some ``CellEvent``, and so again if it is repeated; those of a block in turns
        mingle. Then, when all of
        them were trained and judged, a ``CellFinished`` for each attempt; or the block is lost as a whole
        (``BlockLost``). What the backend did is never
        an exception here. An interruption, thrown into it or not, lets what was trained by then be
        judged and yielded, and is raised again afterwards. When the iterator is closed, or has raised,
        nothing that it started is left running.
        """


def name_apart(name: str, machine: Machine, known: Mapping[str, Machine]) -> str:
    """Return what a machine is called beside others: if another one has its name, more of it."""
    print_ = machine.environment.fingerprint
    if name in known and known[name].environment.fingerprint != print_:
        return f"{name}-{print_[:6]}"
    return name


class LocalExecutor(Executor):
    """Runs one block at a time on this machine, on the least busy of the CPUs that it may use.

    Parameters
    ----------
    held
        CPUs for all of its blocks, if somebody holds them for it.
    keep
        Called with the states of each cell, if they are to be kept elsewhere than in the folder of the run.
    """

    name = LOCAL
    summary = "this machine, one block at a time"

    def __init__(self, held: Held | None = None, keep: Keep | None = None) -> None:
        super().__init__()
        self._held, self._keep = held, keep
        self._loaded: tuple[Workload, StoredSplits] | None = None  # one: MNIST has 200 MB
        self._release: Callable[[], object] = lambda: None
        self._seen: Machine | None = None

    def machines(
        self, entries: Sequence[Entry], threads: int, libraries: Iterable[str] = ()
    ) -> dict[str, Machine]:
        """Look at this machine."""
        unavailable = {e.label: why for e in entries if (why := _why_unavailable(e))}
        able = [entry for entry in entries if entry.label not in unavailable]
        cpus = machine.usable_cpus()
        most = max([threads, *(entry.threads or 0 for entry in able)])
        if cpus and most > len(cpus):
            raise NnbenchError(f"{most} threads are more than the {len(cpus)} CPUs nnbench may use")
        granted = machine.quota()
        if granted is not None and most > max(1.0, granted):
            text = f"{most} threads are more than the {granted:g} CPUs that a control group grants"
            raise NnbenchError(f"{text}: ask for fewer, or give the container more")
        here = machine.examine(libraries)
        named = {name for entry in able for name in _backend(entry).environment}
        dropped = variables.dropped(os.environ, named)
        found = Machine(
            environment=here,
            noise_floor=machine.noise_floor(here),
            turn_floor=machine.noise_floor(here, turns=True),
            warnings=[
                *fitness.warnings(
                    fitness.Place(
                        cpus=cpus,
                        threads=most,
                        uses_gpu="cuda" in _devices(able),
                        tuning=variables.tuning(dropped, here.versions),
                    )
                ),
                *process.not_kept(),
            ],
            unavailable=unavailable,
            dropped=dropped,
            meters=energy.meters(uses_gpu="cuda" in _devices(able)),
        )
        self._seen = found
        return {LOCAL: found}

    def with_roofs(
        self, machines: dict[str, Machine], entries: Sequence[Entry], threads: Collection[int]
    ) -> dict[str, Machine]:
        """Measure the ceilings of this machine, if they are not kept."""
        [here] = machines.values()
        able = [entry for entry in entries if entry.label not in here.unavailable]
        counts = [n for entry in able for n in ([entry.threads] if entry.threads else threads)]
        roofs = ceilings.roofs(here.environment, _devices(able), counts)
        return {LOCAL: replace(here, roofs=roofs)}

    def dataset_sha256(self, workload: Workload) -> str:
        """Load a dataset, once for all blocks."""
        return self.load(workload).sha256

    def dataset_classes(self, workload: Workload) -> Sequence[int]:
        """Return what the dataset's source calls its classes."""
        return self.load(workload).classes

    def sizes(self, workload: Workload) -> Sizes:
        """Return how large a training is, by its dataset."""
        task = Assignment(workload, 0, self.load(workload))
        return Sizes(
            epoch_steps=-(-task.examples // task.batch_size),
            parameters=task.network.parameter_count,
            logits=task.splits.test.inputs.shape[0] * task.splits.outputs,
            dataset_bytes=task.dataset_bytes,
        )

    def load(self, workload: Workload) -> StoredSplits:
        """Return a dataset, which is kept until another one is wanted."""
        if self._loaded is None or self._loaded[0] != workload:  # a plugin's may have no hash
            self._release()
            splits = loading.load(workload)
            self._loaded = workload, splits
            used = arrays.descriptors(splits.train, splits.test)
            self._release = weakref.finalize(self, arrays.release, used)
        return self._loaded[1]

    def _holder(self) -> Callable[[int], AbstractContextManager[Held]]:
        """Return what gives each block its CPUs."""
        held = self._held
        return Chooser().hold if held is None else lambda _: nullcontext(held)

    def run(self, blocks: Iterable[Block]) -> Generator[Happening]:
        """Run blocks one after the other; if others of the run were made on another machine, this one joins."""
        hold, where = self._holder(), LOCAL
        if self._seen and (where := name_apart(LOCAL, self._seen, self.known)) != LOCAL:
            yield MachineJoined(where, self._seen)
        with closing(Spool(self.folder)) as spool, pauses.heeded(), ExitStack() as stack:
            judges, judged, memory = None, None, None
            for block in blocks:
                splits = self.load(block.workload)
                if block.dataset_sha256 not in {"", splits.sha256}:
                    name = block.workload.dataset
                    raise DatasetError(f"{name} is another dataset here than in the run")
                if judges is None or memory is None or judged != block.workload:
                    judged = block.workload
                    task = Assignment(judged, block.seed, splits)
                    _ = task.layers  # what is too large ends here
                    memory = Memory(task.dataset_bytes)
                    stack.close()  # which ends those of another workload
                    judges = stack.enter_context(Judges(judged, splits, spool.descriptor))
                keep = self._keep
                if keep is None and self.folder:
                    keep = partial(kept.keep, self.folder)
                yield from _run_block(block, splits, spool, judges, memory, keep, hold, where)
                spool.clear()


def _run_block(
    block: Block,
    splits: StoredSplits,
    spool: Spool,
    judges: Judges,
    memory: Memory,
    keep: Keep | None,
    hold: Callable[[int], AbstractContextManager[Held]],
    where: str,
) -> Generator[Happening]:
    """Train all cells of a block, then have them judged; even if it is interrupted, but not if it is stopped."""
    assignment = Assignment(block.workload, block.seed, splits)
    kind = _InTurns if block.turns else _Whole
    training = kind(block, assignment, spool, judges, memory)
    threads = max(entry.threads or block.threads for entry in block.entries)
    interruption = None
    try:
        with hold(threads) as held:
            yield from training.run(held)
    except BaseException as error:
        if isinstance(error, (Exception, GeneratorExit, Stopped)):
            raise
        interruption = error  # such as KeyboardInterrupt: what was trained is judged first
    trained = training.trained()
    results = [*zip(trained, judges.judge(trained), strict=True)]
    chosen, witness = None, None
    if block.is_witnessed:
        chosen, witness = witnesses.draw(results, assignment.network, spool.descriptor)
    for judged, result in results:
        if keep and block.keep_states:
            parameters = assignment.network.parameter_count
            keep(result, kept.in_spool(judged.cuts, spool.descriptor, parameters))
        settled = replace(disturbance.settle(result), machine=where)
        yield CellFinished(settled, witness if judged is chosen else None)
    if interruption:
        raise interruption


class _Attempt:
    """An attempt at a cell of a block."""

    def __init__(self, block: Block, held: Held, position: int, number: int = 0) -> None:
        self.block, self.held, self.position, self.number = block, held, position, number
        self.entry = block.entries[position]
        self.spec = _spec(block, self.entry, held)
        self.backend = _backend(self.entry)
        self._sampler = gpu.Sampler()

    def announce(self, events: Iterable[Event]) -> Iterator[Happening]:
        """Yield the events of its cell, as what happens in the block."""
        for event in events:
            self._sampler(event)
            yield CellEvent(self.spec, event)

    def result(self, outcome: Cell) -> CellResult:
        """Return what became of it; no timed call may be running."""
        result = CellResult(
            backend=self.spec.label,
            workload=self.spec.workload.name,
            round=self.spec.round,
            seed=self.block.seed,
            threads=self.spec.threads,
            cpus=self.spec.cpus,
            shared_cpus=tuple(cpu for cpu in self.spec.cpus if cpu in self.held.shared),
            position=self.position,
            gpu=self._sampler.samples,
            point=self.block.point,
            block_attempt=self.block.attempt,
            **outcome.values,
        )
        return ceilings.measure_speed(result, self.spec)


@dataclass
class _Training(ABC):
    """How the cells of a block are trained."""

    block: Block
    assignment: Assignment
    spool: Spool
    judges: Judges
    memory: Memory

    @abstractmethod
    def run(self, held: Held) -> Iterator[Happening]:
        """Train them on CPUs that are held for them."""

    @abstractmethod
    def trained(self) -> list[JudgeCell]:
        """Return what there is to judge, wherever ``run`` was ended."""


@dataclass
class _Whole(_Training):
    """One after the other, each from its start to its end, and again if it was disturbed."""

    _trained: list[JudgeCell] = field(default_factory=list)

    def run(self, held: Held) -> Iterator[Happening]:
        """Train them; of each the last attempt is final."""
        for position in range(len(self.block.entries)):
            for number in range(disturbance.REPEATS + 1):
                attempt = _Attempt(self.block, held, position, number)
                yield CellStarted(attempt.spec)
                with cell.run(
                    attempt.spec, self.assignment, attempt.backend, self.spool, self.judges
                ) as (events, outcome):
                    yield from attempt.announce(events)
                result = disturbance.mark(attempt.result(outcome), number)
                self._trained.append(outcome.case(result, self.block.proof))
                if result.final:
                    break

    def trained(self) -> list[JudgeCell]:
        """Return every attempt that has ended."""
        return self._trained


class _Seat(_Attempt):
    """An attempt whose cell takes turns with others."""

    def __init__(self, training: _Training, held: Held, position: int, number: int) -> None:
        super().__init__(training.block, held, position, number)
        self.cell = Cell(
            self.spec, training.assignment, self.backend, training.spool, training.judges
        )

    @property
    def goes_on(self) -> bool:
        """Whether there is something left to train."""
        return self.cell.goes_on

    @property
    def spent_s(self) -> float:
        """Seconds on training so far."""
        return self.cell.spent_s

    def case(self) -> JudgeCell:
        """Return what there is to judge. No repetition follows: only the first attempt is final."""
        result = self.result(self.cell)
        marked = disturbance.mark(result, self.number)
        return self.cell.case(replace(marked, final=self.number == 0), self.block.proof)


@dataclass
class _InTurns(_Training):
    """All that find room in memory side by side, part by part in turns; then those that found none, with the baseline.

    No cell is repeated: what disturbs a part shows in its turn, and the other turns are as good as before.
    """

    _seats: list[_Seat] = field(default_factory=list)

    def run(self, held: Held) -> Iterator[Happening]:
        """Train them, group by group; turns are counted on."""
        waiting, numbers = list(range(len(self.block.entries))), itertools.count()
        for group in itertools.count():
            with ExitStack() as stack:
                seats: list[_Seat] = []
                for position in self._order(waiting, group):
                    if self._has_room(position, seats):
                        number = 0 if position in waiting else group
                        seats.append(_Seat(self, held, position, number))
                        yield from self._set_up(seats[-1], stack)
                for seat, turn in turns.take(seats, numbers):
                    yield from seat.announce(seat.cell.train(turn))
                for seat in seats:
                    self._note(seat)
                for seat in seats:
                    yield from seat.announce(seat.cell.finish())
            waiting = [each for each in waiting if each not in {seat.position for seat in seats}]
            if not waiting:
                return

    def trained(self) -> list[JudgeCell]:
        """Return all that have ended, or trained everything: the phases may be missing."""
        return [seat.case() for seat in self._seats if not seat.goes_on]

    @property
    def _baseline(self) -> int | None:
        labels = [entry.label for entry in self.block.entries]
        return labels.index(self.block.baseline) if self.block.baseline in labels else None

    def _order(self, waiting: list[int], group: int) -> list[int]:
        """Return who is in a group if there is room: in further ones a baseline that did well comes again."""
        again = [
            seat.position
            for seat in self._seats
            if group and seat.position == self._baseline and not seat.number and seat.cell.is_well
        ]
        return [*again, *waiting]

    def _has_room(self, position: int, seats: Sequence[_Seat]) -> bool:
        """Tell whether a cell finds room in its group, in which the baseline and one other always are."""
        baseline, there = self._baseline, {seat.position for seat in seats}
        if position == baseline or not there - {baseline}:
            return True
        come = [position] if baseline is None or baseline in there else [position, baseline]
        return self.memory.holds(
            [self.block.entries[each].label for each in come],
            [_backend(self.block.entries[each]).device for each in come],
            [seat.cell.worker.tree for seat in seats if seat.cell.is_well],
        )

    def _set_up(self, seat: _Seat, stack: ExitStack) -> Iterator[Happening]:
        self._seats.append(seat)
        yield CellStarted(seat.spec)
        free = gpu.free_bytes() if seat.backend.device == "cuda" else None
        stack.enter_context(seat.cell)
        yield from seat.announce(seat.cell.prepare())
        self._note(seat)
        if free is not None:
            self.memory.note_gpu(seat.spec.label, free, gpu.free_bytes())

    def _note(self, seat: _Seat) -> None:
        if seat.cell.is_well:
            self.memory.note(seat.spec.label, seat.cell.worker.tree)


def _spec(block: Block, entry: Entry, held: Held) -> CellSpec:
    """Return what a worker is asked: what the block and the entry say under the same names."""
    said = {f.name: getattr(each, f.name) for each in (block, entry) for f in fields(each)}
    asked = {f.name: said[f.name] for f in fields(CellSpec) if f.name in said}
    threads = entry.threads or block.threads
    seed = block.seed if block.open_seed else None
    more = {
        "seed": seed,
        "threads": threads,
        "cpus": held.cpus(threads),
        "plugin": limit_to_plugin(entry),
    }
    return CellSpec(**{**asked, **more})


def limit_to_plugin(entry: Entry) -> str | None:
    """Return the one plugin that the worker has to load: others could meddle with it."""
    with _known_to(entry):
        plugin = catalog.owner("backends", entry.backend)
        return catalog.limit_to(plugin) if plugin else None


def origin(entry: Entry) -> str | None:
    """Return the distribution and version of the plugin that brings a backend, if they are known."""
    with _known_to(entry):
        plugin = catalog.owner("backends", entry.backend)
        return plugin.origin if plugin and plugin.distribution else None


def _known_to(entry: Entry) -> AbstractContextManager[None]:
    """Rely on what is listed by the interpreter of an entry, if it has its own."""
    if entry.python:
        return catalog.relying_on(interpreters.examine(entry.python).listing)
    return nullcontext()


def _why_unavailable(entry: Entry) -> str | None:
    """Return why a backend can't run here, or None; with its own interpreter, if it has one."""
    try:
        return catalog.why_unavailable(_backend(entry))
    except NnbenchError as error:
        return str(error)


def _devices(entries: Iterable[Entry]) -> set[str]:
    return {_backend(entry).device for entry in entries}


def _backend(entry: Entry) -> Backend:
    with _known_to(entry):
        [found] = selection.parse([entry.label.removesuffix(f"@{entry.variant}")])
    return found.backend
