"""Parameters and gradients as plain tensors, for the networks that do without modules.

A weight is (fan_out, fan_in), as in nn.Linear, and a bias is a column: these networks keep one
example in each column, not in each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from nnbench_torch.network import TorchNetwork, export

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench import Layer, NetworkSpec


class Dense(NamedTuple):
    """Parameters of one layer, or the gradients with respect to them."""

    weight: Tensor  #: shape (fan_out, fan_in)
    bias: Tensor | None  #: shape (fan_out, 1)


class DenseNetwork(TorchNetwork):
    """Keeps its layers where they are in memory, also when it loads others."""

    def __init__(self, spec: NetworkSpec, device: str, layers: list[Dense]) -> None:
        super().__init__(spec, device)
        self._layers = layers
        self._gradients: Sequence[Tensor] = []  #: of the last backprop

    def load(self, layers: Sequence[Layer]) -> None:
        for layer, (weight, bias) in zip(self._layers, layers, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            if layer.bias is not None:
                layer.bias[:, 0] = torch.from_numpy(bias)

    def dump(self) -> list[Layer]:
        return export_all(self._layers)

    def gradients(self) -> list[Layer]:
        return export_all(pair(self.spec, self._gradients))


def shapes(spec: NetworkSpec) -> list[tuple[int, int]]:
    """List the shapes of all parameters: weight, bias, weight, bias and so on."""
    both = [[(fan_out, fan_in), (fan_out, 1)] for fan_in, fan_out in spec.shapes]
    return [shape for layer in both for shape in layer[: 1 + spec.bias]]


def split(spec: NetworkSpec, flat: Tensor) -> list[Tensor]:
    """Cut a flat tensor into parameters, without a copy."""
    parts = flat.split_with_sizes([rows * columns for rows, columns in shapes(spec)])
    return [part.view(shape) for part, shape in zip(parts, shapes(spec), strict=True)]


def pair(spec: NetworkSpec, parameters: Sequence[Tensor]) -> list[Dense]:
    """Join weights and biases to layers."""
    if not spec.bias:
        return [Dense(weight, None) for weight in parameters]
    return [Dense(*both) for both in zip(parameters[::2], parameters[1::2], strict=True)]


def export_all(layers: list[Dense]) -> list[Layer]:
    """Copy layers to the host."""
    return [export(w, None if b is None else b[:, 0]) for w, b in layers]
