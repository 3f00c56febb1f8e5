"""The float64 reference in pieces, each of which a mistake can replace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench import reference
from nnbench.contract.spec import Layer
from nnbench.reference import Update, flatten
from nnbench.testing.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nnbench.contract.spec import Examples, NetworkSpec, Optimizer
    from nnbench.reference import Array

    Layers = Sequence[Layer]
    Result = tuple[float, list[Layer]]  # loss and gradients
    Backprop = Callable[[NetworkSpec, Layers, Examples], Result]


class Outcome(NamedTuple):
    """What a training gives."""

    losses: list[float]
    gradients: list[Layer]  #: of the last step
    layers: list[Layer]


def latest(history: list[list[Layer]]) -> list[Layer]:
    """Return the gradients of the step itself."""
    return history[-1]


def as_they_are(losses: list[float], _: Problem) -> list[float]:
    """Return the losses of all steps."""
    return losses


def restart(layers: Layers, update: Update, initial: Layers) -> None:
    """Load parameters: set them, and clear the optimizer."""
    assign(layers, initial)
    update.restart()


def assign(layers: Layers, values: Layers) -> None:
    """Set parameters in place."""
    for array, value in zip(flatten(layers), flatten(values), strict=True):
        array[...] = value


@dataclass(frozen=True, kw_only=True)
class Training:
    """The reference; a mistake is one with another piece, and a hint that names it."""

    hint: str = ""
    #: the batch of each step
    batches: Callable[[Problem], Iterator[Examples]] = Problem.batches
    #: the loss and the gradients of a batch
    backprop: Backprop = reference.backprop
    #: from the gradients of all steps so far: those that the update uses
    kept: Callable[[list[list[Layer]]], list[Layer]] = latest
    #: the arrays that an update changes, or their gradients
    moved: Callable[[Layers], list[Array]] = flatten
    #: the optimizer
    update: Callable[[Optimizer, list[Array]], Update] = Update
    #: the losses as they are reported
    reported: Callable[[list[float], Problem], list[float]] = as_they_are
    #: whether the optimizer is cleared in each epoch
    restarts: bool = False
    #: what ``load`` does after an earlier training
    load: Callable[[Layers, Update, Layers], None] = restart
    #: the arithmetic
    dtype: type[np.floating] = np.float64

    def train(self, problem: Problem) -> Outcome:
        """Train from the problem's parameters."""
        first = problem.earlier or problem
        layers = [reference.cast_layer(layer, self.dtype) for layer in first.layers]
        update = self.update(problem.spec.optimizer, self.moved(layers))
        if problem.earlier:
            self._go_on(problem.earlier, layers, update)
            self.load(layers, update, problem.layers)
        return self._go_on(problem, layers, update)

    def _go_on(self, problem: Problem, layers: list[Layer], update: Update) -> Outcome:
        losses: list[float] = []
        history: list[list[Layer]] = []
        starts = problem.epoch_starts()
        for step, batch in enumerate(self.batches(problem)):
            if self.restarts and step in starts:
                update.restart()
            cast = reference.cast_examples(batch, self.dtype)
            loss, gradients = self.backprop(problem.spec, layers, cast)
            history.append(gradients)
            update(self.moved(self.kept(history)))
            losses.append(loss)
        gradients = history[-1] if history else scaled(layers, 0)  # no step, no gradient
        return Outcome(self.reported(losses, problem), gradients, layers)


RIGHT = Training()
HALF = Training(
    hint="float16 inside (or bfloat16, or TF32), where float32 is promised", dtype=np.float16
)


def scaled(layers: Layers, factor: float) -> list[Layer]:
    """Multiply all arrays."""
    return [Layer(w * factor, None if b is None else b * factor) for w, b in layers]


def added(layers: Layers, others: Layers, factor: float = 1.0) -> list[Layer]:
    """Add a multiple of ``others`` to a network."""
    return [
        Layer(w + factor * v, None if b is None or c is None else b + factor * c)
        for (w, b), (v, c) in zip(layers, others, strict=True)
    ]
