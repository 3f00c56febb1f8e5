"""Eager PyTorch: autograd, resident data, and one fused kernel for the optimizer's step.

The derivatives come from autograd, and around it is as little as can be: no modules, no optimizer
object. Nothing in an epoch waits for the device, so it serves GPUs as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nnbench_torch.network import DenseNetwork, make_feedforward, make_loss, pair, shapes
from nnbench_torch.optimizers import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from nnbench import Layer, NetworkSpec, OptimizerState
    from nnbench_torch.network import Data


class AutogradNetwork(DenseNetwork):
    """Leaves of autograd's graph, on the CPU or on a GPU."""

    def __init__(self, spec: NetworkSpec, device: str = "cpu", *, fused: bool = True) -> None:
        self._parameters = [torch.zeros(shape, device=device) for shape in shapes(spec)]
        super().__init__(spec, device, pair(spec, self._parameters))
        self._leaves = [parameter.detach().requires_grad_() for parameter in self._parameters]
        self._weights = self._leaves[:: 1 + spec.bias]
        self._feedforward, self._loss = make_feedforward(spec), make_loss(spec)
        self._optimizer = make_optimizer(spec.optimizer, self._parameters, fused=fused)

    def load(self, layers: Sequence[Layer]) -> None:
        super().load(layers)
        self._optimizer.restart()

    def optimizer_state(self) -> OptimizerState | None:
        return self._optimizer.export(self._to_host)

    def feedforward(self, batch: Data) -> Tensor:
        self._logits = self._feedforward(self._leaves, batch.inputs)
        return self._logits

    def backprop(self, batch: Data) -> Tensor:
        loss = self._loss(self._logits, batch.targets, self._weights)
        self._gradients = torch.autograd.grad(loss, self._leaves)
        return loss.detach()

    def update(self) -> None:
        self._optimizer(self._gradients)
