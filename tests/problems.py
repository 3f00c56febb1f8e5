"""Kinds of networks for tests, and small problems that hypothesis draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from hypothesis import strategies as st

from nnbench import NetworkSpec, Optimizer
from nnbench.contract.spec import Activation, Loss, OptimizerKind, require_all
from nnbench.testing.problems import distance, make_examples, make_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["distance", "make_examples", "make_layers"]  # and what is defined here

SGD = Optimizer(kind="sgd", learning_rate=0.1)
OPTIMIZERS = [
    SGD,
    Optimizer(kind="adam", learning_rate=1e-2),
    Optimizer(kind="adam", learning_rate=1e-2, beta1=0.8, beta2=0.95, epsilon=1e-3),
    Optimizer(kind="adam-fresh", learning_rate=1e-3),
]
require_all({optimizer.kind for optimizer in OPTIMIZERS}, OptimizerKind, "OPTIMIZERS")
KINDS = [
    {"activation": activation, "loss": loss, "bias": bias, "l2": l2}
    for activation in get_args(Activation)
    for loss in get_args(Loss)
    for bias in (True, False)
    for l2 in (0.0, 0.03)
]
#: inputs, no to two hidden layers, outputs
SIZES = st.tuples(
    st.integers(1, 12),
    st.lists(st.integers(1, 9), max_size=2),
    st.integers(2, 6),
).map(lambda drawn: (drawn[0], *drawn[1], drawn[2]))
TWO_HIDDEN = st.tuples(*[st.integers(1, 9)] * 3, st.integers(2, 6))
COUNTS = st.integers(1, 17)
SEEDS = st.integers(0, 2**16)


def kind_name(kind: dict[str, Any]) -> str:
    """Name a kind of network in a test's id."""
    bias = "bias" if kind["bias"] else "no bias"
    return f"{kind['activation']}, {kind['loss']}, {bias}, l2={kind['l2']}"


def make_spec(
    sizes: Sequence[int], kind: dict[str, Any], optimizer: Optimizer = SGD
) -> NetworkSpec:
    """Make a network of a kind."""
    return NetworkSpec(sizes=tuple(sizes), optimizer=optimizer, **kind)
