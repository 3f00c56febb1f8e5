"""A multilayer perceptron in C; here is only what crosses the border."""

from __future__ import annotations

import os
import weakref
from ctypes import byref
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench import Layer, Network, OptimizerState, flatten
from nnbench_native.library import (
    ACTIVATIONS,
    FIRST_MOMENTS,
    GRADIENTS,
    LOSSES,
    OPTIMIZERS,
    PARAMETERS,
    SECOND_MOMENTS,
    Spec,
    Split,
    load,
    pointer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec

    Array = NDArray[np.float32]

WORD = 64  #: inputs that one word of a mask tells of
OUT_OF_MEMORY = "no memory for the buffers of a batch"


class Batch(NamedTuple):
    """Rows of a split; they are not copied."""

    data: Split
    rows: NDArray[np.int64]


class NativeNetwork(Network[Split, Batch]):
    """It trains with as many threads as OMP_NUM_THREADS says, or one."""

    def __init__(self, spec: NetworkSpec, *, instructions: str = "native") -> None:
        self.spec = spec
        self._library = load(instructions)
        sizes = np.array(spec.sizes, np.uintp)
        struct = make_struct(spec, sizes)
        self._handle = self._library.nn_create(byref(struct))
        if not self._handle:
            raise MemoryError(f"no memory, or no {struct.threads} threads, for this network")
        weakref.finalize(self, self._library.nn_free, self._handle)

    @property
    def instructions(self) -> str:
        """The vector instructions that the code was built for."""
        name: bytes = self._library.nn_isa()
        return name.decode()

    def load(self, layers: Sequence[Layer]) -> None:
        flat = np.concatenate(flatten(layers), axis=None, dtype=np.float32)
        flat = flat.reshape(self.spec.parameter_count)
        self._library.nn_load(self._handle, pointer(flat))

    def dump(self) -> list[Layer]:
        return self._export(PARAMETERS)

    def gradients(self) -> list[Layer]:
        return self._export(GRADIENTS)

    def optimizer_state(self) -> OptimizerState | None:
        if not self.spec.optimizer.keeps_moments:
            return None
        moments = map(self._export, (FIRST_MOMENTS, SECOND_MOMENTS))
        steps = int(self._library.nn_steps(self._handle))
        return OptimizerState(steps, *moments).unscaled(self.spec.optimizer)

    def _export(self, which: int) -> list[Layer]:
        """Copy a flat array out, and cut it into layers."""
        flat = np.empty(self.spec.parameter_count, np.float32)
        self._library.nn_dump(self._handle, which, pointer(flat))
        return self.spec.view(flat)

    def place(self, examples: Examples) -> Split:
        if examples.labels is not None:
            check_range("labels", examples.labels, self.spec.sizes[-1])
        return pack(examples)

    def batch(self, data: Split, index: NDArray[np.int64]) -> Batch:
        index = np.ascontiguousarray(index, np.int64)
        check_range("rows", index, data.count)
        if self._library.nn_batch(self._handle, byref(data), pointer(index), len(index)):
            raise MemoryError(OUT_OF_MEMORY)
        return Batch(data, index)

    def feedforward(self, batch: Batch) -> Array:
        logits = np.empty((len(batch.rows), self.spec.sizes[-1]), np.float32)
        self._library.nn_feedforward(self._handle, pointer(logits))
        return logits

    def backprop(self, batch: Batch) -> float:  # noqa: ARG002 - C has the batch
        return float(self._library.nn_backprop(self._handle))

    def update(self) -> None:
        self._library.nn_update(self._handle)

    def train_epoch(self, data: Split, order: NDArray[np.int64], batch_size: int) -> Array:
        order = np.ascontiguousarray(order, np.int64)
        check_range("rows", order, data.count)
        losses = np.empty(-(-len(order) // batch_size), np.float32)
        arguments = (pointer(order), len(order), batch_size, pointer(losses))
        if self._library.nn_train_epoch(self._handle, byref(data), *arguments):
            raise MemoryError(OUT_OF_MEMORY)
        return losses


def make_struct(spec: NetworkSpec, sizes: NDArray[np.uintp]) -> Spec:
    """Write a network down for C; ``sizes`` must outlive the result."""
    optimizer = spec.optimizer
    return Spec(
        sizes=pointer(sizes),
        depth=len(sizes) - 1,
        activation=ACTIVATIONS[spec.activation],
        loss=LOSSES[spec.loss],
        bias=spec.bias,
        optimizer=OPTIMIZERS[optimizer.kind],
        threads=threads(),
        l2=spec.l2,
        learning_rate=optimizer.learning_rate,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        epsilon=optimizer.epsilon,
    )


def threads() -> int:
    """Return the number of threads that the harness asks for; one where nobody does."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # OpenMP has one for each level
    return max(1, int(first)) if first.isdecimal() else 1


def pack(examples: Examples) -> Split:
    """Leave the zeros out: a bit for each input, and the values of those that are not zero."""
    inputs, labels, targets = examples
    count, width = inputs.shape
    words = -(-width // WORD)
    present = np.zeros((count, words * WORD), bool)
    np.not_equal(inputs, 0, out=present[:, :width])
    records = np.zeros(count, example_type(words))
    records["mask"] = np.packbits(present, axis=1, bitorder="little").view("<u8")
    records["count"] = np.count_nonzero(present, axis=1)
    records["start"] = np.cumsum(records["count"], dtype=np.uint64) - records["count"]
    if labels is not None:
        records["label"] = labels
    present = present[:, :width]
    values = inputs[present]
    frequency = np.count_nonzero(present, axis=0).astype(np.int64)
    if targets is not None:
        targets = np.array(targets, np.float32, order="C")
    split = Split(
        examples=pointer(records),
        count=count,
        size=records.itemsize,
        values=pointer(values),
        targets=pointer(targets),
        frequency=pointer(frequency),
    )
    split.arrays = (records, values, targets, frequency)
    return split


def example_type(words: int) -> np.dtype[np.void]:
    """Return the type of ``struct example``."""
    fields = [("start", "u8"), ("count", "u4"), ("label", "i4"), ("mask", "u8", (words,))]
    return np.dtype(fields)


def check_range(what: str, values: NDArray[np.int64], count: int) -> None:
    """Refuse what would reach outside of an array; C does not look.

    Raises
    ------
    IndexError
        If a value is not in [0, count).
    """
    if len(values) and not 0 <= values.min() <= values.max() < count:
        raise IndexError(f"{what} {values.min()} to {values.max()}, but there are {count}")
