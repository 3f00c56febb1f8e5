"""The float64 implementation that every backend is judged by. To be read, not to be fast.

N is the batch size; a layer with fan-in D and fan-out K has a weight W of shape (D, K) and a
bias b of shape (K,). Rows are examples, so a layer computes ``Z = A @ W + b``.

Sources: Goodfellow, Bengio and Courville, *Deep Learning* (2016), section 6.5, for backprop;
Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np

from nnbench.contract.spec import Arrays, Layer, flatten, map_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import Examples, NetworkSpec, Optimizer

    Array = NDArray[np.floating]
    Moments = tuple[Array, Array]  # running means of a parameter's gradient, and of its square


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + e^-z), in the form that never overflows."""
    return (1 + np.tanh(z / 2)) / 2


def activate(spec: NetworkSpec, z: Array) -> Array:
    """Apply the activation of the hidden layers."""
    match spec.activation:
        case "relu":
            return np.maximum(z, 0)
        case "sigmoid":
            return sigmoid(z)
        case _:
            assert_never(spec.activation)


def activation_slope(spec: NetworkSpec, values: Sequence[Array], depth: int) -> Array:
    """Return the derivative of the activation below layer ``depth``, given its value."""
    a = values[depth]
    match spec.activation:
        case "relu":
            return (a > 0).astype(a.dtype)
        case "sigmoid":
            return a * (1 - a)
        case _:
            assert_never(spec.activation)


def feedforward(spec: NetworkSpec, layers: Sequence[Layer], inputs: Array) -> list[Array]:
    """Return the inputs, the output of each hidden layer, and last the logits."""
    values = [inputs]
    for position, (weight, bias) in enumerate(layers):
        z = values[-1] @ weight + (0 if bias is None else bias)
        is_last = position == len(layers) - 1
        values.append(z if is_last else activate(spec, z))
    return values


def output_loss(spec: NetworkSpec, logits: Array, examples: Examples) -> tuple[float, Array]:
    """Return the mean loss and its gradient with respect to the logits, shape (N, K)."""
    match spec.loss:
        case "cross_entropy":
            shifted = logits - logits.max(axis=1, keepdims=True)
            log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            rows = np.arange(len(logits)), examples.labels
            gradient = np.exp(log_softmax)
            gradient[rows] -= 1
            return float(-log_softmax[rows].mean()), gradient / len(logits)
        case "squared_error":
            assert examples.targets is not None  # noqa: S101 - the loss says so
            y = sigmoid(logits)
            error = y - examples.targets
            return float((error**2).mean()), 2 * error / error.size * y * (1 - y)
        case _:
            assert_never(spec.loss)


def penalty(spec: NetworkSpec, layers: Sequence[Layer]) -> float:
    """Return the L2 term of the loss."""
    return spec.l2 / 2 * sum(float((layer.weight**2).sum()) for layer in layers)


def backprop(
    spec: NetworkSpec,
    layers: Sequence[Layer],
    examples: Examples,
    output: Callable[[NetworkSpec, Array, Examples], tuple[float, Array]] = output_loss,
    slope: Callable[[NetworkSpec, list[Array], int], Array] = activation_slope,
) -> tuple[float, list[Layer]]:
    """Return the loss (L2 term included) and its gradients.

    ``output`` and ``slope`` are replaced where a mistake is made on purpose.
    """
    values = feedforward(spec, layers, examples.inputs)
    loss, delta = output(spec, values[-1], examples)
    gradients = []
    for depth in reversed(range(len(layers))):
        layer = layers[depth]
        weight = values[depth].T @ delta + spec.l2 * layer.weight
        bias = None if layer.bias is None else delta.sum(axis=0)
        gradients.append(Layer(weight, bias))
        delta = (delta @ layer.weight.T) * slope(spec, values, depth)
    return loss + penalty(spec, layers), gradients[::-1]


class Update:
    """The optimizer: it changes a list of parameter arrays in place."""

    def __init__(self, optimizer: Optimizer, parameters: Sequence[Array]) -> None:
        self.optimizer = optimizer
        self.parameters = parameters
        self.restart()

    def restart(self) -> None:
        """Forget all earlier steps."""
        self.step = 0
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.parameters]

    def __call__(self, gradients: Sequence[Array]) -> None:
        """Make one step."""
        if not self.optimizer.keeps_moments:
            self.restart()
        self.step += 1
        for parameter, gradient, moments in zip(
            self.parameters, gradients, self.moments, strict=True
        ):
            parameter -= self.optimizer.learning_rate * self.direction(gradient, moments)

    def direction(self, gradient: Array, moments: Moments) -> Array:
        """Return what the learning rate multiplies: the gradient, or Adam's m̂ / (√v̂ + ε)."""
        o = self.optimizer
        match o.kind:
            case "sgd":
                return gradient
            case "adam" | "adam-fresh":
                m, v = moments
                m[...] = o.beta1 * m + (1 - o.beta1) * gradient
                v[...] = o.beta2 * v + (1 - o.beta2) * gradient**2
                m_hat: Array = m / (1 - o.beta1**self.step)
                v_hat: Array = v / (1 - o.beta2**self.step)
                return m_hat / (np.sqrt(v_hat) + o.epsilon)
            case _:
                assert_never(o.kind)


def train(
    spec: NetworkSpec,
    layers: Sequence[Layer],
    batches: Iterable[Examples],
    dtype: type[np.floating] = np.float64,
) -> tuple[list[float], list[Layer]]:
    """Train on some batches.

    Parameters
    ----------
    spec
        The network and its optimizer.
    layers
        The initial parameters; they stay as they are.
    batches
        One for each step.
    dtype
        The arithmetic: float64, or float32 to see what rounding alone does.

    Returns
    -------
    tuple[list[float], list[Layer]]
        The loss of each step before its update, and the parameters after the last step.
    """
    layers = [cast(layer, dtype) for layer in layers]
    update = Update(spec.optimizer, flatten(layers))
    losses = []
    for batch in batches:
        loss, gradients = backprop(spec, layers, cast(batch, dtype))
        update(flatten(gradients))
        losses.append(loss)
    return losses, layers


def equal(layers: Sequence[Layer], others: Sequence[Layer]) -> bool:
    """Tell whether two networks have the same parameters."""
    pairs = zip(flatten(layers), flatten(others), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def cast(arrays: Arrays, dtype: type[np.floating]) -> Arrays:
    """Copy a layer, or a batch, to another precision; labels are integers and stay."""
    return map_arrays(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, arrays)
