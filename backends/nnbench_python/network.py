"""What both kernels share: parameters in lists of floats, the loss, L2, the optimizer."""

from __future__ import annotations

from operator import mul
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, assert_never

from nnbench import Layer, Network
from nnbench_python.losses import cross_entropy, squared_error
from nnbench_python.optimizers import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench import Examples, NetworkSpec

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
        self._gradients: list[Dense] = []

    def load(self, layers: Sequence[Layer]) -> None:
        self._layers = [
            Dense(
                (layer.weight.T if self.by_unit else layer.weight).tolist(),
                [0.0] * layer.weight.shape[1] if layer.bias is None else layer.bias.tolist(),
            )
            for layer in layers
        ]
        self._optimizer = make_optimizer(self.spec.optimizer)

    def dump(self) -> list[Layer]:
        return [self._export(layer) for layer in self._layers]

    def gradients(self) -> list[Layer]:
        return [self._export(layer) for layer in self._gradients]

    def _export(self, layer: Dense) -> Layer:
        import numpy as np

        weight = np.array(layer.weights, np.float32)
        bias = np.array(layer.biases, np.float32) if self.spec.bias else None
        return Layer(weight.T.copy() if self.by_unit else weight, bias)

    def _loss(self, logits: Vector, wanted: Any) -> tuple[float, Vector]:
        """Return one example's loss, and its derivative by the logits."""
        match self.spec.loss:
            case "cross_entropy":
                return cross_entropy(logits, wanted)
            case "squared_error":
                return squared_error(logits, wanted)
            case _:
                assert_never(self.spec.loss)

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
