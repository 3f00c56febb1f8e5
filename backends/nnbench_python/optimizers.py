"""The optimizers, on lists of floats. A vector is a unit's weights, or a layer's biases."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench import Optimizer

    Vectors = Sequence[list[float]]
    Update = Callable[[Vectors, Vectors], None]


def make_optimizer(spec: Optimizer) -> Update:
    """Return a function of parameters and gradients that makes one step in place."""
    kinds: dict[str, Callable[[Optimizer], Update]]
    kinds = {"sgd": GradientDescent, "adam": Adam, "adam-fresh": FreshAdam}
    return kinds[spec.kind](spec)


class GradientDescent:
    """θ ← θ − η·g."""

    def __init__(self, spec: Optimizer) -> None:
        self.rate = spec.learning_rate

    def __call__(self, parameters: Vectors, gradients: Vectors) -> None:
        """Make one step."""
        rate = self.rate
        for p, g in zip(parameters, gradients, strict=True):
            p[:] = [w - rate * x for w, x in zip(p, g, strict=True)]


class FreshAdam:
    """Adam's first step, again and again: its corrected moments are g and g²."""

    def __init__(self, spec: Optimizer) -> None:
        self.rate, self.epsilon = spec.learning_rate, spec.epsilon

    def __call__(self, parameters: Vectors, gradients: Vectors) -> None:
        """Make one step."""
        rate, epsilon = self.rate, self.epsilon
        for p, g in zip(parameters, gradients, strict=True):
            p[:] = [w - rate * x / (abs(x) + epsilon) for w, x in zip(p, g, strict=True)]


class Adam:
    """Kingma and Ba (2015), algorithm 1."""

    def __init__(self, spec: Optimizer) -> None:
        self.spec = spec
        self.step = 0
        self.first: Vectors = []
        self.second: Vectors = []

    def __call__(self, parameters: Vectors, gradients: Vectors) -> None:
        """Make one step."""
        if self.step == 0:
            self.first = [[0.0] * len(p) for p in parameters]
            self.second = [[0.0] * len(p) for p in parameters]
        self.step += 1
        for vectors in zip(parameters, gradients, self.first, self.second, strict=True):
            self._move(*vectors)

    def _move(self, p: list[float], g: list[float], m: list[float], v: list[float]) -> None:
        beta1, beta2, epsilon = self.spec.beta1, self.spec.beta2, self.spec.epsilon
        rest1, rest2 = 1 - beta1, 1 - beta2
        m[:] = [beta1 * a + rest1 * x for a, x in zip(m, g, strict=True)]
        v[:] = [beta2 * b + rest2 * x * x for b, x in zip(v, g, strict=True)]
        # m̂ / (√v̂ + ε), with the corrections of the moments taken out of the loop
        rate = self.spec.learning_rate / (1 - beta1**self.step)
        root = 1 / sqrt(1 - beta2**self.step)
        p[:] = [w - rate * a / (root * sqrt(b) + epsilon) for w, a, b in zip(p, m, v, strict=True)]
