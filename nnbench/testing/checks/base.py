"""What all checks share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import pytest

from nnbench.contract.backend import Network
from nnbench.testing import diagnosis
from nnbench.testing.diagnosis import message
from nnbench.testing.networks import SPECS
from nnbench.testing.problems import distance, make_problem
from nnbench.testing.session import NOTHING_FITS, OTHER_OPTIMIZER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.testing.problems import Problem
    from nnbench.testing.subject import Subject

SAME = 1e-6  #: how far two trainings of one backend may be apart
SHUFFLED = "train_epoch shuffles again: the rows come in the order that is given"
NO_STATE = (
    "two trainings from the same parameters differ: numbers are drawn at random (dropout is on, "
    "a shuffle), or something of an earlier training is left"
)


class Checks:
    """A group of checks of one backend."""

    subject: ClassVar[Subject]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give a check that asks for a ``spec`` each of the networks that this backend is checked on."""
        if "spec" in metafunc.fixturenames:
            specs = {name: spec for name, (spec, _) in self.subject.settings.items()}
            specs = specs or {"none": SPECS[0]}  # or nothing would say that none is supported
            metafunc.parametrize("spec", list(specs.values()), ids=list(specs))

    def setup_method(self) -> None:
        """Skip, or fail, if the backend can't run here, or supports nothing."""
        self.subject.require()
        self.subject.require_network()

    def problem(self, spec: NetworkSpec | None = None, **drawn: Any) -> Problem:
        """Draw a problem of a network, or of the first one, with batches that it is supported with."""
        spec = spec or self.subject.spec
        return make_problem(spec, **{"batch_size": self.subject.batch_size(spec), **drawn})

    def start(self, problem: Problem, number: int = 0) -> tuple[Any, Any]:
        """Return a network with a problem's parameters, and the placed examples."""
        network = self.subject.network(problem.spec, problem.layers, number, problem.batch_size)
        return network, network.place(problem.examples)

    def train(self, problem: Problem, number: int = 0) -> tuple[Any, list[float]]:
        """Train a network on all epochs of a problem; return it with the losses."""
        network, data = self.start(problem, number)
        losses: list[float] = []
        for order in problem.orders:
            losses += losses_of(network, data, order, problem.batch_size).tolist()
        network.synchronize()
        return network, losses

    def verify(self, text: str | None) -> None:
        """Fail with a message, if there is one, and say what no number alone shows."""
        if text and text.endswith(NOTHING_FITS) and (habit := self.habit()):
            text = text.removesuffix(NOTHING_FITS) + habit
        verify(text)

    def verify_trained(self, spec: NetworkSpec, text: str | None) -> None:
        """Fail likewise, after updates: as expected if the backend declares another optimizer."""
        if text and (reason := self.subject.why_other(spec)):
            pytest.xfail(OTHER_OPTIMIZER + reason)
        self.verify(text)

    def verify_same(
        self, what: str, actual: Sequence[Layer], expected: Sequence[Layer], hint: str
    ) -> None:
        """Compare two trainings of one backend."""
        if (apart := distance(actual, expected)) > SAME:
            facts = f"{what}: expected the same parameters, came some {apart:.1e} off"
            fail(facts, self.habit() or hint)

    def habit(self) -> str:
        """Return what this backend does in every training, and so in every check, or nothing.

        It is looked for after the first failure that it may explain.
        """
        if self.subject.habit is None:
            self.subject.habit = ""
            with suppress(Exception, pytest.fail.Exception, pytest.skip.Exception):
                if self._shuffles():
                    self.subject.habit = SHUFFLED
                elif self._varies():
                    self.subject.habit = NO_STATE
        return self.subject.habit

    def _shuffles(self) -> bool:
        """Tell whether the first batch is one of others' rows, too: each has one example only."""
        problem = self.problem()
        count, size = len(problem.orders[0]), problem.batch_size

        def first_loss(rows: NDArray[np.int64]) -> float:
            return self.train(replace(problem, orders=[rows]))[1][0]

        rows = np.arange(count) // size
        own = [first_loss(np.full_like(rows, row)) for row in np.unique(rows)]
        came = first_loss(rows)
        shares = (
            np.array([one, other, size - one - other]) / size
            for one in range(size)
            for other in range(size - one + 1)
        )
        return abs(came - own[0]) > SAME * abs(came) and any(
            abs(float(share @ own) - came) < SAME * abs(came) for share in shares
        )

    def _varies(self) -> bool:
        """Tell whether two trainings from the same parameters differ."""
        problem = self.problem()
        first = self.train(problem)[0].dump()
        return not distance(self.train(problem)[0].dump(), first) <= SAME


def backprop(network: Any, data: Any, index: NDArray[np.int64]) -> Any:
    """Do a step but for its update, and return the loss as the backend does; skip a mere Model."""
    if not isinstance(network, Network):
        pytest.skip("no phases and no gradients to check: it is a Model, not a Network")
    batch = network.batch(data, index)
    network.feedforward(batch)
    loss = network.backprop(batch)
    if loss is None:
        fail("backprop: expected a loss, came None", "nothing is returned: return the mean loss")
    return loss


def losses_of(network: Any, data: Any, order: NDArray[np.int64], batch_size: int) -> Any:
    """Train an epoch, or a part of it, and return its losses, which have the promised form."""
    losses = network.train_epoch(data, order, batch_size)
    verify(diagnosis.loss_form("train_epoch", losses))
    return losses


def train_epoch(network: Any, data: Any, order: NDArray[np.int64], batch_size: int) -> Any:
    """Train an epoch to its end, and return its losses."""
    losses = losses_of(network, data, order, batch_size)
    network.synchronize()
    return losses


def verify(text: str | None) -> None:
    """Fail with a message, if there is one."""
    if text:
        pytest.fail(text, pytrace=False)


def fail(facts: str, hint: str) -> NoReturn:
    """Fail with what was expected and what came, and the likely mistake."""
    pytest.fail(message(facts, hint), pytrace=False)
