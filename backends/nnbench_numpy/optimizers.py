"""The optimizers, over flat arrays and in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nnbench import Optimizer

    Array = NDArray[np.float32]


def make_optimizer(spec: Optimizer, parameters: Array, gradients: Array) -> Callable[[int], None]:
    """Return a function that makes one step with the first so many parameters."""
    match spec.kind:
        case "sgd":
            return GradientDescent(spec, parameters, gradients)
        case "adam":
            return Adam(spec, parameters, gradients)
        case "adam-fresh":
            return FreshAdam(spec, parameters, gradients)
        case _:
            assert_never(spec.kind)


class GradientDescent:
    """θ ← θ − η·g."""

    def __init__(self, spec: Optimizer, parameters: Array, gradients: Array) -> None:
        self.spec = spec
        self.arrays = [parameters, gradients, np.empty_like(parameters)]

    def __call__(self, count: int) -> None:
        """Make one step."""
        parameters, gradients, scratch = (array[:count] for array in self.arrays)
        np.multiply(gradients, self.spec.learning_rate, out=scratch)
        np.subtract(parameters, scratch, out=parameters)


class FreshAdam(GradientDescent):
    """Adam's first step, again and again: θ ← θ − η·g / (|g| + ε)."""

    def __call__(self, count: int) -> None:
        """Make one step."""
        parameters, gradients, scratch = (array[:count] for array in self.arrays)
        np.abs(gradients, out=scratch)
        np.add(scratch, self.spec.epsilon, out=scratch)
        np.divide(gradients, scratch, out=scratch)
        np.multiply(scratch, self.spec.learning_rate, out=scratch)
        np.subtract(parameters, scratch, out=parameters)


class Adam(GradientDescent):
    """Kingma and Ba (2015), with scaled moments: see ``Optimizer.scaled``."""

    def __init__(self, spec: Optimizer, parameters: Array, gradients: Array) -> None:
        super().__init__(spec, parameters, gradients)
        self.arrays += [np.zeros_like(parameters), np.zeros_like(parameters)]
        self.step = 0

    def __call__(self, count: int) -> None:
        """Make one step."""
        spec = self.spec
        parameters, gradients, scratch, first, second = (array[:count] for array in self.arrays)
        self.step += 1
        np.multiply(first, spec.beta1, out=first)
        np.add(first, gradients, out=first)
        np.multiply(gradients, gradients, out=scratch)
        np.multiply(second, spec.beta2, out=second)
        np.add(second, scratch, out=second)
        rate, epsilon = spec.scaled(self.step)
        np.sqrt(second, out=scratch)
        np.add(scratch, epsilon, out=scratch)
        np.divide(first, scratch, out=scratch)
        np.multiply(scratch, rate, out=scratch)
        np.subtract(parameters, scratch, out=parameters)
