"""A whole epoch, as each thread trains its chunks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench_numba.barrier import meet
from nnbench_numba.chunks import backprop, feedforward, update
from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    from nnbench_numba.arrays import Array, Integers, Model, Split, State, Workspace
    from nnbench_numba.optimizers import Rule


@compiled
def train(
    model: Model,
    rule: Rule,
    state: State,
    split: Split,
    order: Integers,
    batch_size: int,
    work: Workspace,
    steps_before: int,
    losses: Array,
    arrivals: Integers,
    chunk: int,
) -> None:
    """Train on the examples in the given order, all chunks at once.

    ``losses`` gets the chunk's part of each step's loss, shape (steps,).
    """
    chunks = len(state.partial)
    for s in range(len(losses)):
        index = order[s * batch_size : (s + 1) * batch_size]
        feedforward(model, state, split, index, work, chunk)
        losses[s] = backprop(model, state, split, index, work, chunk)
        meet(arrivals, chunks)  # all gradients are there
        update(rule, state, steps_before + s + 1, chunk)
        meet(arrivals, chunks)  # all parameters are
