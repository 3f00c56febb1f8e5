"""A plugin whose library owns the step, and backends that need or refuse something."""

from __future__ import annotations

from functools import partial
from typing import Any

from nnbench import Backend, Model, hookimpl
from nnbench_numpy.network import NumpyNetwork


class WholeSteps(Model[Any, Any]):
    """Shows nothing of a step, as a library with one call for all of it does."""

    def __init__(self, spec):
        self._inner = NumpyNetwork(spec)

    def load(self, layers):
        self._inner.load(layers)

    def dump(self):
        return self._inner.dump()

    def place(self, examples):
        return self._inner.place(examples)

    def batch(self, data, index):
        return self._inner.batch(data, index)

    def step(self, batch):
        return self._inner.step(batch)

    def predict(self, batch):
        return self._inner.predict(batch)


def one_at_a_time(_spec, batch_size):
    return None if batch_size == 1 else f"it trains one example at a time, not {batch_size}"


def not_called():
    raise AssertionError("what is required comes first")


@hookimpl
def nnbench_backends():
    member = partial(Backend, summary="whole steps", create="nnbench_whole:WholeSteps")
    return [
        member(name="whole"),
        member(name="single", supports=one_at_a_time),
        member(name="absent", requires=("numpy", "No_Such-Library"), unavailable=not_called),
        member(name="lost", requires=("lost-one", "scikit-learn", "lost-two")),
        member(name="nowhere", create="nnbench_whole:Misspelt"),
    ]
