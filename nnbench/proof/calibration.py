"""How long a part may be, and how far rounding alone may bring it from the reference.

Measured on each workload by the reference itself, in float32, its inputs and hidden units in another order: so
every sum is added up in another order, which is all that right backends differ in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from nnbench import files
from nnbench.contract.spec import Layer, OptimizerState, minibatches
from nnbench.proof.parts import compare, losses_off
from nnbench.proof.training import State, Training, Unit, fresh
from nnbench.records import Deviations, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnbench.contract.backend import Precision
    from nnbench.contract.spec import Examples, NetworkSpec
    from nnbench.proof.training import Suspect

VERSION = 4  #: of what follows, for the cache
LENGTHS = (100, 50, 20, 10, 5, 2, 1)  #: of parts, in steps
BASE = Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5)
#: Of ``adam-fresh``, in 2 steps. What it amplifies comes late in a training, and is not seen in what is measured
#: here. Of 6,000 parts of right backends, from all of an epoch, none was off by more than 6e-5 in its
#: losses; a learning rate 1% too large moves parameters by 3e-2.
FRESH_BASE = Deviations(loss=3e-4, displacement=1e-3, first=2e-5, second=2e-5)
FRESH_STEPS = 2
#: Of a precision class. An input that lies between two values may be rounded to either, which training
#: amplifies as it does signs; computing in another class moves parameters by 5e-3 in one step.
ROUNDED_BASE = Deviations(loss=5e-5, displacement=1e-3, first=1e-3, second=5e-4)
ROUNDED_STEPS = 20
FACTOR = 3  #: of the largest deviation that was measured
#: Times the base: the most that the tolerance of a longer part may have.
ROOM: dict[Precision, float] = {"float32": 2, "tf32": 6, "bf16": 6, "float16": 6}
MOST_SUSPECTS = 12  #: undecided units in a part, since the search tries each
OPERATIONS = 5e10  #: floating-point operations that a stretch may cost
STRETCHES = 2  #: that are followed, one after the other
WITHOUT_STATE = 10  #: times the tolerance where the optimizer's state is not to be had


def calibrate(
    spec: NetworkSpec,
    examples: Examples,
    batch_size: int,
    layers: list[Layer],
    *,
    precision: Precision = "float32",
    from_parameters: bool = False,
    folder: Path | None = None,
    sha256: str = "",
) -> Limits:
    """Return the length and the tolerance of the parts of a workload.

    The tolerance is three times the largest deviation that was measured, and at least ``BASE``. The
    length is the largest at which that is little more than ``BASE``, and few signs are undecided.

    Parameters
    ----------
    spec, examples, batch_size, layers
        What is trained, and the initial parameters.
    precision
        Of the products.
    from_parameters
        The optimizer's state is not to be had.
    folder
        Where results are kept from run to run; None keeps none.
    sha256
        Of the dataset, so that it need not be computed here.
    """
    path, limits = None, None
    if folder:
        data = (sha256, len(examples.inputs)) if sha256 else examples
        path = folder / f"{_digest(spec, data, batch_size, layers, precision)}.json"
        limits = _read(path)
    if limits is None:
        limits = _measure(spec, examples, batch_size, layers, precision)
        if path:
            with suppress(OSError):  # a full disk, or one that may not be written to
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_whole(path, msgspec.json.encode(limits))
    return scaled(limits, WITHOUT_STATE) if from_parameters else limits


def _digest(*values: object) -> str:
    digest = hashlib.sha256(
        repr(
            (VERSION, LENGTHS, BASE, FRESH_BASE, ROUNDED_BASE, FACTOR, ROOM, MOST_SUSPECTS)
        ).encode()
    )
    for value in values:
        _add(digest, value)
    return digest.hexdigest()[:32]


def _add(digest: hashlib._Hash, value: object) -> None:
    match value:
        case np.ndarray():
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        case list() | tuple():
            for one in value:
                _add(digest, one)
        case _:
            digest.update(repr(value).encode())


def _read(path: Path) -> Limits | None:
    """Read what was kept; what is damaged or missing is measured anew."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Limits)
    except (OSError, msgspec.MsgspecError):
        return None


def scaled(limits: Limits, factor: float) -> Limits:
    """Return limits with so many times the tolerance."""
    tolerance = {name: (value or 0) * factor for name, value in asdict(limits.tolerance).items()}
    return Limits(steps=limits.steps, tolerance=Deviations(**tolerance))


def _measure(
    spec: NetworkSpec,
    examples: Examples,
    batch_size: int,
    layers: list[Layer],
    precision: Precision,
) -> Limits:
    usual, most = (BASE, LENGTHS[0]) if precision == "float32" else (ROUNDED_BASE, ROUNDED_STEPS)
    base = spec.optimizer.choose(sgd=usual, adam=usual, adam_fresh=FRESH_BASE)
    most = spec.optimizer.choose(sgd=most, adam=most, adam_fresh=FRESH_STEPS)
    longest = min(most, OPERATIONS / (batch_size * spec.operations))
    lengths = [length for length in LENGTHS if length <= longest] or [1]
    exact = Training(spec, examples, precision=precision)
    other = _Permuted(spec, examples, dtype=np.float32, precision=precision)
    other.load(other.permuted(fresh(spec, layers)))
    batches = _batches(len(examples.inputs), batch_size)
    found: dict[int, list[Deviations]] = {length: [] for length in lengths}
    undecided = 0
    with np.errstate(all="ignore"):  # a training may diverge
        for _ in range(STRETCHES):
            start = other.straight()
            exact.load(start)
            losses: list[tuple[float, float]] = []
            for step in range(1, lengths[0] + 1):
                index = next(batches)
                suspects: list[Suspect] = []
                expected = exact.step(index, _Active(other.active(index)), suspects)
                losses.append((other.step(index[::-1]), expected))
                undecided += len(suspects)
                if step in found:
                    off = losses_off(*np.array(losses).T)
                    found[step].append(compare(start, other.straight(), exact.state(), off))
    rate = undecided / (STRETCHES * lengths[0])
    is_searched = precision == "float32" and rate > 0
    longest = MOST_SUSPECTS / rate if is_searched else lengths[0]
    return _choose(found, longest, ROOM[precision], base)


def _choose(
    found: dict[int, list[Deviations]], longest: float, room: float, least: Deviations
) -> Limits:
    """Return the largest length whose tolerance is little more than the least."""
    base = {name: float(value or 0) for name, value in asdict(least).items()}
    worst = dict.fromkeys(base, 0.0)
    best = Limits(steps=1, tolerance=least)
    for length in sorted(found):
        for name in worst:
            seen = [getattr(deviations, name) for deviations in found[length]]
            worst[name] = max(worst[name], *(inf if one is None else one for one in seen))
        tolerance = {name: max(base[name], FACTOR * worst[name]) for name in worst}
        fits = all(tolerance[name] <= room * base[name] for name in worst)
        if length == 1 or (fits and length <= longest):
            finite = {
                name: value if isfinite(value) else base[name] for name, value in tolerance.items()
            }
            best = Limits(steps=length, tolerance=Deviations(**finite))
    return best


def _batches(count: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches without end; the orders are no run's."""
    rng = np.random.default_rng(VERSION)
    while True:
        yield from minibatches(rng.permutation(count), batch_size)


class _Permuted(Training):
    """The same training, with inputs and hidden units in another order."""

    def __init__(self, spec: NetworkSpec, *args: Any, **options: Any) -> None:
        super().__init__(spec, *args, **options)
        rng = np.random.default_rng(VERSION)
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
