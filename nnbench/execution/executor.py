"""Run blocks on this machine: the executor that is always there."""

from __future__ import annotations

import weakref
from contextlib import ExitStack, closing
from dataclasses import fields, replace
from time import monotonic
from typing import TYPE_CHECKING

from nnbench import catalog, files, selection
from nnbench.contract.errors import DatasetError, NnbenchError
from nnbench.contract.executor import Executor
from nnbench.data import arrays
from nnbench.execution import ceilings, cell, disturbance, gpu, interpreters, loading, machine
from nnbench.execution.cell import Assignment, Spool
from nnbench.execution.cpus import Chooser
from nnbench.execution.judges import Judges
from nnbench.proof import kept
from nnbench.records import (
    LOCAL,
    CellEvent,
    CellFinished,
    CellResult,
    CellSpec,
    CellStarted,
    Machine,
    now,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from nnbench.contract.backend import Backend
    from nnbench.data.workloads import Workload
    from nnbench.execution.cpus import Held
    from nnbench.records import Block, Entry, Happening, JudgeCell, StoredSplits


def known() -> dict[str, Executor]:
    """Return every executor by name: those of plugins, and the local one."""
    plugins = catalog.listed(Executor)  # type: ignore[type-abstract]  # none is made of it
    return {**plugins, LOCAL: LocalExecutor()}  # whose name is taken


def find(name: str) -> Executor:
    """Return an executor by name.

    One of a plugin is loaded in this process: it is what runs things, so it has to be trusted.
    """
    if (
        catalog.find("executor", name, {each: each for each in (*catalog.executors(), LOCAL)})
        == LOCAL
    ):
        return LocalExecutor()
    return catalog.executor(name)


class LocalExecutor(Executor):
    """Runs one cell after the other on this machine, on the least busy of the CPUs that it may use."""

    name = LOCAL
    summary = "this machine, one cell at a time"

    def __init__(self) -> None:
        self._loaded: tuple[Workload, StoredSplits] | None = None  # one: MNIST has 200 MB
        self._release: Callable[[], object] = lambda: None

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
        here = machine.examine(libraries)
        found = Machine(
            environment=here,
            noise_floor=machine.noise_floor(here),
            turn_floor=machine.noise_floor(here, turns=True),
            warnings=machine.check(cpus, most, uses_gpu="cuda" in _devices(able)),
            unavailable=unavailable,
        )
        return {LOCAL: found}

    def with_roofs(
        self, machines: dict[str, Machine], entries: Sequence[Entry], threads: int
    ) -> dict[str, Machine]:
        """Measure the ceilings of this machine, if they are not kept."""
        [here] = machines.values()
        able = [entry for entry in entries if entry.label not in here.unavailable]
        counts = [entry.threads or threads for entry in able]
        roofs = ceilings.roofs(here.environment, _devices(able), counts)
        return {LOCAL: replace(here, roofs=roofs)}

    def dataset_sha256(self, workload: Workload) -> str:
        """Load a dataset, once for all blocks."""
        return self._load(workload).sha256

    def _load(self, workload: Workload) -> StoredSplits:
        if self._loaded is None or self._loaded[0] != workload:  # a plugin's may have no hash
            self._release()
            splits = loading.load(workload, meanwhile=_import_libraries)
            self._loaded = workload, splits
            used = arrays.descriptors(splits.train, splits.test)
            self._release = weakref.finalize(self, arrays.release, used)
        return self._loaded[1]

    def run(self, blocks: Iterable[Block]) -> Generator[Happening]:
        """Run blocks one after the other."""
        chooser = Chooser()
        with closing(Spool(self.folder)) as spool, ExitStack() as stack:
            judges, judged = None, None
            for block in blocks:
                splits = self._load(block.workload)
                if block.dataset_sha256 not in {"", splits.sha256}:
                    name = block.workload.dataset
                    raise DatasetError(f"{name} is another dataset here than in the run")
                if judges is None or judged != block.workload:
                    judged = block.workload
                    _ = Assignment(judged, block.seed, splits).layers  # what is too large ends here
                    judges = stack.enter_context(Judges(judged, splits, spool.descriptor))
                keep = self.folder if block.keep_states else None
                yield from _run_block(block, splits, spool, judges, keep, chooser)
                spool.clear()


def _run_block(
    block: Block,
    splits: StoredSplits,
    spool: Spool,
    judges: Judges,
    keep: Path | None,
    chooser: Chooser,
) -> Generator[Happening]:
    """Train all cells of a block, then have them judged; even if it is interrupted."""
    assignment = Assignment(block.workload, block.seed, splits)
    trained: list[JudgeCell] = []
    interruption = None
    try:
        with chooser.hold(max(entry.threads or block.threads for entry in block.entries)) as held:
            for position, entry in enumerate(block.entries):
                yield from _train(block, entry, position, assignment, spool, judges, trained, held)
    except BaseException as error:
        if isinstance(error, (Exception, GeneratorExit)):
            raise
        interruption = error  # such as KeyboardInterrupt: what was trained is judged first
    for judged, result in zip(trained, judges.judge(trained), strict=True):
        if keep and judged.cuts:
            with files.named(keep / kept.FOLDER):
                parameters = assignment.network.parameter_count
                kept.keep(keep, result, judged.cuts, spool.descriptor, parameters)
        yield CellFinished(disturbance.settle(result))
    if interruption:
        raise interruption


def _train(
    block: Block,
    entry: Entry,
    position: int,
    assignment: Assignment,
    spool: Spool,
    judges: Judges,
    trained: list[JudgeCell],
    held: Held,
) -> Iterator[Happening]:
    """Train a cell, and again if it was disturbed; the last attempt is final."""
    spec = _spec(block, entry, held)
    for attempt in range(disturbance.REPEATS + 1):
        yield CellStarted(spec)
        started, start, sampler = now(), monotonic(), gpu.Sampler()
        with cell.run(spec, assignment, _backend(entry), spool, judges) as (
            events,
            outcome,
        ):
            for event in events:
                sampler(event)
                yield CellEvent(spec, event)
        result = CellResult(
            backend=spec.label,
            workload=spec.workload.name,
            round=spec.round,
            seed=block.seed,
            threads=spec.threads,
            cpus=spec.cpus,
            shared_cpus=tuple(cpu for cpu in spec.cpus if cpu in held.shared),
            position=position,
            started=started,
            wall_s=monotonic() - start,
            gpu=sampler.samples,
            point=block.point,
            block_attempt=block.attempt,
            **outcome.values,
        )
        result = ceilings.measure_speed(result, spec)
        result = disturbance.mark(result, attempt)
        trained.append(outcome.case(result, block.proof))
        if result.final:
            return


def _spec(block: Block, entry: Entry, held: Held) -> CellSpec:
    """Return what a worker is asked: what the block and the entry say under the same names."""
    said = {f.name: getattr(each, f.name) for each in (block, entry) for f in fields(each)}
    asked = {f.name: said[f.name] for f in fields(CellSpec) if f.name in said}
    threads = entry.threads or block.threads
    seed = block.seed if block.open_seed else None
    more = {"seed": seed, "threads": threads, "cpus": held.cpus(threads), "plugin": _plugin(entry)}
    return CellSpec(**{**asked, **more})


def _plugin(entry: Entry) -> str | None:
    """Return the one plugin that the worker has to load: others could meddle with it."""
    if entry.python:
        with catalog.relying_on(interpreters.examine(entry.python).listing):
            return catalog.owner("backends", entry.backend)
    return catalog.owner("backends", entry.backend)


def _import_libraries() -> None:
    """Import what the tables need, which takes as long as a dataset, and would take it later."""
    import nnbench.figures.frames  # noqa: F401 - that is all


def _why_unavailable(entry: Entry) -> str | None:
    """Return why a backend can't run here, or None; with its own interpreter, if it has one."""
    try:
        return catalog.why_unavailable(_backend(entry))
    except NnbenchError as error:
        return str(error)


def _devices(entries: Iterable[Entry]) -> set[str]:
    return {_backend(entry).device for entry in entries}


def _backend(entry: Entry) -> Backend:
    known = interpreters.examine(entry.python).backends if entry.python else catalog.backends()
    [found] = selection.parse([entry.label.removesuffix(f"@{entry.variant}")], known)
    return found.backend
