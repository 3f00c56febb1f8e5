"""The network and its loss as functions of tensors, for whatever differentiates functions.

Parameters are a flat list, weight, bias, weight, bias and so on, as ``dense`` orders them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from nnbench_torch.dense import pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench import NetworkSpec
    from nnbench_torch.dense import Dense

Parameters = list[Tensor]  #: or the gradients with respect to them


def make_feedforward(spec: NetworkSpec) -> Callable[[Parameters, Tensor], Tensor]:
    """Return the function of parameters and inputs that gives the logits, shape (N, K)."""
    activate = activation_of(spec)

    def feedforward(parameters: Parameters, inputs: Tensor) -> Tensor:
        *hidden, last = pair(spec, parameters)
        value = inputs.t()
        for layer in hidden:
            value = activate(product(layer, value))
        return product(last, value).t()

    return feedforward


def activation_of(spec: NetworkSpec) -> Callable[[Tensor], Tensor]:
    """Return the activation of the hidden layers."""
    match spec.activation:
        case "relu":
            return torch.relu
        case "sigmoid":
            return torch.sigmoid
        case _:
            assert_never(spec.activation)


def product(layer: Dense, value: Tensor) -> Tensor:
    """Return W @ A + b."""
    weight, bias = layer
    return weight @ value if bias is None else torch.addmm(bias, weight, value)


def make_loss(spec: NetworkSpec) -> Callable[[Tensor, Tensor, Sequence[Tensor]], Tensor]:
    """Return the function of logits, targets and weights that gives the mean loss, L2 included."""
    output_loss: Callable[[Tensor, Tensor], Tensor]
    match spec.loss:
        case "cross_entropy":
            output_loss = functional.cross_entropy
        case "squared_error":

            def output_loss(logits: Tensor, targets: Tensor) -> Tensor:
                return functional.mse_loss(logits.sigmoid(), targets)
        case _:
            assert_never(spec.loss)

    def loss(logits: Tensor, targets: Tensor, weights: Sequence[Tensor]) -> Tensor:
        mean = output_loss(logits, targets)
        if not spec.l2:
            return mean
        squares = torch.stack([weight.square().sum() for weight in weights])
        return mean + spec.l2 / 2 * squares.sum()

    return loss
