"""What every backend is given: the network, its optimizer, its parameters, its examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import itemgetter, methodcaller
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    assert_never,
    get_args,
)

from msgspec import Meta

from nnbench.contract.bounds import Decay, Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

Activation = Literal["relu", "sigmoid"]
Loss = Literal["cross_entropy", "squared_error"]
OptimizerKind = Literal["sgd", "adam", "adam-fresh"]
T = TypeVar("T")


def require_all(names: Collection[str], members: object, where: str) -> None:
    """Check that ``names``, the keys of a table say, are the members of a Literal.

    Raises
    ------
    TypeError
        If one is missing, or unknown; the message says which, and where.
    """
    if wrong := set(names) ^ set(get_args(members)):
        raise TypeError(f"{where}: missing or unknown: {', '.join(sorted(wrong))}")


class Layer(NamedTuple):
    """Parameters of one dense layer, or the gradients with respect to them."""

    weight: NDArray[np.float32]  #: shape (fan_in, fan_out)
    bias: NDArray[np.float32] | None  #: shape (fan_out,); None in a network without biases

    def copy(self) -> Layer:
        """Copy the arrays."""
        return map_arrays(methodcaller("copy"), self)


def flatten(layers: Iterable[Layer]) -> list[NDArray[Any]]:
    """List the arrays of all layers: weight, bias, weight, bias and so on, without copies."""
    return [array for layer in layers for array in layer if array is not None]


class OptimizerState(NamedTuple):
    """What Adam keeps between steps, in the form of the parameters.

    With the gradient g of step t the moments become m = β₁·m + (1 − β₁)·g and v = β₂·v +
    (1 − β₂)·g²; they begin as zeros. These are m and v themselves, not yet divided by 1 − β₁ᵗ and
    1 − β₂ᵗ. An L2 term is part of the gradient.
    """

    steps: int  #: t, how many there were since ``load``
    first: list[Layer]  #: m, float32 or float64
    second: list[Layer]  #: v

    def unscaled(self, optimizer: Optimizer) -> OptimizerState:
        """Return copies of moments that are scaled as in ``Optimizer.scaled``, not scaled."""

        def times(factor: float, moments: list[Layer]) -> list[Layer]:
            return [map_arrays(lambda array: array * factor, layer) for layer in moments]

        first, second = (1 - decay for decay in (optimizer.beta1, optimizer.beta2))
        return OptimizerState(self.steps, times(first, self.first), times(second, self.second))


class Examples(NamedTuple):
    """One split of a dataset, in host memory. M is the number of examples."""

    inputs: NDArray[np.float32]  #: shape (M, D), C-contiguous
    labels: NDArray[np.int64] | None  #: shape (M,): classes; set if the loss is cross_entropy
    targets: NDArray[np.float32] | None  #: shape (M, K); set if the loss is squared_error

    def rows(self, index: slice | NDArray[np.int64]) -> Examples:
        """Return some of the examples."""
        return map_arrays(itemgetter(index), self)

    def one_hot(self, outputs: int) -> NDArray[np.float32]:
        """Return the targets, shape (M, K); classes become rows of the identity."""
        import numpy as np

        if self.targets is None:
            return np.eye(outputs, dtype=np.float32)[self.labels]
        return self.targets


Arrays = TypeVar("Arrays", Layer, Examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """How gradients become an update.

    ``RULES`` has the formula of each kind.
    """

    kind: Annotated[OptimizerKind, Meta(description="rule of the update")]
    learning_rate: Annotated[Positive, Meta(description="step size")]
    beta1: Annotated[Decay, Meta(description="decay of the first moment")] = 0.9
    beta2: Annotated[Decay, Meta(description="decay of the second moment")] = 0.999
    epsilon: Annotated[Positive, Meta(description="added to the root of the second moment")] = 1e-8

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            msg = f"the learning rate must be a positive number, not {self.learning_rate}"
            raise ValueError(msg)

    def choose(self, *, sgd: T, adam: T, adam_fresh: T) -> T:
        """Return what is given for the optimizer's kind."""
        match self.kind:
            case "sgd":
                return sgd
            case "adam":
                return adam
            case "adam-fresh":
                return adam_fresh
            case _:
                assert_never(self.kind)

    @property
    def keeps_moments(self) -> bool:
        """Whether a step depends on more than the parameters and its gradients."""
        return RULES[self.kind].keeps_moments

    def scaled(self, step: int) -> tuple[float, float]:
        """Return the rate and the epsilon of Adam's step ``step`` (from 1) with scaled moments.

        Whoever keeps M = m / (1 − β₁) and V = v / (1 − β₂) instead of the moments decays them and
        adds g and g², without a further product. With s = √((1 − β₂) / (1 − β₂ᵗ)), √v̂ is s·√V, and
        the step η·m̂ / (√v̂ + ε) becomes η'·M / (√V + ε'), where η' = η·(1 − β₁) / (1 − β₁ᵗ) / s and
        ε' = ε / s.
        """
        scale = math.sqrt((1 - self.beta2) / (1 - self.beta2**step))
        rate = self.learning_rate * (1 - self.beta1) / (1 - self.beta1**step) / scale
        return rate, self.epsilon / scale


class Rule(NamedTuple):
    """What holds for a kind of optimizer, whatever its hyper-parameters."""

    formula: str  #: the update of a parameter θ with its gradient g
    words: str
    touched: int  #: values that an update reads or writes for each parameter
    keeps_moments: bool  #: whether a step depends on more than the parameters and its gradients


RULES: dict[OptimizerKind, Rule] = {
    "sgd": Rule("θ ← θ − η·g", "gradient descent", touched=3, keeps_moments=False),
    "adam": Rule(
        "θ ← θ − η·m̂ / (√v̂ + ε)",
        "Kingma and Ba (2015), algorithm 1: m̂ and v̂ are running means of g and g², with decays "
        "`beta1` and `beta2`, both corrected for their start at zero",
        touched=7,
        keeps_moments=True,
    ),
    "adam-fresh": Rule(
        "θ ← θ − η·g / (|g| + ε)",
        "Adam whose moments and count of steps restart at zero in every step",
        touched=3,
        keeps_moments=False,
    ),
}
require_all(RULES, OptimizerKind, "RULES")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A multilayer perceptron, its loss and its optimizer.

    The loss decides the output: ``cross_entropy`` is the mean over the batch, in nats, of the
    cross-entropy of a softmax; ``squared_error`` is the mean over batch and outputs of the
    squared error of a sigmoid. L2 adds ``l2 / 2`` times the sum of the squared weights (not
    biases) to the loss.
    """

    sizes: tuple[int, ...]  #: units of each layer: inputs, hidden layers, outputs
    activation: Activation  #: of the hidden layers
    loss: Loss
    optimizer: Optimizer
    bias: bool = True
    l2: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a network that cannot be built."""
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            msg = f"a network needs at least two layers of at least one unit, not {self.sizes}"
            raise ValueError(msg)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape (fan_in, fan_out) of each layer's weight."""
        return tuple(zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases."""
        return sum(i * o + (o if self.bias else 0) for i, o in self.shapes)

    def view(self, flat: NDArray[np.float32]) -> list[Layer]:
        """View a flat array of all parameters, in the order of ``flatten``, as layers."""
        layers, start = [], 0
        for fan_in, fan_out in self.shapes:
            weight, end = flat[start : start + fan_in * fan_out], start + fan_in * fan_out
            start = end + (fan_out if self.bias else 0)
            bias = flat[end:start] if self.bias else None
            layers.append(Layer(weight.reshape(fan_in, fan_out), bias))
        return layers

    def choose_activation(self, *, relu: T, sigmoid: T) -> T:
        """Return what is given for the activation of the hidden layers."""
        match self.activation:
            case "relu":
                return relu
            case "sigmoid":
                return sigmoid
            case _:
                assert_never(self.activation)

    def choose_loss(self, *, cross_entropy: T, squared_error: T) -> T:
        """Return what is given for the loss."""
        match self.loss:
            case "cross_entropy":
                return cross_entropy
            case "squared_error":
                return squared_error
            case _:
                assert_never(self.loss)

    @property
    def operations(self) -> int:
        """Floating-point operations of training on one example, matrix products alone.

        Each of a layer's products costs 2·fan_in·fan_out: for its output, for its weights'
        gradient, and (but for the first layer) for the derivative by its input.
        """
        first, *others = [i * o for i, o in self.shapes]
        return 4 * first + 6 * sum(others)

    def traffic(self, batch_size: int) -> int:
        """Bytes that one step reads and writes in float32 if nothing stays in a cache.

        The inputs are read twice (for the output, for the weights' gradient), each further
        value and its derivative are written once and read once. Each parameter is read in the
        feedforward, and in the backprop but for the first layer's; its gradient is written; what
        the update reads and writes is in RULES.
        """
        values = 2 * self.sizes[0] + 4 * sum(self.sizes[1:])
        first, *_ = [i * o for i, o in self.shapes]
        update = RULES[self.optimizer.kind].touched
        return 4 * (batch_size * values + (3 + update) * self.parameter_count - first)


def map_arrays(function: Callable[..., Any], *parts: Arrays) -> Arrays:
    """Apply a function to the arrays that stand at the same place of layers, or of splits."""
    places = zip(*parts, strict=True)
    made = (None if place[0] is None else function(*place) for place in places)
    return type(parts[0])._make(made)


def minibatches(order: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Cut ``order``, shape (M,), into batches; the last one may be smaller."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
