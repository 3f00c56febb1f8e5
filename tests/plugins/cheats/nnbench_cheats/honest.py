"""Right, and unlike what one would expect: none of these may be accused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from nnbench_example.network import ExampleNetwork, linear

from nnbench import Examples, Layer, Model, OptimizerState, flatten
from nnbench.contract.spec import map_arrays

from .right import Right, cheat, to_bf16, to_tf32

UNDECIDED = np.float32(1.5 * 2.0**-23)  #: of the sum of a product's sizes


@cheat("right")
class Plain(Right):
    """As simple as it can be."""


@cheat("right")
class TakesOtherSide(Right):
    """Takes the other side of every sign of a hidden unit that float32 cannot decide."""

    def feedforward(self, batch):
        if self.spec.activation != "relu":
            return super().feedforward(batch)
        self.values = [batch.inputs]
        self.masks: list[Any] = [None]
        for weight, bias in self.layers[:-1]:
            a = self.values[-1]
            z = linear(a, Layer(weight, bias))
            scale = np.abs(a) @ np.abs(weight) + (0 if bias is None else np.abs(bias))
            is_on = (z > 0) ^ (np.abs(z) < UNDECIDED * scale)
            self.masks.append(is_on)
            self.values.append(z * is_on)
        self.logits = linear(self.values[-1], self.layers[-1])
        return self.logits

    def slope(self, a):
        if self.spec.activation != "relu":
            return super().slope(a)
        depth = next(i for i, value in enumerate(self.values) if value is a)
        return self.masks[depth].astype(np.float32)


@cheat("right")
class SumsInOtherOrder(Right):
    """Adds up products in an order of its own."""

    def product(self, a, b):
        order = np.random.default_rng(a.shape[1]).permutation(a.shape[1])
        return np.ascontiguousarray(a[:, order]) @ np.ascontiguousarray(b[order])


@cheat("right")
class ComputesInFloat64(Right):
    """Computes in float64, and rounds what it hands over."""

    def load(self, layers):
        super().load([Layer(*wide(layer)) for layer in layers])

    def place(self, examples):
        return Examples(*wide(examples))

    def dump(self):
        return [Layer(*narrow(layer)) for layer in super().dump()]

    def gradients(self):
        return [Layer(*narrow(layer)) for layer in super().gradients()]


def wide(arrays):
    return map_arrays(lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a, arrays)


def narrow(arrays):
    return map_arrays(lambda a: a.astype(np.float32), arrays)


@cheat("right", threads=2)
class HasThreadPool(Right):
    """Multiplies halves of a batch in two threads, where it was given two."""

    def __init__(self, spec):
        super().__init__(spec)
        self.pool = ThreadPoolExecutor(2)

    def product(self, a, b):
        half = len(a) // 2
        if not half:
            return a @ b
        return np.concatenate([*self.pool.map(lambda part: part @ b, (a[:half], a[half:]))])


@cheat("right")
class DumpsSlowly(Right):
    """Hands its parameters over number by number, at all times."""

    def dump(self):
        lists = [[None if a is None else a.tolist() for a in layer] for layer in super().dump()]
        return [Layer(*(None if a is None else np.array(a, np.float32) for a in x)) for x in lists]


@cheat("right")
class ShowsNoState(Right):
    """Cannot say what its optimizer keeps."""

    def optimizer_state(self):
        return None


@cheat("right")
class OwnsItsStep(Model[Examples, Examples]):
    """Has no phases and no gradients to show, as a library that does a whole step at once."""

    def __init__(self, spec):
        self.inside = Right(spec)

    def load(self, layers):
        self.inside.load(layers)

    def dump(self):
        return self.inside.dump()

    def place(self, examples):
        return self.inside.place(examples)

    def batch(self, data, index):
        return self.inside.batch(data, index)

    def step(self, batch):
        return self.inside.step(batch)

    def predict(self, batch):
        return self.inside.predict(batch)

    def optimizer_state(self):
        return self.inside.optimizer_state()


@cheat("right", precision="tf32")
class SaysTf32(Right):
    """Multiplies in TF32, and declares it."""

    def product(self, a, b):
        return to_tf32(a) @ to_tf32(b)


@cheat("right", precision="bf16")
class SaysBf16(Right):
    """Multiplies in bfloat16, and declares it."""

    def product(self, a, b):
        return to_bf16(a) @ to_bf16(b)


@cheat("right")
class KeepsScaledMoments(ExampleNetwork):
    """Keeps moments without their factors, as `Optimizer.scaled` has it."""

    def load(self, layers):
        super().load(layers)
        arrays = flatten(self.layers)
        self.first = [np.zeros_like(array) for array in arrays]
        self.second = [np.zeros_like(array) for array in arrays]
        self.steps = 0

    def update(self):
        rule = self.spec.optimizer
        self.steps += 1
        rate, epsilon = rule.scaled(self.steps)
        arrays = zip(flatten(self.layers), flatten(self.kept), self.first, self.second, strict=True)
        for parameter, gradient, first, second in arrays:
            first *= np.float32(rule.beta1)
            first += gradient
            second *= np.float32(rule.beta2)
            second += gradient * gradient
            parameter -= np.float32(rate) * first / (np.sqrt(second) + np.float32(epsilon))

    def optimizer_state(self):
        moments = (np.concatenate(each, axis=None) for each in (self.first, self.second))
        return OptimizerState(self.steps, *map(self.spec.view, moments)).unscaled(
            self.spec.optimizer
        )
