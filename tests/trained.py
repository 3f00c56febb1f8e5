"""Cells that were trained in this process by the reference in float32, for their judge."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnbench.contract.spec import flatten
from nnbench.data import datasets
from nnbench.data.task import fit_splits, load_splits
from nnbench.proof import inquest
from nnbench.proof.judge import Judge
from nnbench.proof.training import Training, fresh
from nnbench.records.cells import CellResult, Deviations, Epoch, Limits, Part, Status
from nnbench.records.judging import Cut, JudgeCell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.data.task import Task
    from nnbench.data.workloads import Workload
    from nnbench.proof.inquest import Work

LIMITS = Limits(
    steps=100,
    tolerance=Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5),
)


class Spooled(NamedTuple):
    """A file of states, and a judge who reads it."""

    file: Any
    judge: Judge

    def write(self, *arrays: Any) -> int:
        """Add values to the file and return where they lie."""
        self.file.seek(0, 2)
        offset = self.file.tell()
        for array in arrays:
            self.file.write(np.ascontiguousarray(array, np.float32).tobytes())
        self.file.flush()
        return int(offset)


@contextmanager
def spooled(workload: Workload) -> Iterator[Spooled]:
    """Give an empty file, and a judge of a workload."""
    splits = load_splits(workload)
    with TemporaryFile() as file:
        judge = Judge(
            workload, fit_splits(workload, splits), datasets.digest(splits), file.fileno(), None
        )
        yield Spooled(file, judge)


def train(
    spool: Spooled,
    seed: int = 1,
    *,
    steps: int = 3,
    mode: str = "full",
    mistake: Callable[[Training, int], object] = lambda _training, _step: None,
    shows_moments: bool = True,
    spans: int = 1,
    epochs: int | None = None,
    budget: int | None = None,
) -> JudgeCell:
    """Train a cell, and cut it after some steps each.

    Parameters
    ----------
    spool
        Where the states go.
    seed
        Of its parameters and orders.
    steps
        Of a part.
    mode
        How much of it is to be proved.
    mistake
        Is called with the training before each step, and its number from 0.
    shows_moments
        Whether the cuts have them, if there are any.
    spans
        How many epochs a stretch has, if each is one part.
    epochs
        How many are trained; None is all.
    budget
        How many steps; None is all.
    """
    task = spool.judge.task(seed)
    training = Training(task.network, task.train, dtype=np.float32)
    training.load(fresh(task.network, task.layers))
    count, cuts, done = 0, [], []
    last = epochs or task.workload.epochs
    for number, order in zip(range(1, last + 1), task.orders(), strict=False):
        parts, losses = [], []
        if budget is not None:
            order = order[: (budget - count) * task.batch_size]
            if number * -(-len(task.train.inputs) // task.batch_size) >= budget:
                last = number
        size = steps * task.batch_size
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            for at in range(0, len(chunk), task.batch_size):
                mistake(training, count)
                with np.errstate(all="ignore"):
                    losses.append(float(training.step(chunk[at : at + task.batch_size])))
                count += 1
            part = Part(images=len(chunk), train_s=0.001 * len(chunk))
            if start + size < len(order) or number % spans == 0 or number == last:
                cut, part = _cut(spool, training, part, shows_moments=shows_moments)
                cuts.append(cut)
            parts.append(part)
        known = [loss if np.isfinite(loss) else None for loss in losses]
        done.append(_epoch(number, len(order), known, parts))
        if number == last:
            break
    result = _result(task, done, complete=last == task.workload.epochs)
    return JudgeCell(result, mode, LIMITS, cuts)


def _cut(
    spool: Spooled, training: Training, part: Part, *, shows_moments: bool
) -> tuple[Cut, Part]:
    layers, optimizer, _ = training.state()
    kept = optimizer if shows_moments else None
    moments = [*kept.first, *kept.second] if kept else []
    arrays = [np.asarray(a, np.float32) for a in flatten([*layers, *moments])]
    offset = spool.write(*arrays)
    digest = hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()
    part = replace(part, state=digest, optimizer_steps=kept.steps if kept else None)
    return Cut(offset, kept is not None), part


def _epoch(number: int, images: int, losses: list[float | None], parts: list[Part]) -> Epoch:
    return Epoch(
        number=number,
        images=images,
        train_s=sum(part.train_s for part in parts),
        losses=losses,
        test_loss=None,
        accuracy=None,
        evaluate_s=0.1,
        parts=parts,
    )


def _result(task: Task, epochs: list[Epoch], *, complete: bool) -> CellResult:
    return CellResult(
        backend="trained",
        workload=task.workload.name,
        round=0,
        seed=task.seed,
        threads=1,
        position=0,
        started="2026-01-01T00:00:00Z",
        wall_s=1.0,
        status=Status.OK,
        epochs=epochs,
        complete=complete,
    )


def judged(spool: Spooled, cell: JudgeCell) -> CellResult:
    """Judge a cell in this process."""
    [result] = judge(spool, [cell])
    return result


def judge(spool: Spooled, cells: Sequence[JudgeCell]) -> list[CellResult]:
    """Judge the cells of a block in this process."""

    def ask(work: Iterable[Work]) -> None:
        for question, take in work:
            take(spool.judge.answer(question))

    return inquest.hold(cells, ask)
