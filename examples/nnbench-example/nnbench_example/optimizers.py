"""How gradients become an update; parameters change in place."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, assert_never

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench import Optimizer
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


def make_optimizer(spec: Optimizer, parameters: Sequence[Array]) -> GradientDescent:
    """Return an optimizer in its initial state."""
    match spec.kind:
        case "sgd":
            return GradientDescent(spec, parameters)
        case "adam":
            return Adam(spec, parameters)
        case "adam-fresh":
            return FreshAdam(spec, parameters)
        case _:
            assert_never(spec.kind)


class GradientDescent:
    """θ ← θ − η·g."""

    def __init__(self, spec: Optimizer, parameters: Sequence[Array]) -> None:
        self.spec = spec
        self.parameters = parameters

    def step(self, gradients: Sequence[Array]) -> None:
        """Change the parameters."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter -= np.float32(self.spec.learning_rate) * gradient


class Adam(GradientDescent):
    """Kingma and Ba (2015): both moments corrected for their bias, epsilon outside the root."""

    def __init__(self, spec: Optimizer, parameters: Sequence[Array]) -> None:
        super().__init__(spec, parameters)
        self.restart()

    def restart(self) -> None:
        """Forget all earlier steps."""
        self.steps = 0
        self.first = [np.zeros_like(p) for p in self.parameters]
        self.second = [np.zeros_like(p) for p in self.parameters]

    def step(self, gradients: Sequence[Array]) -> None:
        """Change the parameters."""
        self.steps += 1
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m += np.float32(1 - self.spec.beta1) * (g - m)
            v += np.float32(1 - self.spec.beta2) * (g * g - v)
            p -= self.rate() * m / (np.sqrt(v) / self.scale() + np.float32(self.spec.epsilon))

    def rate(self) -> np.float32:
        """Return η / (1 − β₁ᵗ)."""
        return np.float32(self.spec.learning_rate / (1 - self.spec.beta1**self.steps))

    def scale(self) -> np.float32:
        """Return √(1 − β₂ᵗ)."""
        return np.float32(sqrt(1 - self.spec.beta2**self.steps))


class FreshAdam(Adam):
    """Adam whose moments restart in every step."""

    def step(self, gradients: Sequence[Array]) -> None:
        """Change the parameters."""
        self.restart()
        super().step(gradients)
