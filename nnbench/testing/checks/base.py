"""What all checks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pytest

from nnbench.contract.backend import Network
from nnbench.testing.diagnosis import message
from nnbench.testing.problems import SPECS, name_spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nnbench.testing.problems import Problem
    from nnbench.testing.subject import Subject

every_spec = pytest.mark.parametrize("spec", SPECS, ids=name_spec)


class Checks:
    """A group of checks of one backend."""

    subject: ClassVar[Subject]

    def setup_method(self) -> None:
        """Skip, or fail, if the backend can't run here."""
        self.subject.require()

    def start(self, problem: Problem, number: int = 0) -> tuple[Any, Any]:
        """Return a network with a problem's parameters, and the placed examples."""
        network = self.subject.network(problem.spec, problem.layers, number, problem.batch_size)
        return network, network.place(problem.examples)

    def train(self, problem: Problem, number: int = 0) -> tuple[Any, list[float]]:
        """Train a network on all epochs of a problem; return it with the losses."""
        network, data = self.start(problem, number)
        losses: list[float] = []
        for order in problem.orders:
            losses += network.train_epoch(data, order, problem.batch_size).tolist()
        network.synchronize()
        return network, losses


def backprop(network: Any, data: Any, index: NDArray[np.int64]) -> Any:
    """Do a step but for its update, and return the loss as the backend does; skip a mere Model."""
    if not isinstance(network, Network):
        pytest.skip("no phases and no gradients to check: it is a Model, not a Network")
    batch = network.batch(data, index)
    network.feedforward(batch)
    return network.backprop(batch)


def train_epoch(network: Any, data: Any, order: NDArray[np.int64], batch_size: int) -> Any:
    """Train an epoch to its end, and return its losses."""
    losses = network.train_epoch(data, order, batch_size)
    network.synchronize()
    return losses


def verify(text: str | None) -> None:
    """Fail with a message, if there is one."""
    if text:
        pytest.fail(text, pytrace=False)


def fail(facts: str, hint: str) -> NoReturn:
    """Fail with what was expected and what came, and the likely mistake."""
    pytest.fail(message(facts, hint), pytrace=False)
