"""What cases in a process of many are kept from: to train, to judge, and to start a process for each question.

All else is nnbench as it is. So these are not covered: what workers and judges do, the building of revisions, the
suite of checks. A case that comes so far as to train, to judge or to check is none to hold against another process.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

import msgspec

from nnbench import catalog, distributions
from nnbench.catalog.loading import load, sift
from nnbench.data import datasets
from nnbench.execution import ceilings, children, listing, loading, machine
from nnbench.execution.executor import LocalExecutor
from nnbench.records.cells import CellResult, Deviations, Limits, Status
from nnbench.records.events import CellFinished
from nnbench.records.runs import Roof, RunInfo
from nnbench.runs import observing, proving
from nnbench.testing import execution as testing
from nnbench.testing.execution import Tested
from tests.fuzz import samples
from tests.nnbench import conftest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from nnbench.records.events import Happening
    from nnbench.records.judging import JudgeCell
    from nnbench.records.runs import Block
    from nnbench.selection import Selection

MOST_BLOCKS = 8  #: of a run; then it is interrupted, as by Ctrl-C
#: Of what stands for MNIST: as many as a workload holds out, and some more.
EXAMPLES = (10_100, 100)
ANSWERS: dict[str, Any] = {  #: what the processes are asked that answer here
    listing.__name__: list[str],
    loading.__name__: loading.Asked,
    observing.__name__: observing.Announced,
}
used: set[str] = set()  # of what is pretended, in this case


class Inline(children.Child):
    """A child without a process: what it would run, with what it would answer, runs here."""

    def __init__(self, module: str, pass_fds: Collection[int] = ()) -> None:
        del pass_fds  # which this process has
        self._module = module
        self._asked: list[bytes] = []
        self._owed = 0

    def send(self, question: object) -> None:
        """Ask, in the words that would be sent."""
        self._asked.append(msgspec.json.encode(question))
        self._owed += 1

    def _read(self, deadline: float) -> bytes:
        del deadline
        self._owed -= 1
        try:
            return answer(self._module, self._asked.pop(0))
        except BaseException as error:  # of which a process would die
            raise children.ChildError(f"its process ended with {error!r}") from error

    def nothing(self) -> None:
        """Have nothing to end, or to stop."""

    close = kill = stop = go_on = nothing


def answer(module: str, line: bytes) -> bytes:
    """Return what a process would answer; what is installed is listed once, but for a case's own plugins."""
    if module == listing.__name__ and line in own_questions():
        return listed(line)
    with as_another(afresh=bool(os.environ.get("PYTHONPATH"))):
        return replied(module, line)


def replied(module: str, line: bytes) -> bytes:
    """Return the answer of a module."""
    found = children._reply(import_module(module)._answer, line, ANSWERS[module])
    return msgspec.json.encode(found)


@cache
def own_questions() -> set[bytes]:
    """Return how nnbench's own plugins are asked for."""
    own, *_ = listing.group(plugin for _, plugin in sift())
    return {msgspec.json.encode([plugin.identity for plugin in own])}


@cache
def listed(line: bytes) -> bytes:
    """Return what is listed by plugins that no case changes."""
    with as_another(afresh=False):
        return replied(listing.__name__, line)


@contextmanager
def as_another(*, afresh: bool) -> Iterator[None]:
    """Have what another process would: its own variables, and nothing that is relied on."""
    variables, relied = dict(os.environ), [*catalog._listings]
    catalog._listings.clear()
    if afresh:
        load.cache_clear()
    try:
        yield
    finally:
        catalog._listings[:] = relied
        os.environ.clear()
        os.environ.update(variables)
        if afresh:
            load.cache_clear()


class Judges:
    """Judges who find all as it was sent."""

    def __init__(self, *_: object, **__: object) -> None:
        used.add("judging")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def limits(self, *_: object, **__: object) -> Limits:
        """Return what nothing is longer than."""
        return Limits(steps=1 << 30, tolerance=Deviations(loss=1e-3, displacement=1e-3))

    def judge(self, asked: Sequence[JudgeCell]) -> list[CellResult]:
        """Return the same cells."""
        return [each.result for each in asked]


@cache
def info() -> RunInfo:
    """Return the run that is there to start from."""
    return msgspec.json.decode((samples.KEPT / "run.json").read_bytes(), type=RunInfo)


@cache
def cell() -> CellResult:
    """Return a cell of it."""
    first, *_ = (samples.KEPT / "cells.jsonl").read_bytes().splitlines()
    return msgspec.json.decode(first, type=CellResult)


def train(_: LocalExecutor, blocks: Iterable[Block]) -> Iterator[Happening]:
    """Run blocks in no time, whose cells differ a little."""
    used.add("training")
    for number, block in enumerate(blocks):
        if number == MOST_BLOCKS:
            raise KeyboardInterrupt
        for position, entry in enumerate(block.entries):
            slower = 1 + number / 100 + position / 50
            epochs = [replace(each, train_s=slower * each.train_s) for each in cell().epochs]
            yield CellFinished(
                replace(
                    cell(),
                    backend=entry.label,
                    workload=block.workload.name,
                    round=block.round,
                    seed=block.seed,
                    threads=entry.threads or block.threads,
                    position=position,
                    point=block.point,
                    block_attempt=block.attempt,
                    status=Status.OK,
                    epochs=epochs,
                )
            )


def measure(*_: object) -> list[Roof]:
    """Return ceilings, without the seconds that it takes to measure them."""
    used.add("measuring")
    return info().roofs


def check(chosen: Selection, *_: object, **__: object) -> Tested:
    """Find nothing wrong with a backend."""
    used.add("testing")
    return Tested(chosen.label, [], 0.0)


def small_mnist(folder: Path) -> Path:
    """Write a dataset that takes the place of MNIST, which takes a second to load: of few pixels."""
    train, test = ([*range(10)] * (count // 10) for count in EXAMPLES)
    return conftest._write_folder(folder / "mnist", train=train, test=test)


def begin(folder: Path) -> None:
    """Have this process pretend from now on; what it needs is imported, and lies in a folder."""
    from nnbench.show import charts, page

    small = small_mnist(folder)
    loaded = datasets.load_folder(small)
    known = datasets.DIGESTS | {"mnist": datasets.digest(loaded)}
    replaced: list[tuple[Any, str, Any]] = [
        (children, "Child", Inline),
        (LocalExecutor, "run", train),
        (proving, "Judges", Judges),
        (testing, "test", check),
        (ceilings, "roofs", measure),
        (machine, "examine", lambda _=(): info().environment),
        (datasets, "load_mnist", lambda: datasets.load_folder(small)),
        (datasets, "DIGESTS", known),
        (distributions, "plugins", remembered(distributions.plugins)),
    ]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    for name in charts.CHARTS:
        charts.chart(name)
    page._libraries()
    with listing.relied_on():
        pass
    gc.freeze()


def remembered(find: Any) -> Any:
    """Return a function that looks once for what is installed, and anew for what a case has in its own folder."""
    found = cache(lambda _: find())
    return lambda: find() if os.environ.get("PYTHONPATH") else [*found(tuple(sys.path))]
