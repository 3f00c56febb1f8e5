"""The losses of one example, each with its derivative by the logits."""

from __future__ import annotations

import math

Vector = list[float]


def sigmoid(z: float) -> float:
    """Return 1 / (1 + e^-z), without overflow."""
    return 0.5 + 0.5 * math.tanh(0.5 * z)


def cross_entropy(logits: Vector, label: int) -> tuple[float, Vector]:
    """Return the cross-entropy of a softmax, in nats."""
    largest = max(logits)
    powers = [math.exp(z - largest) for z in logits]
    total = sum(powers)
    slopes = [p / total for p in powers]
    slopes[label] -= 1
    return math.log(total) + largest - logits[label], slopes


def squared_error(logits: Vector, target: Vector) -> tuple[float, Vector]:
    """Return the mean squared error of a sigmoid over the outputs."""
    outputs = [sigmoid(z) for z in logits]
    errors = [y - t for y, t in zip(outputs, target, strict=True)]
    share = 1 / len(errors)
    slopes = [2 * share * e * y * (1 - y) for e, y in zip(errors, outputs, strict=True)]
    return share * sum(e * e for e in errors), slopes
