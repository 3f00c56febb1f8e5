"""A multilayer perceptron on PyTorch's operations alone: no autograd, nothing allocated in a step.

Examples are the columns of all values and derivatives, so a layer is ``Z = W @ A + b`` with W of
shape (fan_out, fan_in). It is the same arithmetic as with examples in rows, but the products with
50 or 10 columns, slow in PyTorch, become products with as many columns as the batch has
examples, and a softmax over the first dimension runs over the examples with full vectors.

All parameters lie in one flat tensor, and so do the gradients; the layers are views of them, and
the optimizer has one long array instead of many short ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from nnbench_torch.network import Data, DenseNetwork, pair, split
from nnbench_torch.optimizers import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Layer, NetworkSpec, OptimizerState


@dataclass(frozen=True)
class Workspace:
    """The buffers of one batch size N, and views of them: to make a view takes a microsecond."""

    inputs: list[Tensor]  #: of each layer, shape (N, fan_in); the first holds the batch's
    values: list[Tensor]  #: the same, transposed
    outputs: list[Tensor]  #: of each layer, shape (fan_out, N); the next one's value
    logits: Tensor  #: the last output, transposed
    deltas: list[Tensor]  #: the loss's derivative by each layer's output
    log_probabilities: Tensor  #: the last delta, transposed; it holds log-softmax for a while
    slopes: list[Tensor]  #: scratch for the derivative of each layer's activation
    minus_ones: Tensor  #: shape (1, N)
    share: Tensor  #: 1 / N


class HandwrittenNetwork(DenseNetwork):
    """Buffers for each batch size, and the derivatives written out."""

    def __init__(self, spec: NetworkSpec, device: str = "cpu", *, fused: bool = True) -> None:
        parameters, self._flat_gradients = torch.zeros(2, spec.parameter_count, device=device)
        super().__init__(spec, device, pair(spec, split(spec, parameters)))
        self._gradients = split(spec, self._flat_gradients)
        self._layer_gradients = pair(spec, self._gradients)
        self._transposed = [layer.weight.t() for layer in self._layers]
        self._activate = spec.choose_activation(relu=torch.relu_, sigmoid=torch.sigmoid_)
        relu_slope: Callable[..., Tensor] = torch.sign
        self._slope = spec.choose_activation(relu=relu_slope, sigmoid=sigmoid_slope)
        self._loss = spec.choose_loss(cross_entropy=cross_entropy, squared_error=squared_error)
        self._workspace = cache(partial(make_workspace, spec, self.device))
        self._optimizer = make_optimizer(spec.optimizer, [parameters], fused=fused)

    def load(self, layers: Sequence[Layer]) -> None:
        super().load(layers)
        self._optimizer.restart()

    def optimizer_state(self) -> OptimizerState | None:
        return self._optimizer.export(lambda flat: self._to_host(split(self.spec, *flat)))

    def batch(self, data: Data, index: NDArray[np.int64] | Tensor) -> Data:
        rows = self._to_device(index)
        inputs = self._workspace(len(rows)).inputs[0]
        torch.index_select(data.inputs, 0, rows, out=inputs)
        return Data(inputs, data.targets.index_select(0, rows))

    def feedforward(self, batch: Data) -> Tensor:
        work = self._workspace(len(batch.inputs))
        for (weight, bias), value, output in zip(
            self._layers, work.values, work.outputs, strict=True
        ):
            if bias is None:
                torch.mm(weight, value, out=output)
            else:
                torch.addmm(bias, weight, value, out=output)
            if output is not work.outputs[-1]:
                self._activate(output)
        return work.logits

    def backprop(self, batch: Data) -> Tensor:
        work = self._workspace(len(batch.inputs))
        loss = self._loss(work, batch.targets)
        for depth in reversed(range(len(self._layers))):
            self._differentiate(work, depth)
            if depth > 0:
                self._descend(work, depth)
        return loss + self._penalty() if self.spec.l2 else loss

    def _differentiate(self, work: Workspace, depth: int) -> None:
        """Write the gradients of a layer, given delta; the L2 term is λ·W."""
        delta, inputs = work.deltas[depth], work.inputs[depth]
        weight, bias = self._layer_gradients[depth]
        if self.spec.l2:
            old = self._layers[depth].weight
            torch.addmm(old, delta, inputs, beta=self.spec.l2, out=weight)
        else:
            torch.mm(delta, inputs, out=weight)
        if bias is not None:
            torch.sum(delta, 1, keepdim=True, out=bias)

    def _descend(self, work: Workspace, depth: int) -> None:
        """Carry delta down through a layer and the activation below it."""
        below, slope = work.deltas[depth - 1], work.slopes[depth - 1]
        torch.mm(self._transposed[depth], work.deltas[depth], out=below)
        self._slope(work.outputs[depth - 1], out=slope)
        below.mul_(slope)

    def _penalty(self) -> Tensor:
        """Return the L2 part of the loss."""
        squares = torch.stack([layer.weight.square().sum() for layer in self._layers])
        return self.spec.l2 / 2 * squares.sum()

    def update(self) -> None:
        self._optimizer([self._flat_gradients])

    @torch.inference_mode()  # cheaper calls, although there is nothing to differentiate
    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        return super().train_epoch(data, order, batch_size)


@torch.inference_mode(mode=False)  # whoever asks: the phases need ordinary tensors
def make_workspace(spec: NetworkSpec, device: torch.device, n: int) -> Workspace:
    """Allocate the buffers of one batch size."""
    examples = torch.zeros(n, spec.sizes[0], device=device)
    outputs, deltas, slopes = (
        [torch.zeros(size, n, device=device) for size in spec.sizes[1:]] for _ in range(3)
    )
    return Workspace(
        inputs=[examples, *(output.t() for output in outputs[:-1])],
        values=[examples.t(), *outputs[:-1]],
        outputs=outputs,
        logits=outputs[-1].t(),
        deltas=deltas,
        log_probabilities=deltas[-1].t(),
        slopes=slopes,
        minus_ones=torch.full((1, n), -1.0, device=device),
        share=torch.tensor(1 / n, device=device),
    )


def sigmoid_slope(value: Tensor, out: Tensor) -> Tensor:
    """Write the sigmoid's derivative a · (1 − a), given its value a."""
    return torch.addcmul(value, value, value, value=-1, out=out)


def cross_entropy(work: Workspace, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of a softmax; its derivative goes to the last delta."""
    delta = work.deltas[-1]
    torch.log_softmax(work.outputs[-1], 0, out=delta)
    loss = functional.nll_loss(work.log_probabilities, labels)
    delta.exp_().scatter_add_(0, labels.unsqueeze(0), work.minus_ones).mul_(work.share)
    return loss


def squared_error(work: Workspace, targets: Tensor) -> Tensor:
    """Return the mean squared error of a sigmoid; its derivative goes to the last delta."""
    delta, slope = work.deltas[-1], work.slopes[-1]
    torch.sigmoid(work.outputs[-1], out=delta)
    sigmoid_slope(delta, out=slope)
    delta.sub_(targets.t())
    loss = delta.square().mean()
    delta.mul_(slope).mul_(2 / delta.numel())
    return loss
