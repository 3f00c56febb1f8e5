"""A multilayer perceptron in PyTorch, as its users write one: nn.Linear, autograd, torch.optim.

What differs from a tutorial is that the data stay on the device, there is no DataLoader, the
optimizer lives as long as the network, and nothing in an epoch waits for the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnbench_torch.network import Data, TorchNetwork, export

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Layer, NetworkSpec, Optimizer


class AutogradNetwork(TorchNetwork):
    """Modules, a loss, and an optimizer, on the CPU or on a GPU."""

    def __init__(
        self, spec: NetworkSpec, device: str = "cpu", *, fused: bool | None = None
    ) -> None:
        super().__init__(spec, device)
        self._model = make_model(spec).to(self.device)
        self._linears = [m for m in self._model if isinstance(m, nn.Linear)]
        self._optimizer = make_optimizer(spec.optimizer, self._model.parameters(), fused=fused)

    def load(self, layers: Sequence[Layer]) -> None:
        with torch.no_grad():
            for linear, (weight, bias) in zip(self._linears, layers, strict=True):
                linear.weight.copy_(torch.from_numpy(weight.T))
                if bias is not None:
                    linear.bias.copy_(torch.from_numpy(bias))
        self._optimizer.state.clear()

    def dump(self) -> list[Layer]:
        return [export(linear.weight, linear.bias) for linear in self._linears]

    def gradients(self) -> list[Layer]:
        return list(self._export_gradients())

    def _export_gradients(self) -> Iterator[Layer]:
        for linear in self._linears:
            if linear.weight.grad is None:
                raise ValueError("there are no gradients before the first backprop")
            yield export(linear.weight.grad, linear.bias.grad if self.spec.bias else None)

    def feedforward(self, batch: Data) -> Tensor:
        self._logits = cast("Tensor", self._model(batch.inputs))
        return self._logits

    def backprop(self, batch: Data) -> Tensor:
        self._model.zero_grad()
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _loss(self, batch: Data) -> Tensor:
        if self.spec.loss == "cross_entropy":
            loss = functional.cross_entropy(self._logits, batch.targets)
        else:
            loss = functional.mse_loss(self._logits.sigmoid(), batch.targets)
        if self.spec.l2:
            squares = torch.stack([linear.weight.square().sum() for linear in self._linears])
            loss = loss + self.spec.l2 / 2 * squares.sum()
        return loss

    def update(self) -> None:
        if self.spec.optimizer.kind == "adam-fresh":
            self._optimizer.state.clear()
        self._optimizer.step()

    @torch.inference_mode()
    def predict(self, batch: Data) -> NDArray[np.float32]:
        return cast("Tensor", self._model(batch.inputs)).cpu().numpy()


def make_model(spec: NetworkSpec) -> nn.Sequential:
    """Return linear layers with the activation between them; the loss has the output's."""
    modules: list[nn.Module] = []
    for fan_in, fan_out in spec.shapes:
        modules += [nn.Linear(fan_in, fan_out, bias=spec.bias)]
        modules += [nn.ReLU() if spec.activation == "relu" else nn.Sigmoid()]
    return nn.Sequential(*modules[:-1])


def make_optimizer(
    spec: Optimizer, parameters: Iterable[nn.Parameter], *, fused: bool | None
) -> torch.optim.Optimizer:
    """Return an optimizer; ``fused`` is PyTorch's own, whose default is None."""
    if spec.kind == "sgd":
        return torch.optim.SGD(parameters, lr=spec.learning_rate, fused=fused)
    betas = (spec.beta1, spec.beta2)
    return torch.optim.Adam(
        parameters, lr=spec.learning_rate, betas=betas, eps=spec.epsilon, fused=fused
    )
