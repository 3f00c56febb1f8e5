"""A multilayer perceptron on a GPU; here is only what crosses the border."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnbench import Layer, Network, OptimizerState
from nnbench_cuda.device import Launch, gpu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec
    from nnbench_cuda.device import Gpu, Memory

    Array = NDArray[np.float32]


class Task(IntEnum):
    """``enum Task`` of ``plan.cuh``."""

    TRAIN = 0
    DIFFERENTIATE = 1
    PREDICT = 2


class Data(NamedTuple):
    """A split, on the device."""

    examples: Memory
    length: int


class Batch(NamedTuple):
    """Rows of a split; they are not copied."""

    data: Data
    rows: NDArray[np.int32]


class CudaNetwork(Network[Data, Batch]):
    """Each call is one launch, which has ended when the call returns.

    Parameters and moments lie in the device's memory between launches. Gradients are those of a launch that goes through the
    batch once more: nothing of a feedforward stays on the chip.
    """

    def __init__(self, spec: NetworkSpec, device: Gpu) -> None:
        self.spec = spec
        self.gpu = device
        self._kernel = device.prepare(spec)
        self.plan = self._kernel.plan
        self._steps = 0  #: of the optimizer
        self._buffers: dict[str, Memory] = {}  #: what a launch reads and writes, by its field
        for name in ("parameters", "first", "second", "gradients"):
            self._buffer(name, self.plan.count, np.float32).clear()
        self._buffer("mail", self.plan.mail, np.float32)

    def _buffer(self, name: str, count: int, dtype: type[np.generic]) -> Memory:
        """Return a buffer that is large enough; what was in a smaller one is lost."""
        size = count * np.dtype(dtype).itemsize
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = self.gpu.allocate(size)
        return self._buffers[name]

    def load(self, layers: Sequence[Layer]) -> None:
        self._buffers["parameters"].write(self.plan.pack(layers))
        for name in ("first", "second"):
            self._buffers[name].clear()
        self._steps = 0

    def dump(self) -> list[Layer]:
        return self._export("parameters")

    def gradients(self) -> list[Layer]:
        return self._export("gradients")

    def optimizer_state(self) -> OptimizerState | None:
        if not self.spec.optimizer.keeps_moments:
            return None
        return OptimizerState(self._steps, self._export("first"), self._export("second"))

    def _export(self, name: str) -> list[Layer]:
        return self.plan.unpack(self._read(name, (self.plan.count,)))

    def _read(self, name: str, shape: tuple[int, ...]) -> Array:
        array = np.empty(shape, np.float32)
        self._buffers[name].read(array)
        return array

    def place(self, examples: Examples) -> Data:
        return Data(self.gpu.upload(self.plan.lay_out(examples)), len(examples.inputs))

    def batch(self, data: Data, index: NDArray[np.int64]) -> Batch:
        return Batch(data, rows_of(data, index))

    def feedforward(self, batch: Batch) -> Array:
        count = len(batch.rows)
        self._buffer("logits", count * self.spec.sizes[-1], np.float32)
        self._run(Task.PREDICT, batch.data, batch.rows, count)
        return self._read("logits", (count, self.spec.sizes[-1]))

    def backprop(self, batch: Batch) -> float:
        self._run(Task.DIFFERENTIATE, batch.data, batch.rows, len(batch.rows))
        return float(self._losses(len(batch.rows), len(batch.rows))[0])

    def update(self) -> None:
        self._buffer("rates", 2, np.float32).write(self._rates(1))
        self._kernel.step(self._launch())

    def train_epoch(self, data: Data, order: NDArray[np.int64], batch_size: int) -> Array:
        rows = rows_of(data, order)
        if not len(rows):
            return np.empty(0, np.float32)
        with self.gpu.clock():
            self._run(Task.TRAIN, data, rows, batch_size)
            return self._losses(len(rows), batch_size)

    def synchronize(self) -> None:
        self.gpu.synchronize()

    def device_seconds(self) -> float | None:
        return self.gpu.seconds()

    def _run(self, task: Task, data: Data, rows: NDArray[np.int32], batch_size: int) -> None:
        """Queue a launch that goes through some rows in batches."""
        count = len(rows)
        steps = -(-count // batch_size)
        self._buffer("order", count, np.int32).write(rows)
        self._buffer("losses", count, np.float32)
        warps = self.plan.blocks * self.plan.warps
        self._buffer("squares", steps * warps if self.spec.l2 else 0, np.float32)
        if task is Task.TRAIN:
            self._buffer("rates", 2 * steps, np.float32).write(self._rates(steps))
        self._buffer("arrivals", 1, np.int32).clear()
        fields: dict[str, Any] = {} if task is Task.PREDICT else {"logits": None}
        self._kernel.run(
            self._launch(
                examples=data.examples.address,
                count=count,
                batch_size=min(batch_size, count),
                task=task,
                **fields,
            )
        )

    def _launch(self, **fields: Any) -> Launch:
        """Return what a launch is given: all buffers, the optimizer's numbers, and these fields."""
        optimizer = self.spec.optimizer
        given = {name: memory.address for name, memory in self._buffers.items()}
        return Launch(**given | {
            "beta1": optimizer.beta1,
            "gain1": 1 - optimizer.beta1,
            "beta2": optimizer.beta2,
            "gain2": 1 - optimizer.beta2,
            "epsilon": optimizer.epsilon,
            "l2": self.spec.l2,
        } | fields)  # fmt: skip

    def _rates(self, steps: int) -> Array:
        """Return what directions are multiplied by in the next steps, and Adam's correction of the root, and count them.

        With the rate η / (1 − β₁ᵗ) and the correction 1 / √(1 − β₂ᵗ), Adam's step is rate · m / (√v · correction + ε).
        """
        optimizer = self.spec.optimizer
        rates = np.full((steps, 2), (optimizer.learning_rate, 1.0))
        if optimizer.keeps_moments:
            t = np.arange(self._steps + 1, self._steps + steps + 1)
            rates[:, 0] /= 1 - optimizer.beta1**t
            rates[:, 1] /= np.sqrt(1 - optimizer.beta2**t)
        self._steps += steps
        return rates.astype(np.float32)

    def _losses(self, count: int, batch_size: int) -> Array:
        """Return the mean loss of each batch of the last launch."""
        starts = np.arange(0, count, batch_size)
        each = self._read("losses", (count,))
        sums = np.add.reduceat(each, starts, dtype=np.float64)
        losses = sums / np.diff(starts, append=count)
        if self.spec.l2:
            warps = self.plan.blocks * self.plan.warps
            squares = self._read("squares", (len(starts), warps))
            losses += self.spec.l2 / 2 * squares.sum(axis=1, dtype=np.float64)
        return losses.astype(np.float32)


def rows_of(data: Data, index: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the numbers of rows as the device reads them.

    Raises
    ------
    IndexError
        If a row is not there; the device does not look.
    """
    if len(index) and not 0 <= index.min() <= index.max() < data.length:
        raise IndexError(f"rows {index.min()} to {index.max()}, but there are {data.length}")
    return np.ascontiguousarray(index, np.int32)


def make_network(spec: NetworkSpec) -> CudaNetwork:
    """Return the network of ``cuda``.

    Raises
    ------
    BackendUnavailableError
        If there is no GPU, or the network does not stay on it.
    """
    return CudaNetwork(spec, gpu())
