"""The optimizers: pure functions over all parameters."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from nnbench import Optimizer


class Moments(NamedTuple):
    """Adam's running means, each like the parameters."""

    first: Any
    second: Any
    step: Any  #: how many updates they have seen, int32, shape ()


def make_update(spec: Optimizer) -> Callable[[Any, Moments, Any], tuple[Any, Moments]]:
    """Return a function of parameters, moments and gradients: one step of the optimizer."""
    rate, epsilon, tree_map = spec.learning_rate, spec.epsilon, jax.tree.map

    def descend(parameters: Any, moments: Moments, gradients: Any) -> tuple[Any, Moments]:
        return tree_map(lambda p, g: p - rate * g, parameters, gradients), moments

    def adam_fresh(parameters: Any, moments: Moments, gradients: Any) -> tuple[Any, Moments]:
        """Adam's first step: the corrected moments are g and g²."""
        step = tree_map(lambda p, g: p - rate * g / (jnp.abs(g) + epsilon), parameters, gradients)
        return step, moments

    def adam(parameters: Any, moments: Moments, gradients: Any) -> tuple[Any, Moments]:
        first = tree_map(lambda m, g: mix(spec.beta1, m, g), moments.first, gradients)
        second = tree_map(lambda v, g: mix(spec.beta2, v, g * g), moments.second, gradients)
        step = moments.step + 1
        correct1, correct2 = correction(spec.beta1, step), correction(spec.beta2, step)
        parameters = tree_map(
            lambda p, m, v: p - rate * (m / correct1) / (jnp.sqrt(v / correct2) + epsilon),
            parameters,
            first,
            second,
        )
        return parameters, Moments(first, second, step)

    match spec.kind:
        case "sgd":
            return descend
        case "adam":
            return adam
        case "adam-fresh":
            return adam_fresh
        case _:
            assert_never(spec.kind)


def mix(beta: float, mean: Array, value: Array) -> Array:
    """Return the running mean after one more value."""
    return beta * mean + (1 - beta) * value


def correction(beta: float, step: Array) -> Array:
    """Return 1 − βᵗ, without float32's cancellation at the first steps."""
    if beta == 0:
        return jnp.float32(1)
    return -jnp.expm1(step.astype(jnp.float32) * log(beta))
