"""The partition in NumPy: blocks, owners and messages as the plan has them, in float64, without threads.

What is not there when it is read is NaN, and stays one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench import Examples, reference

if TYPE_CHECKING:
    from nnbench import Layer
    from nnbench_cuda.plan import Plan


@dataclass
class Block:
    """What one block has: its rows of the first matrix, and a replica of each later one."""

    plan: Plan
    rank: int
    parameters: Any  #: flat
    sums: Any = field(init=False)  #: of the first layer, from each block, for each image of its own

    def __post_init__(self) -> None:
        self.update = reference.Update(self.plan.spec.optimizer, [self.parameters])
        self.gradients = np.zeros_like(self.parameters)

    def matrix(self, flat: Any, layer: int) -> Any:
        start, stop = self.plan.matrices[layer : layer + 2]
        return flat[start:stop].reshape(self.plan.heights[layer], -1)

    def inputs(self, laid: Any) -> Any:
        rows = self.plan.rows
        return laid[:, self.rank * rows : (self.rank + 1) * rows]

    def finish(self, number: int, target: Any, batch: int) -> tuple[Any, float]:
        """Return the record of an image of its own, and its loss."""
        plan, spec = self.plan, self.plan.spec
        values, deltas = plan.values, plan.deltas
        record = np.zeros(plan.record[-1])
        z = self.sums[:, number].sum(axis=0)
        for layer, place in enumerate(values):
            fan_in = spec.sizes[layer + 1]
            record[place : place + fan_in] = reference.activate(spec, z[:fan_in])
            if spec.bias:
                record[place + fan_in] = 1
            weights = self.matrix(self.parameters, layer + 1)
            z = record[place : place + len(weights)] @ weights
        loss, delta = judge(plan, z[: spec.sizes[-1]], target)
        record[deltas[-1] : deltas[-1] + len(delta)] = delta / batch
        for layer in reversed(range(len(values))):
            weights = self.matrix(self.parameters, layer + 1)
            delta = record[deltas[layer + 1] : deltas[layer + 1] + weights.shape[1]]
            fan_in = spec.sizes[layer + 1]
            value = record[values[layer] : values[layer] + fan_in]
            slope = reference.activation_slope(spec, [value], 0)
            record[deltas[layer] : deltas[layer] + fan_in] = (weights @ delta)[:fan_in] * slope
        return record, loss

    def differentiate(self, laid: Any, records: Any) -> None:
        """Add a chunk to the gradients."""
        values, deltas = self.plan.values, self.plan.deltas
        for layer, (height, width) in enumerate(
            zip(self.plan.heights, self.plan.widths, strict=True)
        ):
            place = deltas[layer]
            left = self.inputs(laid) if layer == 0 else records[:, values[layer - 1] :][:, :height]
            self.matrix(self.gradients, layer)[...] += left.T @ records[:, place : place + width]

    def step(self) -> float:
        """Update the parameters, and return the sum of those squared weights that it counts."""
        squares = 0.0
        for layer, fan_in in enumerate(self.plan.spec.sizes[:-1]):
            count = max(0, fan_in - (self.rank * self.plan.rows if layer == 0 else 0))
            weights = self.matrix(self.parameters, layer)[:count]
            self.matrix(self.gradients, layer)[:count] += self.plan.spec.l2 * weights
            squares += float((weights**2).sum()) if layer == 0 or self.rank == 0 else 0.0
        self.update([self.gradients])
        self.gradients[...] = 0
        return squares


def judge(plan: Plan, logits: Any, target: Any) -> tuple[float, Any]:
    """Return the loss of an image, and its derivatives, by the reference."""
    labels = np.array([target.argmax()]) if plan.spec.loss == "cross_entropy" else None
    example = Examples(np.zeros((1, 0)), labels, target[None])
    loss, gradient = reference.output_loss(plan.spec, logits[None], example)
    return loss, gradient[0]


def train(
    plan: Plan, layers: list[Layer], examples: Examples, order: Any, batch_size: int
) -> tuple[list[float], list[Layer]]:
    """Return the losses of all steps, and the parameters after the last."""
    laid = plan.lay_out(examples).astype(np.float64)
    flat = plan.pack(layers).astype(np.float64)
    own = plan.matrices[1]
    later = flat[plan.blocks * own :]
    blocks = [
        Block(plan, rank, np.concatenate([flat[rank * own : (rank + 1) * own], later]))
        for rank in range(plan.blocks)
    ]
    losses = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        total = 0.0
        for begin in range(0, len(batch), plan.chunk):
            total += go_through(plan, blocks, laid[batch[begin : begin + plan.chunk]], len(batch))
        squares = sum(block.step() for block in blocks)
        losses.append(total / len(batch) + plan.spec.l2 / 2 * squares)
    for block in blocks:
        assert np.array_equal(block.parameters[own:], blocks[0].parameters[own:])
    trained = [block.parameters[:own] for block in blocks]
    return losses, plan.unpack(np.concatenate([*trained, blocks[0].parameters[own:]]))


def go_through(plan: Plan, blocks: list[Block], laid: Any, batch: int) -> float:
    """Take a chunk through all blocks, and return the sum of its losses."""
    for block in blocks:
        block.sums = np.full((plan.blocks, plan.own, plan.widths[0]), np.nan)
    for block in blocks:
        for image, sums in enumerate(block.inputs(laid) @ block.matrix(block.parameters, 0)):
            owner, number = plan.owner(image)
            blocks[owner].sums[block.rank, number] = sums
    records, losses = np.full((len(laid), plan.record[-1]), np.nan), 0.0
    for image, example in enumerate(laid):
        owner, number = plan.owner(image)
        target = example[plan.blocks * plan.rows :][: plan.spec.sizes[-1]]
        records[image], loss = blocks[owner].finish(number, target, batch)
        losses += loss
    for block in blocks:
        block.differentiate(laid, records)
    return losses
