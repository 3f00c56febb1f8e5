"""What rounding alone does: the reference in float32, everything added up in another order.

Its inputs and hidden units are permuted, and each batch is turned round: so every sum is added up in another order, which
is all that right backends differ in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench.contract.spec import Layer, OptimizerState
from nnbench.proof.deviations import compare
from nnbench.proof.training import State, Training, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import Examples, NetworkSpec
    from nnbench.proof.training import Suspect
    from nnbench.records.cells import Deviations


class Rounded:
    """A training in float64, and beside it one in float32, in one of many orders, which takes the sides."""

    def __init__(self, exact: Training, number: int = 0) -> None:
        self.exact = exact
        self.other = _Permuted(
            number, exact.spec, exact.examples, dtype=np.float32, precision=exact.precision
        )

    def load(self, state: State) -> None:
        """Start both from a state."""
        self.exact.load(state)
        self.other.load(self.other.permuted(state))

    def step(
        self, index: NDArray[np.int64], suspects: list[Suspect] | None = None
    ) -> tuple[float, float]:
        """Train one batch; return its loss in float32 and in float64."""
        expected = self.exact.step(index, _Active(self.other.active(index)), suspects)
        return self.other.step(index[::-1]), expected

    def deviations(self, start: State, off: NDArray[np.float64]) -> Deviations:
        """Return how far they are apart since they started from a state."""
        return compare(start, self.other.straight(), self.exact.state(), off)


class _Permuted(Training):
    """The same training, with inputs and hidden units in another order."""

    def __init__(self, number: int, spec: NetworkSpec, *args: Any, **options: Any) -> None:
        super().__init__(spec, *args, **options)
        rng = np.random.default_rng(number)
        self.orders = [rng.permutation(size) for size in spec.sizes[:-1]]
        self.orders.append(np.arange(spec.sizes[-1]))

    def _batch(self, index: NDArray[np.int64]) -> Examples:
        batch = super()._batch(index)
        return batch._replace(inputs=batch.inputs[:, self.orders[0]])

    def permuted(self, state: State) -> State:
        """Return a state in this order."""
        return self._moved(state, self.orders)

    def straight(self) -> State:
        """Return where it is, in the usual order."""
        return self._moved(self.state(), [np.argsort(order) for order in self.orders])

    def _moved(self, state: State, orders: Sequence[NDArray[np.int64]]) -> State:
        def move(layers: list[Layer]) -> list[Layer]:
            return [
                Layer(weight[rows][:, columns], None if bias is None else bias[columns])
                for (weight, bias), rows, columns in zip(layers, orders, orders[1:], strict=False)
            ]

        known = state.optimizer
        moments = known and OptimizerState(known.steps, move(known.first), move(known.second))
        return State(move(state.layers), moments)

    def active(self, index: NDArray[np.int64]) -> list[NDArray[np.bool]]:
        """Tell of each hidden unit whether it is active, in the usual order of rows and units."""
        places = map(np.argsort, self.orders[1:-1])
        values = self.hidden(index[::-1])
        return [(z > 0)[::-1, place] for z, place in zip(values, places, strict=True)]


class _Active(Mapping[Unit, bool]):
    """The sides of all units."""

    def __init__(self, layers: list[NDArray[np.bool]]) -> None:
        self.layers = layers

    def __getitem__(self, unit: Unit) -> bool:
        return bool(self.layers[unit.layer][unit.row, unit.unit])

    def __iter__(self) -> Iterator[Unit]:
        for layer, active in enumerate(self.layers):
            yield from (Unit(layer, *place) for place in np.ndindex(active.shape))

    def __len__(self) -> int:
        return sum(active.size for active in self.layers)
