"""A plugin's executor, held to what an executor may say: :mod:`nnbench.contract.executor`.

It is trusted with what it runs, since it runs in this process (docs/trust.md), but not to be without mistakes: nothing
that it gives is relied on before it is what its type says, and of a cell that it was given. What is not is the end of
the run, in one line; what was finished by then is kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from nnbench.catalog import shorten
from nnbench.contract import faults
from nnbench.contract.bounds import Line, Name, Number
from nnbench.contract.errors import ExecutorError, NnbenchError, PluginWarning
from nnbench.contract.executor import Executor, Sizes
from nnbench.records import CellEvent, CellFinished, CellStarted, Happening, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.data.workloads import Workload
    from nnbench.records import Block, CellResult, Entry

MACHINES = Annotated[dict[Name, Machine], msgspec.Meta(min_length=1)]
STRANGE = "which it was not given"
WRONG = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


class Checked(Executor):
    """An executor of which every answer is checked.

    Parameters
    ----------
    executor
        The plugin's own.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.name, self.summary = executor.name, executor.summary
        self._machines: set[str] = set()

    def machines(
        self, entries: Sequence[Entry], threads: int, libraries: Iterable[str] = ()
    ) -> dict[str, Machine]:
        """Look at the machines."""
        look = partial(self._executor.machines, entries, threads, libraries)
        found: dict[str, Machine] = self._ask("machines", look, MACHINES)
        self._machines = {*found}
        return found

    def with_roofs(
        self, machines: dict[str, Machine], entries: Sequence[Entry], threads: int
    ) -> dict[str, Machine]:
        """Measure the ceilings of these machines."""
        measure = partial(self._executor.with_roofs, machines, entries, threads)
        found: dict[str, Machine] = self._ask("with_roofs", measure, MACHINES)
        if found.keys() != machines.keys():
            names = f"{', '.join(found)}, not {', '.join(machines)}"
            raise self._error(f"with_roofs() returned machines {names}")
        return found

    def dataset_sha256(self, workload: Workload) -> str:
        """Load a dataset."""
        load = partial(self._executor.dataset_sha256, workload)
        return str(self._ask("dataset_sha256", load, Line))

    def dataset_classes(self, workload: Workload) -> Sequence[int]:
        """Return what the dataset's source calls its classes."""
        name = partial(self._executor.dataset_classes, workload)
        found: list[int] = self._ask("dataset_classes", name, list[Number])
        return found

    def sizes(self, workload: Workload) -> Sizes | None:
        """Return how large a training is, if it knows."""
        found: Sizes | None = self._ask(
            "sizes", partial(self._executor.sizes, workload), Sizes | None
        )
        return found

    def run(self, blocks: Iterable[Block]) -> Generator[Happening]:
        """Run blocks; one that was given and has no result of a cell in the end is a mistake."""
        self._executor.folder = self.folder
        given = _Given({*self._machines})
        happenings = self._call("run", partial(self._executor.run, given.noted(blocks)))
        if not isinstance(happenings, Generator):
            shown = faults.show(happenings)
            raise self._error(f"run() returned {shown}, and must return a generator")
        try:
            yield from self._held(happenings, given)
        finally:
            try:
                happenings.close()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
                text = f"executor {self.name!r} has not ended as it should: {shorten(error)}"
                warnings.warn(text, PluginWarning, stacklevel=2)

    def _held(self, happenings: Generator[Happening], given: _Given) -> Generator[Happening]:
        interruption: BaseException | None = None
        step: Callable[[], object] = partial(next, happenings)
        while True:
            try:
                happening = self._call("run", step)
            except StopIteration:
                break
            if problem := given.problem(found := self._read("run() yielded", happening, Happening)):
                raise self._error(f"run() yielded {problem}")
            step = partial(next, happenings)
            try:
                yield found
            except BaseException as error:
                if isinstance(error, (Exception, GeneratorExit)):
                    raise
                # It is told of an interruption, and gives what it has trained so far.
                interruption, step = error, partial(happenings.throw, error)
        if interruption:
            raise interruption
        if missing := given.missing:
            raise self._error(f"run() has ended without a result of {missing}")

    def _ask(self, method: str, call: Callable[[], object], kind: Any) -> Any:
        return self._read(f"{method}() returned", self._call(method, call), kind)

    def _call(self, method: str, call: Callable[[], object]) -> Any:
        """Call a method of the plugin; what it may raise are errors of nnbench, and interruptions."""
        try:
            return call()
        except (NnbenchError, StopIteration):
            raise
        except (Exception, SystemExit) as error:
            raise self._error(f"{method}() raised {shorten(error)}") from error

    def _read(self, what: str, value: object, kind: Any) -> Any:
        """Return a value as it would come from another machine."""
        try:
            return msgspec.json.decode(msgspec.json.encode(value), type=kind)
        except WRONG as error:
            text = f"{what} {faults.show(value)}, which is not what it must be: {error}"
            raise self._error(text) from error

    def _error(self, text: str) -> ExecutorError:
        hint = "; what is finished is kept, and nnbench run --resume goes on" if self.folder else ""
        return ExecutorError(f"executor {self.name!r}: {text}{hint}")


@dataclass
class _Given:
    """The blocks that an executor has taken, and the cells of them that are still to come."""

    machines: set[str]
    _blocks: dict[tuple[int, str], Block] = field(default_factory=dict)
    _waiting: set[tuple[int, str]] = field(default_factory=set)

    def noted(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield blocks, and note them."""
        for block in blocks:
            cells = {(block.round, entry.label) for entry in block.entries}
            self._blocks |= dict.fromkeys(cells, block)
            self._waiting |= cells
            yield block

    @property
    def missing(self) -> str:
        """The first cell without a result, or nothing."""
        return next((_cell(*key) for key in sorted(self._waiting)), "")

    def problem(self, happening: Happening) -> str | None:
        """Return what is wrong with something that has happened to a cell, or None."""
        match happening:
            case CellStarted(spec=spec) | CellEvent(spec=spec):
                key = spec.round, spec.label
                return None if key in self._blocks else f"what happens to {_cell(*key)}, {STRANGE}"
            case CellFinished(result=result):
                return self._problem_of(result)

    def _problem_of(self, result: CellResult) -> str | None:
        key = result.round, result.backend
        block = self._blocks.get(key)
        if block is None:
            return f"a result of {_cell(*key)}, {STRANGE}"
        if result.final and key not in self._waiting:
            return f"a second result of {_cell(*key)}"
        expected = {
            "point": block.point,
            "workload": block.workload.name,
            "seed": block.seed,
            "block_attempt": block.attempt,
        }
        for name, value in expected.items():
            if (found := getattr(result, name)) != value:
                return f"a result of {_cell(*key)} whose {name} is {found!r}, not {value!r}"
        if result.machine not in self.machines:
            return f"a result of {_cell(*key)} from machine {result.machine!r}, which nobody knows"
        if result.final:
            self._waiting.remove(key)
        return None


def _cell(round_: int, label: str) -> str:
    return f"round {round_ + 1} {label}"
