"""What both kernels share: parameters in lists of floats, the loss, L2, the optimizer."""

from __future__ import annotations

from itertools import islice
from math import sqrt
from operator import mul
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from nnbench import Layer, Network, OptimizerState
from nnbench_python.functions import cross_entropy, squared_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench import Examples, NetworkSpec, Optimizer

DataT = TypeVar("DataT")
Vector = list[float]
Wanted = int | Vector  # a label or a target, as the loss has it


class Dense(NamedTuple):
    """A dense layer, or the gradients of one."""

    weights: list[Vector]  #: a list for each unit, or for each input
    biases: Vector  #: for each unit; zeros in a network without biases


class PythonNetwork(Network[DataT, DataT]):
    """Parameters, gradients and optimizer; a kernel adds the products."""

    by_unit: ClassVar[bool]  #: whether a list of weights is a unit's, or an input's

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._loss = spec.choose_loss(cross_entropy=cross_entropy, squared_error=squared_error)
        self._gradients: list[Dense] = []

    def load(self, layers: Sequence[Layer]) -> None:
        self._layers = [
            Dense(
                (layer.weight.T if self.by_unit else layer.weight).tolist(),
                [0.0] * layer.weight.shape[1] if layer.bias is None else layer.bias.tolist(),
            )
            for layer in layers
        ]
        rule = self.spec.optimizer
        self._optimizer = rule.choose(sgd=GradientDescent, adam=Adam, adam_fresh=FreshAdam)(rule)

    def dump(self) -> list[Layer]:
        return [self._export(layer) for layer in self._layers]

    def gradients(self) -> list[Layer]:
        return [self._export(layer) for layer in self._gradients]

    def optimizer_state(self) -> OptimizerState | None:
        optimizer = self._optimizer
        if not isinstance(optimizer, Adam):
            return None
        if optimizer.step == 0:
            optimizer.start(self._vectors(self._layers))
        moments = map(self._layers_of, (optimizer.first, optimizer.second))
        return OptimizerState(optimizer.step, *moments).unscaled(self.spec.optimizer)

    def _layers_of(self, vectors: list[Vector]) -> list[Layer]:
        """Undo ``_vectors``, and export."""
        rest = iter(vectors)
        weights = [list(islice(rest, len(layer.weights))) for layer in self._layers]
        biases = list(rest) or [layer.biases for layer in self._layers]
        return [self._export(Dense(*both)) for both in zip(weights, biases, strict=True)]

    def _export(self, layer: Dense) -> Layer:
        import numpy as np

        weight = np.array(layer.weights, np.float32)
        bias = np.array(layer.biases, np.float32) if self.spec.bias else None
        return Layer(weight.T.copy() if self.by_unit else weight, bias)

    def _penalize(self) -> float:
        """Add the L2 term to the gradients, and return its part of the loss."""
        l2, squares = self.spec.l2, 0.0
        for layer, gradient in zip(self._layers, self._gradients, strict=True):
            for w, g in zip(layer.weights, gradient.weights, strict=True):
                g[:] = [x + l2 * y for x, y in zip(g, w, strict=True)]
                squares += sum(map(mul, w, w))
        return l2 / 2 * squares

    def update(self) -> None:
        self._optimizer(self._vectors(self._layers), self._vectors(self._gradients))

    def _vectors(self, layers: list[Dense]) -> list[Vector]:
        biases = [layer.biases for layer in layers] if self.spec.bias else []
        return [*(w for layer in layers for w in layer.weights), *biases]


def wanted_of(examples: Examples) -> list[Wanted]:
    """Return what each example should give."""
    array = examples.labels if examples.targets is None else examples.targets
    assert array is not None  # noqa: S101 - Examples have one of them
    wanted: list[Wanted] = array.tolist()
    return wanted


class GradientDescent:
    """θ ← θ − η·g, for a list of vectors: a unit's weights each, or a layer's biases."""

    def __init__(self, spec: Optimizer) -> None:
        self.spec = spec
        self.step = 0
        self.first: list[Vector] = []  # Adam's moments
        self.second: list[Vector] = []

    def __call__(self, parameters: list[Vector], gradients: list[Vector]) -> None:
        """Make one step."""
        rate = self.spec.learning_rate
        for p, g in zip(parameters, gradients, strict=True):
            p[:] = [w - rate * x for w, x in zip(p, g, strict=True)]


class FreshAdam(GradientDescent):
    """Adam's first step, again and again: θ ← θ − η·g / (|g| + ε)."""

    def __call__(self, parameters: list[Vector], gradients: list[Vector]) -> None:
        """Make one step."""
        rate, epsilon = self.spec.learning_rate, self.spec.epsilon
        for p, g in zip(parameters, gradients, strict=True):
            p[:] = [w - rate * x / (abs(x) + epsilon) for w, x in zip(p, g, strict=True)]


class Adam(GradientDescent):
    """Kingma and Ba (2015), algorithm 1, with scaled moments: see ``Optimizer.scaled``."""

    def start(self, parameters: list[Vector]) -> None:
        """Set the moments to zero."""
        self.first, self.second = ([[0.0] * len(p) for p in parameters] for _ in range(2))

    def __call__(self, parameters: list[Vector], gradients: list[Vector]) -> None:
        """Make one step."""
        if self.step == 0:
            self.start(parameters)
        self.step += 1
        rate, epsilon = self.spec.scaled(self.step)
        beta1, beta2 = self.spec.beta1, self.spec.beta2
        for p, g, m, v in zip(parameters, gradients, self.first, self.second, strict=True):
            if not any(g) and not any(v):
                continue  # all gradients were zero so far, and nothing moves
            # One loop, not a comprehension for each list: a value is used while it is in the cache.
            for i, w, x, a, b in zip(range(len(p)), p, g, m, v, strict=True):
                m[i] = a = beta1 * a + x
                v[i] = b = beta2 * b + x * x
                p[i] = w - rate * a / (sqrt(b) + epsilon)
