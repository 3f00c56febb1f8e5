"""A small right network, and what a cheat says of itself.

A cheat is a class with a docstring, whose first line is its summary, and what is to come of it. They
are collected in ``CHEATS`` under the class's name, in words.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from nnbench_example.network import ExampleNetwork, cross_entropy, squared_error

from nnbench import Layer, flatten

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = 20  #: updates, after which some start to cheat: a look at the first steps sees nothing

#: named: the guard names it; hidden: only where all parts are proved, with luck elsewhere;
#: harmless: it gains nothing, and what is reported is true; right: unusual, and no cheat
Fate = Literal["named", "hidden", "harmless", "right"]


@dataclass(frozen=True)
class Cheat:
    """A backend that cheats, or only looks like it."""

    name: str
    summary: str
    create: Callable[..., Any]
    fate: Fate
    guard: str  #: a regular expression: how the cell's message names it; empty if it is ok
    threads: int = 1
    precision: Any = "float32"


CHEATS: dict[str, Cheat] = {}


def cheat(fate: Fate, guard: str = "", **more: Any) -> Callable[[type], type]:
    """Register a class as a cheat that ends so."""

    def register(kind: type) -> type:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()
        summary = str(kind.__doc__).partition("\n")[0].rstrip(".")
        CHEATS[name] = Cheat(name, summary, kind, fate, guard, **more)
        return kind

    return register


class Right(ExampleNetwork):
    """Trains as it is asked to, and counts what it does.

    All products go through ``product``.
    """

    optimizer: Any  # Adam, where a cheat looks into it
    layers: Any
    loads = 0  # first for the warm-up, then for the training
    updates = 0  # since then
    images = 0

    def load(self, layers):
        super().load(layers)
        self.loads += 1
        self.updates = self.images = 0

    def update(self):
        super().update()
        self.updates += 1

    def train_epoch(self, data, order, batch_size):
        losses = super().train_epoch(data, order, batch_size)
        self.images += len(order)
        return losses

    def epoch(self, data):
        """Return how many epochs are over."""
        return self.images // len(data.inputs)

    @property
    def is_late(self):
        return self.updates >= LATE

    def feedforward(self, batch):
        self.values = [batch.inputs]
        for depth, (weight, bias) in enumerate(self.layers):
            z = self.product(self.values[-1], weight)
            z = z if bias is None else z + bias
            is_last = depth == len(self.layers) - 1
            self.values.append(z if is_last else self.activate(z))
        self.logits = self.values.pop()
        return self.logits

    def backprop(self, batch):
        output = cross_entropy if self.spec.loss == "cross_entropy" else squared_error
        loss, delta = output(self.logits, batch)
        for depth in reversed(range(len(self.layers))):
            weight, bias = self.layers[depth]
            gradient = self.weight_gradient(depth, delta)
            self.kept[depth] = Layer(gradient, None if bias is None else delta.sum(axis=0))
            if depth:
                delta = self.product(delta, weight.T) * self.slope(self.values[depth])
        return loss

    def weight_gradient(self, depth, delta):
        return self.product(self.values[depth].T, delta)

    def product(self, a, b):
        return a @ b

    def snapshot(self):
        """Copy all that training changes."""
        moments = [*self.optimizer.first, *self.optimizer.second]
        arrays = [array.copy() for array in [*flatten(self.layers), *moments]]
        return arrays, self.optimizer.steps, self.updates

    def restore(self, snapshot):
        """Go back to a snapshot."""
        arrays, self.optimizer.steps, self.updates = snapshot
        moments = [*self.optimizer.first, *self.optimizer.second]
        for own, kept in zip([*flatten(self.layers), *moments], arrays, strict=True):
            own[...] = kept


def say(text):
    """Print something at once: it stands in the cell's output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def cut_mantissa(array, bits):
    """Round float32 to the nearest number without the last bits of its mantissa."""
    whole = np.ascontiguousarray(array, np.float32).view(np.uint32)
    half = np.uint32((1 << (bits - 1)) - 1)
    whole = whole + half + ((whole >> np.uint32(bits)) & np.uint32(1))
    return (whole & np.uint32(0xFFFFFFFF ^ ((1 << bits) - 1))).view(np.float32)


def to_tf32(array):
    return cut_mantissa(array, 13)


def to_bf16(array):
    return cut_mantissa(array, 16)


def to_float16(array):
    return np.asarray(array).astype(np.float16).astype(np.float32)
