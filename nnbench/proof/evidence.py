"""What a cell has left for its judge: states at cuts, logits and gradients, and the record of its parts.

Nothing here is the worker's word: which examples a part had follows from the seed and from how many
images the parent handed over, and each state must have the hash that the parent wrote down.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.contract.spec import OptimizerState
from nnbench.proof.training import State, fresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.data.task import Task
    from nnbench.records.cells import CellResult, Epoch, Part
    from nnbench.records.judging import Cut, JudgeCell

FLOAT = np.dtype("<f4")


class InconsistentError(Exception):
    """The record of a cell contradicts itself; the text says where."""


class Run(NamedTuple):
    """Some of an epoch's examples, in the order in which they were trained."""

    epoch: int  #: from 1
    order: NDArray[np.int64]
    ends: bool  #: whether the epoch ends with them


@dataclass
class Stretch:
    """What was trained between two cuts; the unit of proof."""

    number: int  #: from 0, also of the cut at its end
    runs: list[Run] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    train_s: float = 0.0
    state: str = ""  #: SHA-256 of what lies at its end
    optimizer_steps: int | None = None  #: there, as the backend says
    steps_before: int = 0  #: of the cell
    is_last: bool = False

    @property
    def order(self) -> NDArray[np.int64]:
        """All its examples, one epoch after the other."""
        return np.concatenate([run.order for run in self.runs])

    @property
    def steps(self) -> int:
        """Batches trained."""
        return len(self.losses)

    @property
    def last_epoch(self) -> int | None:
        """The epoch that ends at its end, by the budget if need be; None if it goes on."""
        return self.runs[-1].epoch if self.runs[-1].ends or self.is_last else None

    @property
    def inner_epochs(self) -> list[int]:
        """The epochs that end before its end, so that no cut shows their parameters."""
        return [run.epoch for run in self.runs[:-1]]


def stretches(result: CellResult, task: Task) -> list[Stretch]:
    """Return what a cell has trained, cut where its states are.

    Raises
    ------
    InconsistentError
        If its record cannot be that of a training of the task.
    """
    found: list[Stretch] = []
    current = Stretch(0)
    trained = 0
    for part, run, losses in _parts(result, task):
        current.runs.append(run)
        current.losses += losses
        current.train_s += part.train_s
        trained += len(losses)
        if part.state is not None:
            current.state, current.optimizer_steps = part.state, part.optimizer_steps
            found.append(current)
            current = Stretch(len(found), steps_before=trained)
    if current.runs:
        raise InconsistentError("no state was kept at the end of training")
    if found:
        found[-1].is_last = True
    for stretch in found:
        if any(len(run.order) % task.batch_size for run in stretch.runs[:-1]):
            raise InconsistentError(f"no cut follows epoch {stretch.inner_epochs[0]}")
    return found


def _parts(result: CellResult, task: Task) -> Iterator[tuple[Part, Run, list[float | None]]]:
    orders = task.orders()
    last = len(result.epochs)
    for number, epoch in enumerate(result.epochs, start=1):
        order = next(orders, None)
        if order is None or epoch.number != number:
            raise InconsistentError(f"epoch {epoch.number} is none of this training")
        yield from _parts_of(epoch, order, task.batch_size)
        if epoch.images < len(order) and (number < last or result.complete):
            raise InconsistentError(f"epoch {number} is not whole")
    if result.complete and next(orders, None) is not None:
        raise InconsistentError(f"the training ends after epoch {last}")


def _parts_of(
    epoch: Epoch, order: NDArray[np.int64], batch_size: int
) -> Iterator[tuple[Part, Run, list[float | None]]]:
    start = step = 0
    for part in epoch.parts:
        end, steps = start + part.images, -(-part.images // batch_size)
        is_last = end == len(order)
        if not (part.images > 0 and end <= len(order)) or (
            part.images % batch_size and not is_last
        ):
            raise InconsistentError(f"a part of epoch {epoch.number} has {part.images} images")
        run = Run(epoch.number, order[start:end], ends=is_last)
        yield part, run, epoch.losses[step : step + steps]
        start, step = end, step + steps
    if start != epoch.images:
        raise InconsistentError(f"the parts of epoch {epoch.number} are not the whole of it")
    if step != len(epoch.losses) or step != epoch.steps:
        text = f"epoch {epoch.number} has {len(epoch.losses)} losses for {step} steps"
        raise InconsistentError(text)


class Spool:
    """The file that the parent keeps what workers send in, to be read by its judges."""

    def __init__(self, descriptor: int, network: NetworkSpec) -> None:
        self.descriptor, self.network = descriptor, network

    def read(self, offset: int, count: int) -> NDArray[np.float32]:
        """Return some values.

        Raises
        ------
        InconsistentError
            If the file has fewer.
        """
        size, pieces = count * FLOAT.itemsize, []
        while size:
            piece = os.pread(self.descriptor, size, offset)
            if not piece:
                raise InconsistentError("a state is shorter than the network")
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return np.frombuffer(b"".join(pieces), FLOAT)

    def layers(self, offset: int) -> list[Layer]:
        """Return parameters, or gradients."""
        return self.network.view(self.read(offset, self.network.parameter_count))

    def values(self, cut: Cut, digest: str) -> NDArray[np.float32]:
        """Return what lies at a cut: the parameters, then both moments where it has them.

        Raises
        ------
        InconsistentError
            If it does not have the hash that was written down.
        """
        count = self.network.parameter_count * (3 if cut.has_moments else 1)
        values = self.read(cut.offset, count)
        if hashlib.sha256(values.data).hexdigest() != digest:
            raise InconsistentError("a state is not the one that was written down")
        return values


class States:
    """The states of one cell, before and after each stretch."""

    def __init__(self, cell: JudgeCell, task: Task, spool: Spool, found: list[Stretch]) -> None:
        self.cell, self.task, self.spool, self.stretches = cell, task, spool, found
        if len(found) != len(cell.cuts):
            text = f"{len(cell.cuts)} states were kept of {len(found)}"
            raise InconsistentError(text)

    def parameters(self, number: int) -> NDArray[np.float32]:
        """Return the parameters before stretch ``number``, flat."""
        if number == 0:
            layers = self.task.layers
            return np.concatenate([a.ravel() for layer in layers for a in layer if a is not None])
        return self._values(number - 1)[: self.task.network.parameter_count]

    def before(self, number: int) -> State:
        """Return the state that stretch ``number`` starts from; the first, from what the seed says."""
        if number == 0:
            return fresh(self.task.network, self.task.layers)
        return self.after(number - 1)

    def after(self, number: int) -> State:
        """Return the state at the end of a stretch."""
        network, stretch = self.task.network, self.stretches[number]
        parameters, *moments = self._values(number).reshape(-1, network.parameter_count)
        layers = network.view(parameters)
        if not moments:
            return State(layers, None)
        return State(
            layers,
            OptimizerState(stretch.optimizer_steps or 0, *(network.view(m) for m in moments)),
        )

    def _values(self, number: int) -> NDArray[np.float32]:
        return self.spool.values(self.cell.cuts[number], self.stretches[number].state)

    def check(self) -> None:
        """Check that the optimizer has a state at every cut, or at none.

        Raises
        ------
        InconsistentError
            If not.
        """
        shown = {cut.has_moments for cut in self.cell.cuts}
        if len(shown) > 1:
            raise InconsistentError("the optimizer has moments at some cuts only")
        if True in shown and not self.task.network.optimizer.keeps_moments:
            raise InconsistentError("the optimizer has moments, and needs none")

    def miscount(self, number: int) -> str | None:
        """Say so if the optimizer has not counted each step up to the end of a stretch."""
        stretch = self.stretches[number]
        expected, counted = stretch.steps_before + stretch.steps, stretch.optimizer_steps
        if not self.cell.cuts[number].has_moments or counted == expected:
            return None
        return f"the optimizer counts {counted} steps after {expected}"
