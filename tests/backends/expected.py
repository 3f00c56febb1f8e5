"""What the reference makes of some epochs of a small problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench import minibatches, reference
from tests.problems import make_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Examples, Layer, NetworkSpec


def train_reference(
    spec: NetworkSpec, examples: Examples, orders: Sequence[NDArray[np.int64]], batch_size: int
) -> tuple[list[float], list[Layer]]:
    """Return the losses of all steps, and the parameters after the last."""
    batches = [examples.rows(i) for order in orders for i in minibatches(order, batch_size)]
    return reference.train(spec, make_layers(spec), batches)
