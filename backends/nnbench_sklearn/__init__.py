"""The ``sklearn`` backend: scikit-learn's MLPClassifier, the peer that everyone knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench import Backend, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec


def supports(spec: NetworkSpec, batch_size: int) -> str | None:
    """Return why MLPClassifier can't be this network, or None."""
    del batch_size
    if spec.loss != "cross_entropy":
        loss = spec.loss.replace("_", " ")
        return f"MLPClassifier has no {loss}, it trains with cross-entropy"
    if not spec.bias:
        return "MLPClassifier always has biases"
    if spec.sizes[-1] < 3:
        return "MLPClassifier has one logistic output for two classes, and no softmax"
    return None


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``sklearn``."""
    return [
        Backend(
            name="sklearn",
            summary="scikit-learn's MLPClassifier and its partial_fit",
            create="nnbench_sklearn.network:SklearnNetwork",
            requires=("scikit-learn",),
            supports=supports,
            libraries=("scikit-learn", "numpy", "scipy"),
        )
    ]
