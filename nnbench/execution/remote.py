"""Run blocks on other machines, through the engine of a plugin.

Each block is an errand, a line of JSON, which the engine brings to a machine. Lines of JSON come back, and are
decoded and checked here. An engine may lose what it was given, start it again by itself, or bring it late: of each attempt
at a block one outcome is taken, whole, or the attempt is lost.
"""

from __future__ import annotations

import itertools
import secrets
import warnings
import weakref
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from nnbench import catalog, selection
from nnbench.contract.errors import (
    BackendUnavailableError,
    ExecutorError,
    NnbenchError,
    ResultsError,
)
from nnbench.execution import interruptions
from nnbench.execution.border import Checked
from nnbench.execution.executor import Blocks, Executor, LocalExecutor, name_apart
from nnbench.execution.machine import FLOORS, TURN_FLOORS
from nnbench.execution.witnesses import Anew, has_any
from nnbench.proof import kept
from nnbench.records.cells import LOCAL, Status
from nnbench.records.errands import Ended, Errand, MachineSeen, Spoken, States
from nnbench.records.events import (
    BlockLost,
    CellEvent,
    CellFinished,
    CellStarted,
    MachineJoined,
    Queue,
)

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from nnbench.contract.backend import Option, OptionValue
    from nnbench.contract.engine import Engine, Report, Session
    from nnbench.data.workloads import Workload
    from nnbench.execution.executor import Sizes
    from nnbench.records.cells import CellResult
    from nnbench.records.events import Happening
    from nnbench.records.runs import Block, Entry, Machine

FOREIGN = "the executor is a plugin's: times and proofs from here are its word"
WAIT_S = 0.5  #: for reports, until it is looked again how many errands can be carried out
AGAIN = "what ran it was lost, and the engine has started it again"
UNKNOWN = "unknown"  #: a machine of which nothing was heard
LONGEST = 4000  #: characters of what an engine says


class EngineWarning(UserWarning):
    """An engine has brought what is not taken, or is waited for."""


def find(text: str) -> Executor:
    """Return the executor that a user named, with its parameters.

    The engine of a plugin is loaded in this process: it is what runs things, so it has to be trusted.

    Raises
    ------
    NnbenchError
        If there is none of that name, it has no such parameter, or it cannot run blocks from here.
    """
    known = catalog.executors()
    parameters: dict[str, Mapping[str, Option]] = {n: item.options for n, item in known.items()}
    name, options = selection.parse_executor(text, {**parameters, LOCAL: {}})
    if name == LOCAL:
        return LocalExecutor()
    if reason := known[name].unavailable:
        raise BackendUnavailableError(f"executor {name} is unavailable: {reason}")
    return Remote(catalog.engine(name), options)


@dataclass
class _Job:
    """An errand that an engine has got."""

    block: Block | None  #: None is a look at a machine
    run: str = ""  #: which carrying-out of it counts: the first that was heard of
    machine: str = UNKNOWN  #: that it runs on
    has_begun: bool = False  #: to train; before that it waits for CPUs


class Remote(Executor):
    """Runs blocks through an engine, as many at once as that has room for.

    Parameters
    ----------
    engine
        Of a plugin.
    options
        What it is opened with, when it is first needed.
    """

    def __init__(self, engine: Engine, options: Mapping[str, OptionValue]) -> None:
        super().__init__()
        self._engine, self._options = engine, options
        self._here = LocalExecutor()  # knows the dataset, which must be the same everywhere
        self._session: Session | None = None
        self._end: Callable[[], object] = lambda: None
        self._asked = Errand(entries=[], threads=1)  # of each machine
        self._anew: Anew | None = None
        self._jobs: dict[str, _Job] = {}
        self._known: dict[str, Machine] = {}
        self._refusals: list[str] = []  # of looks
        self._looks = itertools.count()
        self._token = secrets.token_hex(8)  # of what no other session is to find

    @property
    def slots(self) -> int:
        """As many as the engine has workers."""
        return self._open().slots()

    def machines(
        self, entries: Sequence[Entry], threads: int, libraries: Iterable[str] = ()
    ) -> dict[str, Machine]:
        """Look at the machines that are there by now; others may join."""
        self._asked = Errand(entries=[*entries], threads=threads, libraries=[*libraries])
        return self._look()

    def with_roofs(
        self, machines: dict[str, Machine], entries: Sequence[Entry], threads: Collection[int]
    ) -> dict[str, Machine]:
        """Look at them once more, and at those that join, with their ceilings."""
        del machines, entries  # they are those of the first look
        self._asked = structs.replace(self._asked, roofline=True, roofs_of=[*threads])
        return self._look()

    def dataset_sha256(self, workload: Workload) -> str:
        """Load a dataset here."""
        return self._here.dataset_sha256(workload)

    def dataset_classes(self, workload: Workload) -> Sequence[int]:
        """Return what the dataset's source calls its classes."""
        return self._here.dataset_classes(workload)

    def sizes(self, workload: Workload) -> Sizes:
        """Return how large a training is, by the dataset here."""
        return self._here.sizes(workload)

    def run(self, blocks: Iterable[Block]) -> Generator[Happening]:
        """Run blocks; an interruption leaves those that run time to end, and a second one cancels them."""
        session, coming = self._open(), iter(blocks)
        if isinstance(blocks, Blocks):
            self._adopt(session.found(f"{self._name}-"), blocks)
        interruption: BaseException | None = None
        happened: deque[Happening] = deque()
        queue, slots = None, 0
        try:
            while True:
                try:
                    while happened:
                        yield happened.popleft()
                    if not interruption:
                        slots = session.slots()
                        while len(self._jobs) < slots and (block := next(coming, None)):
                            with interruptions.deferred():
                                self._submit(block)
                    if (now := self._queue(slots, is_ending=bool(interruption))) != queue:
                        queue = now
                        yield queue
                    if not self._jobs:
                        break
                    with interruptions.deferred():  # what has come comes once
                        for report in session.wait(WAIT_S):
                            happened.extend(self._take(report))
                except BaseException as error:
                    if isinstance(error, (Exception, GeneratorExit)) or interruption:
                        raise
                    interruption = error
                    if running := len(self._jobs):
                        text = f"no further block is begun; blocks that run are waited for: {running}; Ctrl-C now cancels them"
                        warnings.warn(text, EngineWarning, stacklevel=2)
            if interruption:
                raise interruption
        except ExecutorError as error:
            yield from happened
            for job in self._jobs.values():
                yield from _lost(job, str(error))
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Cancel what runs, and end the engine's session."""
        self._jobs.clear()
        self._end()
        self._session = None
        if self._anew:
            self._anew.close()
            self._anew = None

    def _open(self) -> Session:
        if self._session is None:
            self._session = Checked(self._engine, {**self._options})
            self._end = weakref.finalize(self, self._session.close)
        return self._session

    @property
    def _name(self) -> str:
        """What the names of a run's errands begin with: the same when it is resumed."""
        return f"nnbench-{self.identity or self._token}"

    def _adopt(self, found: Mapping[str, bytes], blocks: Blocks) -> None:
        """Go on with what the same run has submitted before it was killed, as far as it is wanted."""
        for name, content in found.items():
            block = msgspec.json.decode(content, type=Errand).block
            if block and blocks.adopt(block):
                self._jobs[name] = _Job(block)
            else:
                self._open().cancel(name)

    def _submit(self, block: Block | None) -> None:
        name = f"nnbench-{self._token}-{next(self._looks)}"
        if block:
            name = f"{self._name}-{block.point}-{block.round}-{block.attempt}"
            block = replace(block, is_witnessed=block.proof != "off")
        errand = structs.replace(self._asked, block=block)
        self._jobs[name] = _Job(block)
        self._open().submit(name, msgspec.json.encode(errand), outlives=block is not None)

    def _queue(self, slots: int, *, is_ending: bool) -> Queue:
        """Return which blocks have not begun to train."""
        waiting = [
            (job, self.number(job.block.point, job.block.round))
            for job in self._jobs.values()
            if job.block and not job.has_begun
        ]
        return Queue(
            slots=slots,
            given=[number for job, number in waiting if job.machine == UNKNOWN],
            arrived={number: job.machine for job, number in waiting if job.machine != UNKNOWN},
            is_ending=is_ending,
        )

    def _look(self) -> dict[str, Machine]:
        """Return what the machines are that there are; each is looked at by as many errands as it takes at once."""
        session, self._known, self._refusals = self._open(), {}, []
        for _ in range(session.slots()):
            self._submit(None)
        while self._jobs:
            for report in session.wait(WAIT_S):
                self._take(report)  # of a look nothing happens
        if not self._known:
            raise NnbenchError("; ".join(dict.fromkeys(self._refusals)))
        return dict(self._known)

    def _take(self, report: Report) -> list[Happening]:
        """Return what has happened by a report."""
        job = self._jobs.get(report.errand)
        if job is None:
            if report.is_over:
                text = "the outcome of a block came after it was given up, and is dropped"
                warnings.warn(text, EngineWarning, stacklevel=2)
            return []
        happened: list[Happening] = []
        said, fault = _read(report)
        job.run = job.run or report.run
        if report.run not in {"", job.run}:
            self._open().cancel(report.errand)
            said, fault = [], AGAIN
        for each in said:
            if isinstance(each, MachineSeen):
                happened += self._see(job, each)
            elif isinstance(each, CellStarted | CellEvent):
                if not _is_of(each, job.block):
                    fault = fault or "its machine has told of another block"
                    continue
                job.has_begun = True
                is_start = isinstance(each, CellStarted)
                happened.append(CellStarted(each.spec, job.machine) if is_start else each)
        if not (report.is_over or fault):
            return happened
        finished = [each for each in said if isinstance(each, CellFinished)]
        fault = fault or _why_none(said, finished, job.block)
        if not fault and job.machine == UNKNOWN:
            fault = "its machine has not said what it is"
        if job.block is None:
            self._refusals += [fault] if fault else []
        elif not fault:
            fault = self._keep(job.block, said)
        if job.block and not fault:
            happened += [
                CellFinished(replace(self._proved_anew(job.block, each), machine=job.machine))
                for each in finished
            ]
        elif fault:
            happened += _lost(job, fault)
        del self._jobs[report.errand]
        return happened

    def _keep(self, block: Block, said: Sequence[Spoken]) -> str:
        """Write the states beside the run that came with a block; say why there are none that belong to it, if so."""
        if not (block.keep_states and self.folder):
            return ""
        parameters, pieces = self._here.sizes(block.workload).parameters, list[bytes]()
        found: list[tuple[CellResult, kept.States]] = []
        try:
            for each in said:
                if isinstance(each, States):
                    pieces.append(each.content)
                elif isinstance(each, CellFinished):
                    found.append((each.result, kept.brought(each.result, pieces, parameters)))
                    pieces = []
        except ResultsError as error:
            return f"its machine has brought other states than those of its cells: {error}"
        for cell, states in found:
            kept.keep(self.folder, cell, states)
        return ""

    def _proved_anew(self, block: Block, finished: CellFinished) -> CellResult:
        """Return a result, as it is here if one of its parts came with it: what is not proved here, either, is invalid."""
        result, witness = finished.result, finished.witness
        if witness is None:
            return result
        if self._anew is None or self._anew.workload != block.workload:
            if self._anew:
                self._anew.close()
            self._anew = Anew(block.workload, self._here.load(block.workload))
        problem = self._anew.problem(result, witness)
        return replace(result, status=Status.INVALID, message=problem) if problem else result

    def _see(self, job: _Job, seen: MachineSeen) -> Iterator[MachineJoined]:
        """Note where a job runs. Of two machines that call themselves alike the second has more of a name."""
        environment = seen.machine.environment
        machine = replace(  # floors of a selftest that was started here are kept here
            seen.machine,
            noise_floor=FLOORS.load(environment, seen.machine.noise_floor),
            turn_floor=TURN_FLOORS.load(environment, seen.machine.turn_floor),
            warnings=[*seen.machine.warnings, FOREIGN],
        )
        job.machine = name_apart(seen.host, machine, {**self._known, **self.known})
        self._known.setdefault(job.machine, machine)
        if job.machine not in self.known:
            self.known = {**self.known, job.machine: machine}
            yield MachineJoined(job.machine, machine)


def _read(report: Report) -> tuple[list[Spoken], str]:
    """Return what a report says, and why it says no more, if so."""
    try:
        lines = filter(None, report.lines.split(b"\n"))
        return [msgspec.json.decode(line, type=Spoken) for line in lines], report.fault
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return [], f"its machine has said what is none of this: {error}"


def _is_of(told: CellStarted | CellEvent, block: Block | None) -> bool:
    """Tell whether something happens to a cell of a block."""
    if block is None:
        return False
    labels = [entry.label for entry in block.entries]
    place = told.spec.point, told.spec.round
    return place == (block.point, block.round) and told.spec.label in labels


def _why_none(said: Sequence[Spoken], finished: Sequence[CellFinished], block: Block | None) -> str:
    """Say why an errand that is over has no outcome that counts; nothing if it has."""
    match said:
        case [*_, Ended(how="done")]:
            pass
        case [*_, Ended(how=how, message=message)]:
            return f"{how}: {message}"
        case _:
            return "its machine has not said how it ended"
    if block is None:
        return ""
    results = [each.result for each in finished]
    if block.is_witnessed and any(map(has_any, results)) and not any(e.witness for e in finished):
        return "its machine has brought no part that can be proved here"
    places = {(r.point, r.round, r.seed, r.block_attempt, r.workload) for r in results}
    finals = sorted(r.backend for r in results if r.final)
    place = block.point, block.round, block.seed, block.attempt, block.workload.name
    if places == {place} and finals == sorted(entry.label for entry in block.entries):
        return ""
    return "its machine has brought the cells of another block"


def _lost(job: _Job, why: str) -> Iterator[BlockLost]:
    """Yield that a job has come to nothing, if it was a block."""
    if job.block:
        yield BlockLost(job.block, " ".join(why.split())[:LONGEST], job.machine)
