"""The optimizers, in place, over any number of tensors.

Their state keeps its place in memory, also when it restarts: a recorded CUDA graph refers to it.
``torch.optim``'s objects cost more than their kernels do on a network this small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nnbench import OptimizerState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from nnbench import Layer, Optimizer


def make_optimizer(
    spec: Optimizer, parameters: Sequence[Tensor], *, fused: bool
) -> GradientDescent:
    """Return the optimizer of a network; ``fused`` is about Adam, the others are short anyway."""
    adam = FusedAdam if fused else Adam
    return spec.choose(sgd=GradientDescent, adam=adam, adam_fresh=FreshAdam)(spec, parameters)


class GradientDescent:
    """θ ← θ − η·g."""

    def __init__(self, spec: Optimizer, parameters: Sequence[Tensor]) -> None:
        self.spec = spec
        self.parameters = list(parameters)
        self.state: list[Tensor] = []  #: what the next step depends on, parameters apart

    def restart(self) -> None:
        """Forget all earlier steps."""
        for tensor in self.state:
            tensor.zero_()

    def export(self, to_host: Callable[[list[Tensor]], list[Layer]]) -> OptimizerState | None:
        """Copy Adam's moments out; ``to_host`` does so with what has the form of the parameters."""
        del to_host
        return None

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Make one step."""
        for p, g in zip(self.parameters, gradients, strict=True):
            p.sub_(g, alpha=self.spec.learning_rate)


class FreshAdam(GradientDescent):
    """Adam's first step, again and again: θ ← θ − η·g / (|g| + ε)."""

    def __init__(self, spec: Optimizer, parameters: Sequence[Tensor]) -> None:
        super().__init__(spec, parameters)
        self.scratch = zeros_like(parameters)

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Make one step."""
        for p, g, scratch in zip(self.parameters, gradients, self.scratch, strict=True):
            torch.abs(g, out=scratch).add_(self.spec.epsilon)
            p.addcdiv_(g, scratch, value=-self.spec.learning_rate)


class FusedAdam(GradientDescent):
    """Kingma and Ba (2015) in one kernel, the one that ``torch.optim.Adam(fused=True)`` calls."""

    def __init__(self, spec: Optimizer, parameters: Sequence[Tensor]) -> None:
        super().__init__(spec, parameters)
        self.first, self.second = zeros_like(parameters), zeros_like(parameters)
        self.step = torch.zeros((), device=parameters[0].device)
        self.state = [*self.first, *self.second, self.step]

    def export(self, to_host: Callable[[list[Tensor]], list[Layer]]) -> OptimizerState:
        """Copy the moments out."""
        return OptimizerState(int(self.step), to_host(self.first), to_host(self.second))

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Make one step."""
        self.step.add_(1)
        torch._fused_adam_(
            self.parameters,
            list(gradients),
            self.first,
            self.second,
            [],
            [self.step] * len(self.parameters),
            lr=self.spec.learning_rate,
            beta1=self.spec.beta1,
            beta2=self.spec.beta2,
            eps=self.spec.epsilon,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )


class Adam(GradientDescent):
    """The same in six elementwise operations, with scaled moments: see ``Optimizer.scaled``."""

    def __init__(self, spec: Optimizer, parameters: Sequence[Tensor]) -> None:
        super().__init__(spec, parameters)
        self.first, self.second, self.scratch = (zeros_like(parameters) for _ in range(3))
        self.state = [*self.first, *self.second]
        self.step = 0

    def restart(self) -> None:
        """Forget all earlier steps."""
        super().restart()
        self.step = 0

    def export(self, to_host: Callable[[list[Tensor]], list[Layer]]) -> OptimizerState:
        """Copy the moments out."""
        scaled = OptimizerState(self.step, to_host(self.first), to_host(self.second))
        return scaled.unscaled(self.spec)

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Make one step."""
        self.step += 1
        rate, epsilon = self.spec.scaled(self.step)
        for p, g, m, v, scratch in zip(
            self.parameters, gradients, self.first, self.second, self.scratch, strict=True
        ):
            torch.add(g, m, alpha=self.spec.beta1, out=m)
            v.mul_(self.spec.beta2).addcmul_(g, g)
            torch.sqrt(v, out=scratch).add_(epsilon)
            p.addcdiv_(m, scratch, value=-rate)


def zeros_like(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return zeros of the same shapes."""
    return [torch.zeros_like(tensor) for tensor in tensors]
