"""How far rounding alone brings a training from the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.records import Deviations, Limits

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.contract.backend import Precision
    from nnbench.contract.spec import Examples, Layer, NetworkSpec


def calibrate(
    spec: NetworkSpec,  # noqa: ARG001
    examples: Examples,  # noqa: ARG001
    batch_size: int,  # noqa: ARG001
    layers: list[Layer],  # noqa: ARG001
    *,
    precision: Precision = "float32",  # noqa: ARG001
    from_parameters: bool = False,
    folder: Path | None = None,  # noqa: ARG001
) -> Limits:
    """Return how long a part may be, and what is tolerated."""
    factor = 10 if from_parameters else 1
    tolerance = Deviations(
        loss=factor * 5e-6, displacement=factor * 1e-4, first=factor * 2e-5, second=factor * 2e-5
    )
    return Limits(steps=100, tolerance=tolerance)
