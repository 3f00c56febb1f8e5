"""A multilayer perceptron in PyTorch, as its users write one: nn.Linear, autograd, torch.optim.

What differs from a tutorial is that the data stay on the device, there is no DataLoader, the
optimizer lives as long as the network, and nothing in an epoch waits for the device.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnbench import BackendUnavailableError, Layer, Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec, Optimizer


class Data(NamedTuple):
    """A split, or a batch of it, on the device."""

    inputs: Tensor  #: float32, shape (N, D)
    targets: Tensor  #: int64, shape (N,), for classes; otherwise float32, shape (N, K)


class Events(NamedTuple):
    """The ends of a ``train_epoch`` on the device's clock."""

    start: torch.cuda.Event
    end: torch.cuda.Event


class TorchNetwork(Network[Data, Data]):
    """One implementation for the CPU and for CUDA."""

    def __init__(self, spec: NetworkSpec, device: str, *, fused: bool) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailableError("torch finds no usable CUDA device")
        self.spec = spec
        self.device = torch.device(device)
        self._events = make_events() if device == "cuda" else None
        self._model = make_model(spec).to(self.device)
        self._optimizer = make_optimizer(spec.optimizer, self._model, fused=fused)

    def load(self, layers: Sequence[Layer]) -> None:
        with torch.no_grad():
            for linear, (weight, bias) in zip(self._linears(), layers, strict=True):
                linear.weight.copy_(torch.from_numpy(weight.T))
                if bias is not None:
                    linear.bias.copy_(torch.from_numpy(bias))
        self._optimizer.state.clear()

    def dump(self) -> list[Layer]:
        return [export(linear.weight, linear.bias) for linear in self._linears()]

    def gradients(self) -> list[Layer]:
        return [
            export(linear.weight.grad, linear.bias.grad if self.spec.bias else None)
            for linear in self._linears()
        ]

    def _linears(self) -> Iterator[nn.Linear]:
        return (module for module in self._model if isinstance(module, nn.Linear))

    def place(self, examples: Examples) -> Data:
        inputs, labels, targets = examples
        wanted = torch.from_numpy(labels if targets is None else targets)
        return Data(torch.from_numpy(inputs).to(self.device), wanted.to(self.device))

    def batch(self, data: Data, index: NDArray[np.int64]) -> Data:
        rows = torch.as_tensor(index, device=self.device)
        return Data(data.inputs.index_select(0, rows), data.targets.index_select(0, rows))

    def feedforward(self, batch: Data) -> Tensor:
        self._logits = cast("Tensor", self._model(batch.inputs))
        return self._logits

    def backprop(self, batch: Data) -> Tensor:
        self._optimizer.zero_grad()
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _loss(self, batch: Data) -> Tensor:
        if self.spec.loss == "cross_entropy":
            loss = functional.cross_entropy(self._logits, batch.targets)
        else:
            loss = functional.mse_loss(self._logits.sigmoid(), batch.targets)
        if self.spec.l2:
            squares = torch.stack([linear.weight.square().sum() for linear in self._linears()])
            loss = loss + self.spec.l2 / 2 * squares.sum()
        return loss

    def update(self) -> None:
        if self.spec.optimizer.kind == "adam-fresh":
            self._optimizer.state.clear()
        self._optimizer.step()

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def predict(self, batch: Data) -> NDArray[np.float32]:
        return cast("Tensor", self._model(batch.inputs)).cpu().numpy()

    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        if self._events:
            self._events.start.record()
        # One copy of the order to the device, instead of one for each batch.
        resident = cast("NDArray[np.int64]", torch.as_tensor(order, device=self.device))
        losses = super().train_epoch(data, resident, batch_size)
        if self._events:
            self._events.end.record()
        return losses

    def device_seconds(self) -> float | None:
        if not self._events:
            return None
        return float(self._events.start.elapsed_time(self._events.end)) / 1e3

    def compilations(self) -> int:
        dynamo = sys.modules.get("torch._dynamo.utils")  # imported by the first torch.compile
        return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo else 0

    def losses_to_host(self, losses: Sequence[SupportsFloat]) -> NDArray[np.float32]:
        return torch.stack(cast("list[Tensor]", losses)).cpu().numpy()


def make_events() -> Events:
    """Return two events that have not happened yet."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    return Events(start, end)


def make_model(spec: NetworkSpec) -> nn.Sequential:
    """Return linear layers with the activation between them; the loss has the output's."""
    modules: list[nn.Module] = []
    for fan_in, fan_out in spec.shapes:
        modules += [nn.Linear(fan_in, fan_out, bias=spec.bias)]
        modules += [nn.ReLU() if spec.activation == "relu" else nn.Sigmoid()]
    return nn.Sequential(*modules[:-1])


def make_optimizer(spec: Optimizer, model: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    """Return the optimizer for a network's parameters."""
    if spec.kind == "sgd":
        return torch.optim.SGD(model.parameters(), lr=spec.learning_rate, fused=fused)
    betas = (spec.beta1, spec.beta2)
    return torch.optim.Adam(
        model.parameters(), lr=spec.learning_rate, betas=betas, eps=spec.epsilon, fused=fused
    )


def export(weight: Tensor | None, bias: Tensor | None) -> Layer:
    """Copy a linear layer's parameters, or their gradients, to the host."""
    if weight is None:
        raise ValueError("there are no gradients before the first backprop")
    copies = [None if t is None else t.detach().cpu().numpy().copy() for t in (weight, bias)]
    return Layer(cast("NDArray[np.float32]", copies[0]).T.copy(), copies[1])
