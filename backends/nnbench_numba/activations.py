"""Activations and losses, in place, and their derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnbench_numba.arrays import RELU, SIGMOID
from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    from nnbench_numba.arrays import Array, Model


@compiled
def sigmoid(z: np.float32) -> np.float32:
    """Return 1 / (1 + e^-z) = (1 + tanh(z / 2)) / 2, which never overflows."""
    half = np.float32(0.5)
    return half * np.tanh(half * z) + half


@compiled
def activate(model: Model, out: Array, bias: Array, hidden: bool) -> None:
    """Add the bias, if there is one, and apply the activation if the layer is a hidden one."""
    for i in range(len(out)):
        z = out[i]
        for k in range(len(bias)):
            z[k] += bias[k]
        if not hidden:
            continue
        if model.activation == RELU:
            for k in range(len(z)):
                z[k] = max(z[k], np.float32(0))
        elif model.activation == SIGMOID:
            for k in range(len(z)):
                z[k] = sigmoid(z[k])
        else:
            raise ValueError("no such activation")


@compiled
def slope(model: Model, value: Array, delta: Array) -> None:
    """Multiply delta by the derivative of the hidden activation that gave ``value``."""
    for i in range(len(value)):
        a, d = value[i], delta[i]
        if model.activation == RELU:
            for k in range(len(a)):
                d[k] = d[k] if a[k] > 0 else np.float32(0)
        elif model.activation == SIGMOID:
            for k in range(len(a)):
                d[k] *= a[k] * (np.float32(1) - a[k])
        else:
            raise ValueError("no such activation")


@compiled
def cross_entropy(logits: Array, target: Array, delta: Array, scale: np.float32) -> float:
    """Return one example's cross-entropy of a softmax; its derivative times scale to delta."""
    top = logits.max()
    total, loss = np.float32(0), np.float32(0)
    for k in range(len(logits)):
        delta[k] = np.exp(logits[k] - top)
        total += delta[k]
        loss -= target[k] * (logits[k] - top)
    for k in range(len(logits)):
        delta[k] = (delta[k] / total - target[k]) * scale
    return loss + np.log(total)


@compiled
def squared_error(logits: Array, target: Array, delta: Array, scale: np.float32) -> float:
    """Return one example's mean squared error of a sigmoid; its derivative goes to delta."""
    loss, two = np.float32(0), np.float32(2)
    for k in range(len(logits)):
        y = sigmoid(logits[k])
        error = y - target[k]
        loss += error * error
        delta[k] = two * error * y * (1 - y) * (scale / np.float32(len(logits)))
    return loss / len(logits)
