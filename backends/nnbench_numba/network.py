"""A multilayer perceptron compiled by Numba: the arrays, and the calls into the kernels."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that Numba calls: its pool is to be known
from threadpoolctl import ThreadpoolController

from nnbench import Examples, Layer, Network
from nnbench_numba import kernels
from nnbench_numba.kernels import ADAM, FRESH_ADAM, SGD, Model, Rule, Split, State, Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from nnbench import NetworkSpec, Optimizer

KINDS = {"sgd": SGD, "adam": ADAM, "adam-fresh": FRESH_ADAM}


class Batch(NamedTuple):
    """Some rows of a split."""

    split: Split
    rows: NDArray[np.int64]


class NumbaNetwork(Network[Split, Batch]):
    """One chunk of a batch, and of the parameters, for each of Numba's threads."""

    def __init__(self, spec: NetworkSpec, chunks: int | None = None) -> None:
        self.spec = spec
        self._depths = range(len(spec.shapes))
        self._model, self._rule = make_model(spec), make_rule(spec.optimizer)
        self._state = make_state(spec, chunks or numba.get_num_threads())
        self._work = make_workspace(spec, 0)
        self._pools = ThreadpoolController()
        self._compile()

    def _compile(self) -> None:
        """Compile, or load from Numba's cache, with one example of zeros: nothing waits later."""
        inputs, *_, outputs = self.spec.sizes
        one = Examples(np.zeros((1, inputs), np.float32), None, np.zeros((1, outputs), np.float32))
        data = self.place(one)
        batch = self.batch(data, np.zeros(1, np.int64))
        self.feedforward(batch)
        self.backprop(batch)
        self.update()
        self.train_epoch(data, batch.rows, 1)
        self.dump()

    def load(self, layers: Sequence[Layer]) -> None:
        state = self._state
        arrays = [array.ravel() for layer in layers for array in layer if array is not None]
        state.parameters[:] = np.concatenate(arrays)
        for array in (state.first, state.second, state.step):
            array[:] = 0

    def dump(self) -> list[Layer]:
        return self._export(self._state.parameters)

    def gradients(self) -> list[Layer]:
        return self._export(self._state.partial.sum(axis=0))

    def _export(self, flat: NDArray[np.float32]) -> list[Layer]:
        weights = [kernels.weight_of(flat, self._model, i).copy() for i in self._depths]
        biases = [kernels.bias_of(flat, self._model, i).copy() for i in self._depths]
        has = self.spec.bias
        return [Layer(w, b if has else None) for w, b in zip(weights, biases, strict=True)]

    def place(self, examples: Examples) -> Split:
        inputs, labels, targets = examples
        if targets is None:
            targets = np.eye(self.spec.sizes[-1], dtype=np.float32)[labels]
        starts, columns, values = kernels.compress(typed(inputs))
        return Split(starts, columns, values, typed(targets))

    def batch(self, data: Split, index: NDArray[np.int64]) -> Batch:
        return Batch(data, typed(index))

    def feedforward(self, batch: Batch) -> NDArray[np.float32]:
        n = len(batch.rows)
        work = self._workspace(n)
        with self._one_pool():
            kernels.feedforward(self._model, self._state, *batch, work)
        return kernels.rows_of(work.values, self._model, self._depths[-1], n, 0, n)

    def backprop(self, batch: Batch) -> float:
        with self._one_pool():
            return float(kernels.backprop(self._model, self._state, *batch, self._work))

    def update(self) -> None:
        kernels.update(self._rule, self._state)

    def train_epoch(
        self, data: Split, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        work = self._workspace(batch_size)
        with self._one_pool():
            losses: NDArray[np.float32] = kernels.train(
                self._model, self._rule, self._state, data, typed(order), batch_size, work
            )
        return losses

    def _workspace(self, n: int) -> Workspace:
        """Return a workspace for n examples; it grows, and then serves smaller batches too."""
        if n * sum(self.spec.sizes[1:]) > len(self._work.values):
            self._work = make_workspace(self.spec, n)
        return self._work

    def _one_pool(self) -> AbstractContextManager[Any]:
        """Keep BLAS from starting threads inside Numba's: two pools fight for the same cores."""
        if len(self._state.partial) == 1:
            return nullcontext()
        return self._pools.limit(limits=1, user_api="blas")

    def compilations(self) -> int:
        return sum(len(f.signatures) for f in vars(kernels).values() if hasattr(f, "signatures"))


def typed(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the one type that is compiled for: in rows, and writable."""
    return np.require(array, requirements=["C", "W"])


def make_model(spec: NetworkSpec) -> Model:
    """Describe a network to the kernels."""
    lengths = [i * o + (o if spec.bias else 0) for i, o in spec.shapes]
    return Model(
        sizes=np.array(spec.sizes, np.int64),
        offsets=np.cumsum([0, *lengths]),
        columns=np.cumsum([0, *spec.sizes[1:-1]]),
        relu=spec.activation == "relu",
        cross_entropy=spec.loss == "cross_entropy",
        l2=np.float32(spec.l2),
    )


def make_rule(spec: Optimizer) -> Rule:
    """Describe an optimizer to the kernels."""
    return Rule(
        KINDS[spec.kind],
        float(spec.learning_rate),
        float(spec.beta1),
        float(spec.beta2),
        float(spec.epsilon),
    )


def make_state(spec: NetworkSpec, chunks: int) -> State:
    """Allocate a network's arrays."""
    size = spec.parameter_count
    zeros = [np.zeros(size, np.float32) for _ in range(4)]
    return State(
        parameters=zeros[0],
        partial=np.zeros((chunks, size), np.float32),
        gradients=zeros[1],
        first=zeros[2],
        second=zeros[3],
        step=np.zeros(1, np.int64),
    )


def make_workspace(spec: NetworkSpec, n: int) -> Workspace:
    """Allocate the outputs and deltas of all layers for n examples."""
    size = n * sum(spec.sizes[1:])
    return Workspace(np.empty(size, np.float32), np.empty(size, np.float32))
