"""The reference once more, for speed: the same numbers as ``nnbench.reference`` to a few ulp.

``nnbench.reference`` is to be read; this one follows whole trainings, so it computes in place, keeps the
bias as one more row of the weights, and Adam's moments scaled (``Optimizer.scaled``). It can take
chosen ReLU units on their other side, and name those whose side float32 cannot tell.

N is the batch size; a layer with fan-in D and fan-out K has one matrix here, shape (D + 1, K), the
bias last, or (D, K) in a network without biases.
"""

from __future__ import annotations

from math import sqrt
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import numpy as np

from nnbench import reference
from nnbench.contract.spec import Examples, Layer, OptimizerState, flatten, map_arrays

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.backend import Precision
    from nnbench.contract.spec import NetworkSpec

    Array = NDArray[np.floating]

EPSILON = float(np.finfo(np.float32).eps)
#: Of what float32 rounds in a sum of products: nearer to zero a sign is luck. Where inputs are rounded, one
#: that lies between two values may go to either, which moves the sum further.
UNDECIDED: dict[Precision, float] = {"float32": 3.0, "tf32": 48.0, "bf16": 48.0, "float16": 48.0}
ROWS = 2000  #: that are evaluated at once
# ``adam-fresh`` moves by g / (|g| + ε), that is by a sign. Float32 cannot decide those of tiny gradients,
# and what they move by changes later ones. So a gradient is decided if it is larger than
DECIDED = 100  #: times ε, and
CANCELLED = 1e-2  #: times the sum of the sizes of what is added up in it
BLOCK = 4096  #: values that Adam updates at once, while they are in the cache
MANTISSA = {"tf32": 10, "bf16": 7}  #: bits that a product's inputs keep; float16 has a type


class State(NamedTuple):
    """What training goes on from."""

    layers: list[Layer]
    optimizer: OptimizerState | None  #: None: it has none, or none is known
    #: how much farther a right backend may be with each parameter; None: no farther than rounding is
    leeway: list[Layer] | None = None


class Unit(NamedTuple):
    """A hidden unit for one example of a batch."""

    layer: int
    row: int  #: in the batch
    unit: int


NOTHING: Mapping[Unit, bool] = MappingProxyType({})


class Suspect(NamedTuple):
    """A unit whose input float32 cannot tell from zero."""

    unit: Unit
    active: bool  #: the side that it is on
    natural: bool  #: the side that its input says
    margin: float  #: its input, by what float32 may round there
    weight: float  #: norm of what its other side changes in the gradient of its own weights


class Snapshot(NamedTuple):
    """A copy of what a training has come to."""

    arrays: list[Array]
    steps: int


def fresh(spec: NetworkSpec, layers: list[Layer]) -> State:
    """Return the state in which training starts."""
    zeros = [[map_arrays(np.zeros_like, layer) for layer in layers] for _ in range(2)]
    return State(
        layers,
        spec.optimizer.choose(sgd=None, adam=OptimizerState(0, *zeros), adam_fresh=None),
    )


class Training:
    """The training of one network on some examples, from any state on.

    Parameters
    ----------
    spec
        The network and its optimizer.
    examples
        What it is trained on.
    dtype
        The arithmetic: float64, or float32 to see what rounding does.
    precision
        What the inputs of each product are rounded to, to nearest even: all else is computed in ``dtype``.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        examples: Examples,
        *,
        dtype: type[np.floating] = np.float64,
        precision: Precision = "float32",
    ) -> None:
        self.spec, self.examples, self.dtype, self.precision = spec, examples, dtype, precision
        self._keeps = spec.optimizer.choose(sgd=False, adam=True, adam_fresh=False)
        self._matrices: list[Array] = []
        self._moments: list[list[Array]] = [[], []]
        self._leeway: list[Array] = []
        self._sizes: list[Array] = []  # of what was added up in the last gradients
        self._steps = 0
        self.most = UNDECIDED[precision]
        self._roundings: list[float] | None = None  # of the losses so far, where they are asked for
        self.contrary = 0.0  #: units nearer to zero than that are taken on their other side, by what float32 rounds

    def load(self, state: State) -> None:
        """Start from a state; Adam starts anew where the state has none of it."""
        self._matrices = [self._join(layer) for layer in state.layers]
        known = state.optimizer
        self._steps = known.steps if known else 0
        if self.spec.optimizer.choose(sgd=False, adam=False, adam_fresh=True):
            self._leeway = [np.zeros_like(m) for m in self._matrices]
        if not self._keeps:
            return
        if known is None:
            self._moments = [[np.zeros_like(m) for m in self._matrices] for _ in range(2)]
        else:
            kinds = zip((known.first, known.second), self._shares, strict=True)
            self._moments = [[self._join(m) / share for m in moments] for moments, share in kinds]

    @property
    def _shares(self) -> tuple[float, float]:
        """What a new gradient has in each moment."""
        return 1 - self.spec.optimizer.beta1, 1 - self.spec.optimizer.beta2

    def _join(self, layer: Layer) -> Array:
        rows = [layer.weight] if layer.bias is None else [layer.weight, layer.bias[None]]
        return np.concatenate(rows).astype(self.dtype, order="C")  # Adam goes through it as one row

    def state(self) -> State:
        """Return a copy of where it is now."""
        layers = self._split(self._matrices)
        if not self._keeps:
            return State(layers, None, self._split(self._leeway) or None)
        first, second = (
            self._split([moment * share for moment in moments])
            for moments, share in zip(self._moments, self._shares, strict=True)
        )
        return State(layers, OptimizerState(self._steps, first, second))

    def _split(self, matrices: Iterable[Array]) -> list[Layer]:
        if not self.spec.bias:
            return [Layer(matrix.copy(), None) for matrix in matrices]
        return [Layer(matrix[:-1].copy(), matrix[-1].copy()) for matrix in matrices]

    def snapshot(self) -> Snapshot:
        """Copy what changes, to come back to."""
        return Snapshot([array.copy() for array in self._arrays()], self._steps)

    def restore(self, snapshot: Snapshot) -> None:
        """Come back to a snapshot of the same training."""
        for array, kept in zip(self._arrays(), snapshot.arrays, strict=True):
            array[...] = kept
        self._steps = snapshot.steps

    @property
    def nbytes(self) -> int:
        """Size of a snapshot."""
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> list[Array]:
        return [*self._matrices, *self._moments[0], *self._moments[1], *self._leeway]

    def step(
        self,
        index: NDArray[np.int64],
        sides: Mapping[Unit, bool] = NOTHING,
        suspects: list[Suspect] | None = None,
    ) -> float:
        """Train one batch and return its loss before the update.

        Parameters
        ----------
        index
            The rows of the examples.
        sides
            Whether hidden units are active; that of units whose side float32 can tell is ignored.
        suspects
            Is given the units whose side float32 cannot tell.
        """
        loss, gradients = self._backprop(index, sides, suspects)
        self._update(gradients)
        return loss

    def gradients(
        self,
        index: NDArray[np.int64],
        sides: Mapping[Unit, bool] = NOTHING,
        suspects: list[Suspect] | None = None,
    ) -> list[Layer]:
        """Return the gradients of one batch; the training stays where it is."""
        return self._split(self._backprop(index, sides, suspects)[1])

    def follow(self, batches: Iterable[NDArray[np.int64]]) -> list[float]:
        """Train some batches and return their losses."""
        return [self.step(index) for index in batches]

    def roundings(self, batches: Iterable[NDArray[np.int64]]) -> NDArray[np.float64]:
        """Train some batches and return how far float32 may round the loss of each.

        What a sum of products is rounded by is a few ε of the size of its terms, and to the loss it does that times
        its gradient. Such roundings are independent of one another, so their squares add up; and so it is with those of the parameters,
        once for each step so far. The loss itself is rounded by the size of what it is the difference of.
        """
        self._roundings = []
        for index in batches:
            self.step(index)
        found, self._roundings = np.array(self._roundings), None
        return found

    def evaluate(self, layers: list[Layer], test: Examples) -> tuple[float, float | None]:
        """Return the loss of parameters on other examples, and their accuracy if there are labels.

        The loss is without its L2 term.
        """
        loss, right = 0.0, 0
        matrices = [self._join(layer) for layer in layers]
        for start in range(0, len(test.inputs), ROWS):
            batch = test.rows(slice(start, start + ROWS))
            logits = self._logits(matrices, batch.inputs)
            loss += reference.output_loss(self.spec, logits, batch)[0] * len(logits)
            if batch.labels is not None:
                right += int((logits.argmax(axis=1) == batch.labels).sum())
        count = len(test.inputs)
        return loss / count, None if test.labels is None else right / count

    def logits(self, layers: list[Layer], inputs: Array) -> Array:
        """Return what the network of some parameters gives for some inputs, shape (M, outputs)."""
        matrices = [self._join(layer) for layer in layers]
        starts = range(0, len(inputs), ROWS)
        return np.concatenate([self._logits(matrices, inputs[s : s + ROWS]) for s in starts])

    def hidden(self, index: NDArray[np.int64]) -> list[Array]:
        """Return the outputs of the hidden layers for one batch."""
        values = [self._batch(index).inputs]
        for matrix in self._matrices[:-1]:
            z = self._multiply(self._rounded(values[-1]), matrix)
            values.append(reference.activate(self.spec, z))
        return values[1:]

    def _logits(self, matrices: Sequence[Array], inputs: Array) -> Array:
        values = inputs.astype(self.dtype)
        for matrix in matrices[:-1]:
            values = reference.activate(self.spec, self._multiply(self._rounded(values), matrix))
        return self._multiply(self._rounded(values), matrices[-1])

    def _backprop(
        self,
        index: NDArray[np.int64],
        sides: Mapping[Unit, bool],
        suspects: list[Suspect] | None,
    ) -> tuple[float, list[Array]]:
        spec, matrices = self.spec, self._matrices
        batch = self._batch(index)
        values: list[Array] = [self._rounded(batch.inputs)]  # as the products take them
        slopes: list[NDArray[Any]] = []
        undecided: list[Suspect] = []
        for depth, matrix in enumerate(matrices[:-1]):
            z = self._multiply(values[-1], matrix)
            match spec.activation:
                case "relu":
                    active = z > 0
                    if sides or suspects is not None:
                        for unit, margin in self._undecided(depth, z, values[-1], matrix):
                            natural = bool(active[unit.row, unit.unit])
                            side = sides.get(unit, natural ^ (margin < self.contrary))
                            active[unit.row, unit.unit] = side
                            undecided.append(Suspect(unit, side, natural, margin, 0.0))
                    z *= active
                    slopes.append(active)
                case "sigmoid":
                    z = reference.sigmoid(z)
                    slopes.append(z * (1 - z))
                case _:
                    assert_never(spec.activation)
            values.append(self._rounded(z))
        logits = self._multiply(values[-1], matrices[-1])
        loss, delta = reference.output_loss(spec, logits, batch)
        if self._roundings is not None:
            self._roundings.append(self._rounding(batch, values, logits, slopes, delta))
        gradients: list[Array] = []
        self._sizes = [np.zeros_like(matrix) for matrix in self._leeway]
        for depth in reversed(range(len(matrices))):
            matrix, value = matrices[depth], values[depth]
            fan_in = value.shape[1]
            weight, gradient = matrix[:fan_in], np.empty_like(matrix)
            if spec.bias:
                delta.sum(axis=0, out=gradient[-1])
            delta = self._rounded(delta)
            np.matmul(value.T, delta, out=gradient[:fan_in])
            if self._leeway:
                sizes = np.abs(delta)
                np.matmul(np.abs(value.T), sizes, out=self._sizes[depth][:fan_in])
                self._sizes[depth][fan_in:] = sizes.sum(axis=0)
            if spec.l2:
                gradient[:fan_in] += spec.l2 * weight
                loss += spec.l2 / 2 * float(np.square(weight).sum())
            gradients.append(gradient)
            if depth:
                delta = delta @ self._rounded(weight).T
                if suspects is not None:
                    suspects += self._weigh(undecided, depth - 1, values[depth - 1], delta)
                delta *= slopes[depth - 1]
        return loss, gradients[::-1]

    def _rounding(
        self,
        batch: Examples,
        values: Sequence[Array],
        logits: Array,
        slopes: Sequence[NDArray[Any]],
        delta: Array,
    ) -> float:
        """Return how far float32 may round the loss of a step."""
        unit = UNDECIDED[self.precision] * EPSILON
        sums = own = 0.0
        for depth in reversed(range(len(values))):
            matrix, value = self._matrices[depth], values[depth]
            fan_in = value.shape[1]
            weight = self._rounded(matrix[:fan_in])
            sizes = np.abs(value) @ np.abs(weight) + np.abs(matrix[fan_in:]).sum(axis=0)
            sums += float(np.square(delta * sizes).sum())
            if value is values[-1]:
                own = _difference(self.spec, logits, batch, sizes, unit)
            if depth:
                delta = (delta @ weight.T) * slopes[depth - 1]
        steps = len(self._roundings or ()) + 1
        return unit * (sqrt(steps * sums) + own)

    def _weigh(
        self, undecided: list[Suspect], layer: int, value: Array, delta: Array
    ) -> Iterator[Suspect]:
        """Say of the undecided units of a layer how much their sides matter."""
        for suspect in undecided:
            if suspect.unit.layer == layer:
                _, row, unit = suspect.unit
                size = float(np.linalg.norm(value[row]))
                yield suspect._replace(weight=abs(float(delta[row, unit])) * size)

    def _batch(self, index: NDArray[np.int64]) -> Examples:
        inputs, labels, targets = self.examples
        return Examples(
            inputs.take(index, axis=0).astype(self.dtype),
            None if labels is None else labels[index],
            None if targets is None else targets[index].astype(self.dtype),
        )

    def _multiply(self, value: Array, matrix: Array) -> Array:
        z: Array = value @ self._rounded(matrix[: value.shape[1]])
        if self.spec.bias:
            z += matrix[-1]
        return z

    def _undecided(
        self, layer: int, z: Array, value: Array, matrix: Array
    ) -> list[tuple[Unit, float]]:
        """Return the units of a layer for which float32 cannot tell the sign of z, and their margins.

        A sum of products is rounded by no more than a few ε times the sum of their sizes. That sum costs as
        much as the layer itself, so it is computed of those units alone that are near enough to zero by
        the inequality of Cauchy and Schwarz.
        """
        weight = self._rounded(matrix[: value.shape[1]])
        bias = np.abs(matrix[-1]) if self.spec.bias else np.zeros(z.shape[1])
        lengths = np.sqrt(np.einsum("ij,ij->i", value, value))
        sizes = np.sqrt(np.einsum("ij,ij->j", weight, weight))
        near = np.abs(z) < self.most * EPSILON * (np.multiply.outer(lengths, sizes) + bias)
        found = []
        for row, unit in np.argwhere(near):
            size = float(np.abs(value[row]) @ np.abs(weight[:, unit]) + bias[unit])
            if size > 0 and (margin := abs(float(z[row, unit])) / (EPSILON * size)) < self.most:
                found.append((Unit(layer, int(row), int(unit)), margin))
        return found

    def _rounded(self, array: Array) -> Array:
        """Round what a product takes to the precision."""
        match self.precision:
            case "float32":
                return array
            case "float16":
                return array.astype(np.float16).astype(self.dtype)
            case "tf32" | "bf16":
                return rounded(array, MANTISSA[self.precision])
            case _:
                assert_never(self.precision)

    def _update(self, gradients: Sequence[Array]) -> None:
        o = self.spec.optimizer
        self._steps += 1
        match o.kind:
            case "sgd":
                for matrix, gradient in zip(self._matrices, gradients, strict=True):
                    gradient *= o.learning_rate
                    matrix -= gradient
            case "adam-fresh":  # Adam's first step: the corrected moments are g and g²
                for matrix, gradient, added, leeway in zip(
                    self._matrices, gradients, self._sizes, self._leeway, strict=True
                ):
                    size = np.abs(gradient)
                    matrix -= o.learning_rate * gradient / (size + o.epsilon)
                    least = np.maximum(CANCELLED * added, DECIDED * o.epsilon)
                    leeway[(size > 0) & (size < least)] += 2 * o.learning_rate
            case "adam":
                constants = o.beta1, o.beta2, *o.scaled(self._steps)
                for p, g, m, v in zip(self._matrices, gradients, *self._moments, strict=True):
                    _adam(p, g, m, v, constants)
            case _:
                assert_never(o.kind)


def _difference(
    spec: NetworkSpec, logits: Array, batch: Examples, sizes: Array, unit: float
) -> float:
    """Return the size of what a loss is the difference of, by units of which it is rounded."""
    match spec.loss:
        case "cross_entropy":  # log Σ exp, where the largest term is 1, and a logit
            return 1 + float(np.abs(logits[np.arange(len(logits)), batch.labels]).mean())
        case "squared_error":  # (|error| + unit · size)² but for error²
            y = reference.sigmoid(logits)
            error, size = np.abs(y - np.asarray(batch.targets)), 1 + y * (1 - y) * sizes
            return float((2 * error * size + unit * size**2).mean())
        case _:
            assert_never(spec.loss)


def _adam(p: Array, g: Array, m: Array, v: Array, constants: tuple[float, ...]) -> None:
    """Make one step of Adam with scaled moments, in place."""
    beta1, beta2, rate, epsilon = constants
    p, g, m, v = (array.reshape(-1) for array in (p, g, m, v))
    scratch = np.empty(min(BLOCK, p.size), p.dtype)
    for start in range(0, p.size, BLOCK):
        part = slice(start, start + BLOCK)
        pp, gg, mm, vv = p[part], g[part], m[part], v[part]
        s = scratch[: pp.size]
        mm *= beta1
        mm += gg
        np.multiply(gg, gg, out=s)
        vv *= beta2
        vv += s
        np.sqrt(vv, out=s)
        s += epsilon
        np.divide(mm, s, out=s)
        s *= rate
        pp -= s


def rounded(array: Array, bits: int) -> Array:
    """Round to so many bits of the mantissa, to nearest, ties to even."""
    dtype = array.dtype
    whole = np.ascontiguousarray(array).view(f"u{dtype.itemsize}")
    dropped = np.finfo(dtype).nmant - bits
    one = whole.dtype.type(1)
    half = (one << whole.dtype.type(dropped - 1)) - one
    odd = (whole >> whole.dtype.type(dropped)) & one
    mask = ~((one << whole.dtype.type(dropped)) - one)
    result: Array = ((whole + half + odd) & mask).view(dtype)
    return result


def flat(layers: Sequence[Layer]) -> NDArray[np.float64]:
    """Join all values of layers, in the order of ``flatten``."""
    return np.concatenate([array.ravel() for array in flatten(layers)]).astype(np.float64)
