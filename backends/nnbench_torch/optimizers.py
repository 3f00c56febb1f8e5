"""The optimizers, over flat tensors and in place.

Their state keeps its place in memory, also when it restarts: a recorded CUDA graph refers to it.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from nnbench import Optimizer


def make_optimizer(
    spec: Optimizer, parameters: Tensor, gradients: Tensor, *, fused: bool
) -> GradientDescent:
    """Return the optimizer of a network; ``fused`` is about Adam, the others are short anyway."""
    adam = FusedAdam if fused else Adam
    kinds = {"sgd": GradientDescent, "adam": adam, "adam-fresh": FreshAdam}
    return kinds[spec.kind](spec, parameters, gradients)


class GradientDescent:
    """θ ← θ − η·g."""

    def __init__(self, spec: Optimizer, parameters: Tensor, gradients: Tensor) -> None:
        self.spec = spec
        self.parameters, self.gradients = parameters, gradients
        self.state: list[Tensor] = []  #: what the next step depends on, parameters apart

    def restart(self) -> None:
        """Forget all earlier steps."""
        for tensor in self.state:
            tensor.zero_()

    def __call__(self) -> None:
        """Make one step."""
        self.parameters.sub_(self.gradients, alpha=self.spec.learning_rate)


class FreshAdam(GradientDescent):
    """Adam's first step, again and again: θ ← θ − η·g / (|g| + ε)."""

    def __init__(self, spec: Optimizer, parameters: Tensor, gradients: Tensor) -> None:
        super().__init__(spec, parameters, gradients)
        self.scratch = torch.zeros_like(parameters)

    def __call__(self) -> None:
        """Make one step."""
        torch.abs(self.gradients, out=self.scratch).add_(self.spec.epsilon)
        self.parameters.addcdiv_(self.gradients, self.scratch, value=-self.spec.learning_rate)


class FusedAdam(GradientDescent):
    """Kingma and Ba (2015) in one kernel, the one that ``torch.optim.Adam(fused=True)`` calls.

    The optimizer object around it takes longer than the kernel does on a network this small.
    """

    def __init__(self, spec: Optimizer, parameters: Tensor, gradients: Tensor) -> None:
        super().__init__(spec, parameters, gradients)
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.step = torch.zeros((), device=parameters.device)
        self.state = [self.first, self.second, self.step]

    def __call__(self) -> None:
        """Make one step."""
        self.step.add_(1)
        torch._fused_adam_(
            [self.parameters],
            [self.gradients],
            [self.first],
            [self.second],
            [],
            [self.step],
            lr=self.spec.learning_rate,
            beta1=self.spec.beta1,
            beta2=self.spec.beta2,
            eps=self.spec.epsilon,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )


class Adam(GradientDescent):
    """The same in six elementwise products, with scaled moments.

    The tensors hold M = m / (1 − β₁) and V = v / (1 − β₂), so that decaying them and adding g and
    g² needs no further product. With s = √((1 − β₂) / (1 − β₂ᵗ)), √v̂ is s·√V, and the step
    η·m̂ / (√v̂ + ε) becomes (η·(1 − β₁) / (1 − β₁ᵗ) / s)·M / (√V + ε / s).
    """

    def __init__(self, spec: Optimizer, parameters: Tensor, gradients: Tensor) -> None:
        super().__init__(spec, parameters, gradients)
        self.first, self.second, self.scratch = (torch.zeros_like(parameters) for _ in range(3))
        self.state = [self.first, self.second]
        self.step = 0

    def restart(self) -> None:
        """Forget all earlier steps."""
        super().restart()
        self.step = 0

    def __call__(self) -> None:
        """Make one step."""
        spec = self.spec
        self.step += 1
        torch.add(self.gradients, self.first, alpha=spec.beta1, out=self.first)
        self.second.mul_(spec.beta2).addcmul_(self.gradients, self.gradients)
        scale = sqrt((1 - spec.beta2) / (1 - spec.beta2**self.step))
        rate = spec.learning_rate * (1 - spec.beta1) / (1 - spec.beta1**self.step) / scale
        torch.sqrt(self.second, out=self.scratch).add_(spec.epsilon / scale)
        self.parameters.addcdiv_(self.first, self.scratch, value=-rate)
