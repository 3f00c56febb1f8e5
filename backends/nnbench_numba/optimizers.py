"""The optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench_numba.arrays import ADAM, FRESH_ADAM, SGD
from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    from nnbench_numba.arrays import Array


class Rule(NamedTuple):
    """An optimizer."""

    kind: int  #: of OPTIMIZERS
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float


@compiled
def optimize(rule: Rule, step: int, p: Array, g: Array, m: Array, v: Array) -> None:
    """Update parameters p by their gradients g; m and v are Adam's moments, step counts from 1."""
    rate, epsilon = np.float32(rule.learning_rate), np.float32(rule.epsilon)
    if rule.kind == ADAM:
        adam(rule, step, p, g, m, v)
    elif rule.kind == SGD:
        for i in range(len(p)):
            p[i] -= rate * g[i]
    elif rule.kind == FRESH_ADAM:  # Adam's first step: m̂ = g and v̂ = g²
        for i in range(len(p)):
            p[i] -= rate * g[i] / (abs(g[i]) + epsilon)
    else:
        raise ValueError("no such optimizer")


@compiled
def adam(rule: Rule, step: int, p: Array, g: Array, m: Array, v: Array) -> None:
    """Make a step of Adam with scaled moments.

    They are m / (1 − β₁) and v / (1 − β₂), so that decaying them and adding g and g² needs no
    further product. With s = √((1 − β₂) / (1 − β₂ᵗ)), √v̂ is s·√V, and η·m̂ / (√v̂ + ε) becomes
    (η·(1 − β₁) / (1 − β₁ᵗ) / s)·M / (√V + ε / s).
    """
    scale = np.sqrt((1 - rule.beta2) / (1 - rule.beta2**step))
    rate = np.float32(rule.learning_rate * (1 - rule.beta1) / (1 - rule.beta1**step) / scale)
    epsilon = np.float32(rule.epsilon / scale)
    beta1, beta2 = np.float32(rule.beta1), np.float32(rule.beta2)
    for i in range(len(p)):
        m[i] = beta1 * m[i] + g[i]
        v[i] = beta2 * v[i] + g[i] * g[i]
        p[i] -= rate * m[i] / (np.sqrt(v[i]) + epsilon)
