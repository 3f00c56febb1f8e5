"""MLPClassifier behind the contract.

Training is the public ``partial_fit``, one call for each ``train_epoch``, which makes a step for
every batch of the rows it gets. These internals are relied on, the same from scikit-learn 1.7 to 1.9:
``_forward_pass``, ``_backprop`` and ``_optimizer.update_params`` are the three phases of a step;
``partial_fit`` calls the latter two once for each batch, and goes on with the ``_optimizer`` there is.

The library's own loss is that of probabilities, none of which counts as less than float32's ε: it is
off by a hundredth where a network is sure and wrong. So the logits of each batch are kept, and all
losses of an epoch are computed from them at once.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.neural_network._base import ACTIVATIONS
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from nnbench import Layer, Network, OptimizerState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec, Optimizer

    Arrays = list[NDArray[np.float32]]


class Data(NamedTuple):
    """A split, or a batch of it."""

    inputs: NDArray[np.float32]  #: shape (N, D)
    labels: NDArray[np.int64]  #: shape (N,), for partial_fit
    targets: NDArray[np.bool]  #: shape (N, K), what it makes of them


class SklearnNetwork(Network[Data, Data]):
    """An estimator whose parameters come from outside."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._model = make_model(spec)

    def load(self, layers: Sequence[Layer]) -> None:
        self._model.coefs_ = [layer.weight.copy() for layer in layers]
        self._model.intercepts_ = [layer.bias.copy() for layer in layers if layer.bias is not None]
        rule, arrays = self.spec.optimizer, self._model.arrays
        make: Callable[[], Any] = rule.choose(
            sgd=lambda: SGDOptimizer(arrays, rule.learning_rate, momentum=0, nesterov=False),
            adam=lambda: Adam(rule, arrays),
            adam_fresh=lambda: Adam(rule, arrays, fresh=True),
        )
        self._model._optimizer = make()

    def dump(self) -> list[Layer]:
        return export(self._model.coefs_, self._model.intercepts_)

    def gradients(self) -> list[Layer]:
        return export(*self._gradients)

    def optimizer_state(self) -> OptimizerState | None:
        optimizer, depth = self._model._optimizer, len(self.spec.shapes)
        if not self.spec.optimizer.keeps_moments:
            return None
        moments = (export(m[:depth], m[depth:]) for m in (optimizer.ms, optimizer.vs))
        return OptimizerState(optimizer.t, *moments)

    def place(self, examples: Examples) -> Data:
        inputs, labels, _ = examples
        if labels is None:
            raise ValueError("MLPClassifier needs labels")
        targets = self._model._label_binarizer.transform(labels).astype(bool)
        return Data(inputs, labels, targets)

    def batch(self, data: Data, index: NDArray[np.int64]) -> Data:
        return Data(data.inputs[index], data.labels[index], data.targets[index])

    def feedforward(self, batch: Data) -> NDArray[np.float32]:
        model = self._model
        model._forward_pass([batch.inputs] + [None] * len(model.coefs_))
        return model.logits

    def backprop(self, batch: Data) -> float:
        """Call the library's own, which makes the feedforward once more."""
        model, depth = self._model, len(self._model.coefs_)
        values: list[Any] = [batch.inputs] + [None] * depth
        empty: list[list[Any]] = [[None] * depth for _ in range(3)]
        model.steps.clear()
        _, *self._gradients = model._backprop(batch.inputs, batch.targets, None, values, *empty)
        return float(mean_losses(model.steps, batch.labels)[0])

    def update(self) -> None:
        coefs, intercepts = self._gradients
        self._model._optimizer.update_params(self._model.arrays, coefs + intercepts)

    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        model = self._model
        model.batch_size = min(batch_size, len(order))
        model.steps.clear()
        labels = data.labels[order]
        try:
            model.partial_fit(data.inputs[order], labels)
        except ValueError:  # it refuses to end with parameters that are not finite
            if all(np.isfinite(array).all() for array in model.arrays):
                raise
        return mean_losses(model.steps, labels)


class Step(NamedTuple):
    """What the loss of a batch is computed from, after the epoch."""

    logits: NDArray[np.float32]  #: shape (N, K)
    penalty: float  #: the L2 term


class Classifier(MLPClassifier):  # type: ignore[misc]  # a base without types
    """MLPClassifier with the contract's L2 term, which keeps the logits of each batch."""

    spec: NetworkSpec
    logits: NDArray[np.float32]  #: of the last feedforward, shape (N, K)
    steps: list[Step]

    @property
    def arrays(self) -> Arrays:
        """All parameters, in the order of the optimizer."""
        return [*self.coefs_, *self.intercepts_]

    def _backprop(self, inputs: NDArray[np.float32], *others: Any) -> Any:
        self.alpha = self.spec.l2 * len(inputs)  # the library divides it by the batch size
        result = super()._backprop(inputs, *others)
        self.steps.append(Step(self.logits, self._penalty() if self.spec.l2 else 0.0))
        return result

    def _forward_pass(self, values: list[Any]) -> list[Any]:
        self.out_activation_ = "identity"
        super()._forward_pass(values)
        self.logits = values[-1].copy()
        self.out_activation_ = "softmax"
        ACTIVATIONS["softmax"](values[-1])  # in place
        return values

    def _penalty(self) -> float:
        squares = sum(float(np.vdot(weight, weight)) for weight in self.coefs_)
        return self.spec.l2 / 2 * squares


class Adam(AdamOptimizer):  # type: ignore[misc]  # a base without types
    """The library's Adam, which adds epsilon to √v, and the contract to √v̂ = √v / √(1 − β₂ᵗ)."""

    def __init__(self, spec: Optimizer, arrays: Arrays, *, fresh: bool = False) -> None:
        super().__init__(arrays, spec.learning_rate, spec.beta1, spec.beta2, spec.epsilon)
        self.spec, self.fresh = spec, fresh

    def update_params(self, params: Arrays, grads: Arrays) -> None:
        """Make one step, with the epsilon that the contract means."""
        if self.fresh:
            Adam.__init__(self, self.spec, params, fresh=True)
        self.epsilon = self.spec.epsilon * sqrt(1 - self.spec.beta2 ** (self.t + 1))
        super().update_params(params, grads)


def make_model(spec: NetworkSpec) -> Classifier:
    """Return an estimator that has seen one example of zeros, so that all its parts exist."""
    model = Classifier(
        hidden_layer_sizes=spec.sizes[1:-1],
        activation=spec.choose_activation(relu="relu", sigmoid="logistic"),
        solver=spec.optimizer.choose(sgd="sgd", adam="adam", adam_fresh="adam"),
        learning_rate_init=spec.optimizer.learning_rate,
        batch_size=1,
        shuffle=False,  # the order comes from outside
        n_iter_no_change=np.inf,  # so does the end
        random_state=0,
    )
    model.spec, model.steps = spec, []
    zeros = np.zeros((1, spec.sizes[0]), np.float32)
    model.partial_fit(zeros, [0], classes=np.arange(spec.sizes[-1]))
    return model


def mean_losses(steps: Sequence[Step], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the loss of each step's batch; the labels are those of all steps in a row."""
    logits = np.concatenate([step.logits for step in steps])
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), labels]
    counts = [len(step.logits) for step in steps]
    sums = np.add.reduceat(losses, np.cumsum([0, *counts[:-1]]), dtype=np.float64)
    means = sums / counts + [step.penalty for step in steps]
    return means.astype(np.float32)


def export(weights: Arrays, biases: Arrays) -> list[Layer]:
    """Copy parameters or gradients out."""
    return [Layer(w.copy(), b.copy()) for w, b in zip(weights, biases, strict=True)]
