"""The network and its loss as functions of tensors, for whatever differentiates functions.

Parameters are a flat list, weight, bias, weight, bias and so on, as ``dense`` orders them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    def feedforward(parameters: Parameters, inputs: Tensor) -> Tensor:
        *hidden, last = pair(spec, parameters)
        value = inputs.t()
        for layer in hidden:
            z = product(layer, value)
            value = z.relu() if spec.activation == "relu" else z.sigmoid()
        return product(last, value).t()

    return feedforward


def product(layer: Dense, value: Tensor) -> Tensor:
    """Return W @ A + b."""
    weight, bias = layer
    return weight @ value if bias is None else torch.addmm(bias, weight, value)


def loss_of(
    spec: NetworkSpec, logits: Tensor, targets: Tensor, weights: Sequence[Tensor]
) -> Tensor:
    """Return the mean loss of a batch, L2 term included."""
    if spec.loss == "cross_entropy":
        loss = functional.cross_entropy(logits, targets)
    else:
        loss = functional.mse_loss(logits.sigmoid(), targets)
    if spec.l2:
        squares = torch.stack([weight.square().sum() for weight in weights])
        loss = loss + spec.l2 / 2 * squares.sum()
    return loss
