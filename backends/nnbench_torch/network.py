"""What PyTorch networks share: data on the device, its clock, precision, layers, functions."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat, assert_never, cast

# Each lets a library round the inputs of products, whatever PyTorch asks for; it is read later.
for name in ("NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
    os.environ.pop(name, None)

import torch
from torch import Tensor
from torch.nn import functional

from nnbench import BackendUnavailableError, Layer, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec


#: Weight, bias, weight, bias and so on; or the gradients with respect to them. A weight is (fan_out,
#: fan_in), as in nn.Linear, and a bias is a column: whoever computes with them keeps one example in
#: each column, not in each row.
Parameters = list[Tensor]


class Data(NamedTuple):
    """A split, or a batch of it, on the device."""

    inputs: Tensor  #: float32, shape (N, D)
    targets: Tensor  #: int64, shape (N,), for classes; otherwise float32, shape (N, K)


class TorchNetwork(Network[Data, Data]):
    """The part of a network that does not depend on how it trains."""

    def __init__(self, spec: NetworkSpec, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailableError("torch finds no usable CUDA device")
        torch.set_float32_matmul_precision("highest")  # no TF32, no bfloat16
        self.spec = spec
        self.device = torch.device(device)
        #: the ends of a train_epoch on the device's clock
        self._ends = [torch.cuda.Event(enable_timing=True) for _ in range(2 * (device == "cuda"))]

    def place(self, examples: Examples) -> Data:
        inputs, labels, targets = examples
        wanted = torch.from_numpy(labels if targets is None else targets)
        return Data(torch.from_numpy(inputs).to(self.device), wanted.to(self.device))

    def batch(self, data: Data, index: NDArray[np.int64] | Tensor) -> Data:
        rows = self._to_device(index)
        return Data(data.inputs.index_select(0, rows), data.targets.index_select(0, rows))

    def _to_device(self, index: NDArray[np.int64] | Tensor) -> Tensor:
        return torch.as_tensor(index, device=self.device)

    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        with self._device_clock():
            rows = self._to_device(order)  # one copy, instead of one for each batch
            parts = rows.split(batch_size)
            return self.losses_to_host([self.step(self.batch(data, part)) for part in parts])

    def losses_to_host(self, losses: Sequence[SupportsFloat]) -> NDArray[np.float32]:
        return torch.stack(cast("list[Tensor]", losses)).cpu().numpy()

    @torch.inference_mode()
    def predict(self, batch: Data) -> NDArray[np.float32]:
        return cast("Tensor", self.feedforward(batch)).cpu().numpy().copy()

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @contextmanager
    def _device_clock(self) -> Iterator[None]:
        """Record both ends on the current stream, where all the work in between is queued."""
        for start in self._ends[:1]:
            start.record()
        yield
        for end in self._ends[1:]:
            end.record()

    def device_seconds(self) -> float | None:
        if not self._ends:
            return None
        start, end = self._ends
        return float(start.elapsed_time(end)) / 1e3

    def compilations(self) -> int:
        dynamo = sys.modules.get("torch._dynamo.utils")  # imported by the first torch.compile
        return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo else 0


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
        return export(self._layers)

    def gradients(self) -> list[Layer]:
        return self._to_host(self._gradients)

    def _to_host(self, tensors: Sequence[Tensor]) -> list[Layer]:
        return export(pair(self.spec, tensors))


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


def export(layers: Iterable[tuple[Tensor, Tensor | None]]) -> list[Layer]:
    """Copy weights (fan_out, fan_in) and biases, or their gradients, to the host."""

    def copy(tensor: Tensor) -> NDArray[np.float32]:
        return tensor.detach().cpu().numpy().copy()

    return [Layer(copy(w.T), None if b is None else copy(b.flatten())) for w, b in layers]


def make_feedforward(spec: NetworkSpec) -> Callable[[Parameters, Tensor], Tensor]:
    """Return the function of parameters and inputs that gives the logits, shape (N, K)."""
    activate = spec.choose_activation(relu=torch.relu, sigmoid=torch.sigmoid)

    def feedforward(parameters: Parameters, inputs: Tensor) -> Tensor:
        *hidden, last = pair(spec, parameters)
        value = inputs.t()
        for layer in hidden:
            value = activate(product(layer, value))
        return product(last, value).t()

    return feedforward


def product(layer: Dense, value: Tensor) -> Tensor:
    """Return W @ A + b."""
    weight, bias = layer
    return weight @ value if bias is None else torch.addmm(bias, weight, value)


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of a sigmoid."""
    return functional.mse_loss(logits.sigmoid(), targets)


def make_loss(spec: NetworkSpec) -> Callable[[Tensor, Tensor, Sequence[Tensor]], Tensor]:
    """Return the function of logits, targets and weights that gives the mean loss, L2 included."""
    output_loss: Callable[[Tensor, Tensor], Tensor]
    match spec.loss:
        case "cross_entropy":
            output_loss = functional.cross_entropy
        case "squared_error":
            output_loss = squared_error
        case _:
            assert_never(spec.loss)

    def loss(logits: Tensor, targets: Tensor, weights: Sequence[Tensor]) -> Tensor:
        mean = output_loss(logits, targets)
        if not spec.l2:
            return mean
        squares = torch.stack([weight.square().sum() for weight in weights])
        return mean + spec.l2 / 2 * squares.sum()

    return loss
