"""What all PyTorch networks share: data that stay on the device, its clock, and its precision."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat, cast

import torch
from torch import Tensor

from nnbench import BackendUnavailableError, Layer, Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec


class Data(NamedTuple):
    """A split, or a batch of it, on the device."""

    inputs: Tensor  #: float32, shape (N, D)
    targets: Tensor  #: int64, shape (N,), for classes; otherwise float32, shape (N, K)


class Events(NamedTuple):
    """The ends of a ``train_epoch`` on the device's clock."""

    start: torch.cuda.Event
    end: torch.cuda.Event


class TorchNetwork(Network[Data, Data]):
    """The part of a network that does not depend on how it trains."""

    def __init__(self, spec: NetworkSpec, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailableError("torch finds no usable CUDA device")
        torch.set_float32_matmul_precision("highest")  # no TF32, no bfloat16
        self.spec = spec
        self.device = torch.device(device)
        self._events = make_events() if device == "cuda" else None

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
            return self.losses_to_host([self._train(self.batch(data, part)) for part in parts])

    def _train(self, batch: Data) -> Tensor:
        """Make one step, and return the loss before it."""
        self.feedforward(batch)
        loss = self.backprop(batch)
        self.update()
        return cast("Tensor", loss)

    def losses_to_host(self, losses: Sequence[SupportsFloat]) -> NDArray[np.float32]:
        return torch.stack(cast("list[Tensor]", losses)).cpu().numpy()

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @contextmanager
    def _device_clock(self) -> Iterator[None]:
        """Record both ends on the current stream, where all the work in between is queued."""
        if self._events:
            self._events.start.record()
        yield
        if self._events:
            self._events.end.record()

    def device_seconds(self) -> float | None:
        if not self._events:
            return None
        return float(self._events.start.elapsed_time(self._events.end)) / 1e3

    def compilations(self) -> int:
        dynamo = sys.modules.get("torch._dynamo.utils")  # imported by the first torch.compile
        return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo else 0


def make_events() -> Events:
    """Return two events that have not happened yet."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    return Events(start, end)


def export(weight: Tensor, bias: Tensor | None) -> Layer:
    """Copy parameters, or gradients, to the host; PyTorch's weights are (fan_out, fan_in)."""
    copies = [None if t is None else t.detach().cpu().numpy().copy() for t in (weight.T, bias)]
    return Layer(cast("NDArray[np.float32]", copies[0]), copies[1])
