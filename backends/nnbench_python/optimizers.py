"""The optimizers, on lists of floats. A vector is a unit's weights, or a layer's biases."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench import Optimizer

    Vectors = Sequence[list[float]]
    Update = Callable[[Vectors, Vectors], None]


def make_optimizer(spec: Optimizer) -> Update:
    """Return a function of parameters and gradients that makes one step in place."""
    match spec.kind:
        case "sgd":
            return GradientDescent(spec)
        case "adam":
            return Adam(spec)
        case "adam-fresh":
            return FreshAdam(spec)
        case _:
            assert_never(spec.kind)


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
    """Kingma and Ba (2015), algorithm 1, with scaled moments.

    The lists hold M = m / (1 − β₁) and V = v / (1 − β₂), so that decaying them and adding g and g²
    needs no further product. With s = √((1 − β₂) / (1 − β₂ᵗ)), √v̂ is s·√V, and the step
    η·m̂ / (√v̂ + ε) becomes (η·(1 − β₁) / (1 − β₁ᵗ) / s)·M / (√V + ε / s).
    """

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
        for p, g, m, v in zip(parameters, gradients, self.first, self.second, strict=True):
            if any(g) or any(v):  # otherwise all gradients were zero so far, and nothing moves
                self._move(p, g, m, v)

    def _move(self, p: list[float], g: list[float], m: list[float], v: list[float]) -> None:
        beta1, beta2 = self.spec.beta1, self.spec.beta2
        scale = sqrt((1 - beta2) / (1 - beta2**self.step))
        rate = self.spec.learning_rate * (1 - beta1) / (1 - beta1**self.step) / scale
        epsilon = self.spec.epsilon / scale
        # One loop, not a comprehension for each list: a value is used while it is in the cache.
        for i, w, x, a, b in zip(range(len(p)), p, g, m, v, strict=True):
            m[i] = a = beta1 * a + x
            v[i] = b = beta2 * b + x * x
            p[i] = w - rate * a / (sqrt(b) + epsilon)
