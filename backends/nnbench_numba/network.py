"""A multilayer perceptron compiled by Numba: the arrays, and the calls into the kernels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that Numba calls: its pool is to be known
from threadpoolctl import ThreadpoolController

from nnbench import Examples, Layer, Network, OptimizerState, flatten
from nnbench_numba import compilation, kernels
from nnbench_numba.kernels import Model, Rule, Split, State, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nnbench import NetworkSpec

T = TypeVar("T")


class Batch(NamedTuple):
    """Some rows of a split."""

    split: Split
    rows: NDArray[np.int64]


class NumbaNetwork(Network[Split, Batch]):
    """One chunk of a batch, and of the parameters, for each thread.

    The threads are Python's: they start when they are needed, hold no lock in compiled code, and
    nothing of Numba's own pool is ever loaded.
    """

    def __init__(self, spec: NetworkSpec, threads: int | None = None) -> None:
        self.spec = spec
        # read without starting Numba's own pool, as numba.get_num_threads() would
        self._threads = threads or numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # dynamic
        rule = spec.optimizer
        numbers = map(float, (rule.learning_rate, rule.beta1, rule.beta2, rule.epsilon))
        self._model, self._rule = make_model(spec), Rule(kernels.OPTIMIZERS[rule.kind], *numbers)
        self._state = make_state(spec, self._threads)
        self._work = Workspace(np.empty(0, np.float32), np.empty(0, np.float32))
        self._steps = 0
        self._arrivals = np.zeros(1, np.int64)
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
        state.parameters[:] = np.concatenate(flatten(layers), axis=None)
        self._steps = 0
        for array in (state.first, state.second):
            array[:] = 0

    def dump(self) -> list[Layer]:
        return self._export(self._state.parameters)

    def gradients(self) -> list[Layer]:
        return self._export(self._state.partial.sum(axis=0))

    def optimizer_state(self) -> OptimizerState | None:
        if not self.spec.optimizer.keeps_moments:
            return None
        moments = map(self.spec.view, (self._state.first, self._state.second))
        return OptimizerState(self._steps, *moments).unscaled(self.spec.optimizer)

    def _export(self, flat: NDArray[np.float32]) -> list[Layer]:
        return [layer.copy() for layer in self.spec.view(flat)]

    def place(self, examples: Examples) -> Split:
        starts, columns, values = kernels.compress(typed(examples.inputs))
        return Split(starts, columns, values, typed(examples.one_hot(self.spec.sizes[-1])))

    def batch(self, data: Split, index: NDArray[np.int64]) -> Batch:
        return Batch(data, typed(index))

    def feedforward(self, batch: Batch) -> NDArray[np.float32]:
        n = len(batch.rows)
        work = self._workspace(n)
        self._run(lambda t: kernels.feedforward(self._model, self._state, *batch, work, t))
        return kernels.rows_of(work.values, self._model, len(self.spec.shapes) - 1, n, 0, n)

    def backprop(self, batch: Batch) -> float:
        work = self._work
        return sum(self._run(lambda t: kernels.backprop(self._model, self._state, *batch, work, t)))

    def update(self) -> None:
        self._steps += 1
        self._run(lambda t: kernels.update(self._rule, self._state, self._steps, t))

    def train_epoch(
        self, data: Split, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        steps = -(-len(order) // batch_size)
        losses = np.empty((self._threads, steps), np.float32)
        given = (data, typed(order), batch_size, self._workspace(batch_size), self._steps)

        def train(thread: int) -> None:
            network = (self._model, self._rule, self._state)
            kernels.train(*network, *given, losses[thread], self._arrivals, thread)

        self._run(train)
        self._steps += steps
        return losses.sum(axis=0)

    def _run(self, work: Callable[[int], T]) -> list[T]:
        """Do the work of all threads at once, and return what each gives."""
        if self._threads == 1:
            return [work(0)]
        with (
            self._pools.limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(self._threads) as pool,
        ):
            return list(pool.map(work, range(self._threads)))

    def _workspace(self, n: int) -> Workspace:
        """Return a workspace for n examples; it grows, and then serves smaller batches too."""
        size = n * sum(self.spec.sizes[1:])
        if size > len(self._work.values):
            self._work = Workspace(np.empty(size, np.float32), np.empty(size, np.float32))
        return self._work

    def compilations(self) -> int:
        return compilation.compilations()


def typed(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the one type that is compiled for: in rows, and writable."""
    return np.require(array, requirements=["C", "W"])


def make_model(spec: NetworkSpec) -> Model:
    """Write a network down for the kernels."""
    lengths = [i * o + (o if spec.bias else 0) for i, o in spec.shapes]
    return Model(
        sizes=np.array(spec.sizes, np.int64),
        offsets=np.cumsum([0, *lengths]),
        columns=np.cumsum([0, *spec.sizes[1:-1]]),
        activation=kernels.ACTIVATIONS[spec.activation],
        loss=kernels.LOSSES[spec.loss],
        l2=np.float32(spec.l2),
    )


def make_state(spec: NetworkSpec, chunks: int) -> State:
    """Allocate a network's arrays."""
    size = spec.parameter_count
    parameters, gradients, first, second = (np.zeros(size, np.float32) for _ in range(4))
    return State(parameters, np.zeros((chunks, size), np.float32), gradients, first, second)
