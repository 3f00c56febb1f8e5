"""The ``sklearn`` backend: scikit-learn's MLPClassifier, the peer that everyone knows."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from nnbench import Backend, BackendUnavailableError, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_sklearn.network import SklearnNetwork


def create(spec: NetworkSpec) -> SklearnNetwork:
    """Import scikit-learn only when a cell starts, and only for what MLPClassifier can be."""
    if reason := why_not(spec):
        raise BackendUnavailableError(reason)
    from nnbench_sklearn.network import SklearnNetwork

    return SklearnNetwork(spec)


def why_not(spec: NetworkSpec) -> str | None:
    """Return why MLPClassifier can't be this network, or None."""
    if spec.loss != "cross_entropy":
        return "MLPClassifier has no squared error, it trains with cross-entropy"
    if not spec.bias:
        return "MLPClassifier always has biases"
    if spec.sizes[-1] < 3:
        return "MLPClassifier has one logistic output for two classes, and no softmax"
    return None


def why_no_sklearn() -> str | None:
    """Return why scikit-learn can't run, or None."""
    if find_spec("sklearn") is None:
        return "scikit-learn is not installed: pip install 'nnbench-harness[sklearn]'"
    return None


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``sklearn``."""
    return [
        Backend(
            name="sklearn",
            summary="scikit-learn's MLPClassifier and its partial_fit",
            create=create,
            unavailable=why_no_sklearn,
            libraries=("scikit-learn", "numpy", "scipy"),
        )
    ]
