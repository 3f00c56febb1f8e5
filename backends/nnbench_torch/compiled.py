"""One training step as one graph, compiled by torch.compile.

Compiling autograd's forward and backward apart gains nothing on a network this small: the calls
between them cost what the fused kernels save. So the step is a function of tensors, differentiated
by ``torch.func`` while it is traced, and Adam is in the same graph.

A graph takes seconds to compile and is made for one batch size, so the smaller last batch of an
epoch runs the same functions uncompiled. The three phases are compiled on their own when they are
first asked for. As in any library whose derivative is one function, ``backprop`` computes the
forward values again; a whole step does it once.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from nnbench import OptimizerState
from nnbench_torch.network import (
    DenseNetwork,
    Parameters,
    make_feedforward,
    make_loss,
    pair,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Layer, NetworkSpec, Optimizer
    from nnbench_torch.network import Data


class Moments(NamedTuple):
    """Adam's moments, and those of a gradient that is always one: the corrections 1 − βᵗ."""

    first: Parameters
    second: Parameters
    first_of_ones: Tensor  #: a float64
    second_of_ones: Tensor


class CompiledNetwork(DenseNetwork):
    """The functions below, bound to a network's tensors.

    None of these is a view of another: a compiled graph would work on whole flat tensors.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self._parameters, first, second = (
            [torch.zeros(shape) for shape in shapes(spec)] for _ in range(3)
        )
        of_ones = (torch.zeros((), dtype=torch.float64) for _ in range(2))
        super().__init__(spec, "cpu", pair(spec, self._parameters))
        self._moments = Moments(first, second, *of_ones)
        self._feedforward = compiled(make_feedforward(spec))
        self._backprop = compiled(make_backprop(spec))
        self._update = compiled(make_update(spec.optimizer))
        self._plain_step = make_step(spec)
        self._step_of_full_batch = compiled(self._plain_step)

    def load(self, layers: Sequence[Layer]) -> None:
        super().load(layers)
        first, second, *of_ones = self._moments
        for moment in (*first, *second, *of_ones):
            moment.zero_()
        self._steps = 0

    def optimizer_state(self) -> OptimizerState | None:
        if not self.spec.optimizer.keeps_moments:
            return None
        first, second, *_ = self._moments
        return OptimizerState(self._steps, self._to_host(first), self._to_host(second))

    def feedforward(self, batch: Data) -> Tensor:
        logits: Tensor = self._feedforward(self._parameters, batch.inputs)
        return logits

    def backprop(self, batch: Data) -> Tensor:
        loss: Tensor
        self._gradients, loss = self._backprop(self._parameters, *batch)
        return loss

    def update(self) -> None:
        self._update(self._parameters, self._moments, self._gradients)
        self._steps += 1

    def predict(self, batch: Data) -> NDArray[np.float32]:
        """Return the logits without compiling: evaluation is not worth a graph of its own."""
        return make_feedforward(self.spec)(self._parameters, batch.inputs).numpy().copy()

    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        rows = self._to_device(order)
        losses = []
        for part in rows.split(batch_size):
            step = self._step_of_full_batch if len(part) == batch_size else self._plain_step
            losses.append(step(self._parameters, self._moments, *self.batch(data, part)))
        self._steps += len(losses)
        return self.losses_to_host(losses)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when first called, for these shapes alone, and never fall back to no graph.

    PyTorch counts how often a function was compiled, and gives up at a limit. Where it can, the
    count is kept for each network, not for all that share the source.
    """
    isolated = "isolate_recompiles" in inspect.signature(torch.compile).parameters
    more: dict[str, Any] = {"isolate_recompiles": True} if isolated else {}
    options: dict[str, Any] = {"cpp_wrapper": True}  # the code between the kernels in C++ as well
    return torch.compile(function, fullgraph=True, dynamic=False, options=options, **more)


def make_backprop(
    spec: NetworkSpec,
) -> Callable[[Parameters, Tensor, Tensor], tuple[Parameters, Tensor]]:
    """Return the function that gives the gradients and the loss."""
    feedforward, mean_loss = make_feedforward(spec), make_loss(spec)

    def loss(parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        logits = feedforward(parameters, inputs)
        return mean_loss(logits, targets, parameters[:: 1 + spec.bias])

    return torch.func.grad_and_value(loss)


def make_update(optimizer: Optimizer) -> Callable[[Parameters, Moments, Parameters], None]:
    """Return the function that changes parameters and moments in place."""
    rate, epsilon = optimizer.learning_rate, optimizer.epsilon
    beta1, beta2 = optimizer.beta1, optimizer.beta2

    def sgd(parameters: Parameters, _: Moments, gradients: Parameters) -> None:
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(rate * g)

    def fresh(parameters: Parameters, _: Moments, gradients: Parameters) -> None:
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(rate * g / (g.abs() + epsilon))

    def adam(parameters: Parameters, moments: Moments, gradients: Parameters) -> None:
        first_of_ones = moments.first_of_ones.mul_(beta1).add_(1 - beta1).float()
        scale = moments.second_of_ones.mul_(beta2).add_(1 - beta2).float().sqrt()
        for p, m, v, g in zip(parameters, moments.first, moments.second, gradients, strict=True):
            m.lerp_(g, 1 - beta1)
            v.lerp_(g.square(), 1 - beta2)
            p.sub_(rate * scale / first_of_ones * m / (v.sqrt() + epsilon * scale))

    return optimizer.choose(sgd=sgd, adam=adam, adam_fresh=fresh)


def make_step(spec: NetworkSpec) -> Callable[[Parameters, Moments, Tensor, Tensor], Tensor]:
    """Return the function that trains on one batch and gives the loss before."""
    backprop, update = make_backprop(spec), make_update(spec.optimizer)

    def step(parameters: Parameters, moments: Moments, inputs: Tensor, targets: Tensor) -> Tensor:
        gradients, loss = backprop(parameters, inputs, targets)
        update(parameters, moments, gradients)
        return loss

    return step
