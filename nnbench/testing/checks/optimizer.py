"""What the optimizer keeps, as the proof of a run reads it between two parts of an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nnbench.contract.backend import Network
from nnbench.contract.spec import flatten
from nnbench.proof.mistakes import layerwise
from nnbench.testing import diagnosis
from nnbench.testing.checks.base import (
    SAME,
    Checks,
    backprop,
    fail,
    losses_of,
    train_epoch,
)
from nnbench.testing.checks.contract import SCRIBBLE
from nnbench.testing.problems import distance, same_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench.contract.backend import Model
    from nnbench.contract.spec import Layer, NetworkSpec, OptimizerState
    from nnbench.testing.problems import Problem

EPOCHS = 3  #: of three steps each, before one more step
ALIASED = "moments aliased: optimizer_state returns arrays of the network's, not new copies"
NOT_GIVEN = (
    "optimizer_state() gives None: nnbench run follows this backend from its parameters alone, "
    "with wider tolerances, and says so"
)


class OptimizerChecks(Checks):
    """Between parts, a backend shows its optimizer's state, and goes on as if nobody had asked."""

    def test_optimizer_state_matches_the_reference(self, spec: NetworkSpec) -> None:
        """Adam's count of steps and both moments after ten steps, to 2e-5; None for other optimizers."""
        problem = self.problem(spec, epochs=EPOCHS + 1)
        problem.orders[-1] = problem.orders[-1][: problem.batch_size]
        network, data = self.start(problem)
        for order in problem.orders[:-1]:
            losses_of(network, data, order, problem.batch_size)
        last_step(network, data, problem.orders[-1])
        if spec.optimizer.keeps_moments:
            self.verify_trained(
                spec, diagnosis.state("optimizer_state", state_of(network), problem)
            )
        elif (actual := network.optimizer_state()) is not None:
            kind = spec.optimizer.kind
            fail(
                f"optimizer_state under {kind}: expected None, came {diagnosis.kind(actual)}",
                f"{kind} keeps nothing between steps",
            )

    def test_optimizer_state_is_zero_after_load(self) -> None:
        """``load`` forgets: no steps, and moments of zeros."""
        problem = self.problem(self._spec())
        network, _ = self.train(problem)
        network.load(problem.layers)
        self.verify(diagnosis.state("after load", state_of(network), replace(problem, orders=[])))

    def test_optimizer_state_is_a_copy(self) -> None:
        """Moments do not change as training goes on, nor the network's with them."""
        problem = self.problem(self._spec(), epochs=2)
        network, data = self.start(problem)
        train_epoch(network, data, problem.orders[0], problem.batch_size)
        given = moments(state_of(network))
        before = layerwise(np.copy, given)
        train_epoch(network, data, problem.orders[1], problem.batch_size)
        later = moments(state_of(network))
        if not same_bits(given, before):
            fail("moments of an epoch before: expected to stay, came changed", ALIASED)
        given = later
        before = layerwise(np.copy, given)
        for array in flatten(given):
            if array.flags.writeable:
                array[...] = SCRIBBLE
        if not same_bits(moments(state_of(network)), before):
            facts = "moments after the caller wrote into those that it got"
            fail(f"{facts}: expected no change, came changed", ALIASED)

    def test_dumps_between_parts_change_nothing(self) -> None:
        """``dump`` and ``optimizer_state`` between two parts: training goes on to the same bits."""
        problem = self.problem(epochs=2)
        parts = [part for order in problem.orders for part in np.split(order, [problem.batch_size])]
        alone = self._train_parts(problem, parts, asks=False)
        asked = self._train_parts(problem, parts, asks=True)
        apart = distance(asked, alone)
        if apart > SAME or (self.subject.backend.deterministic and not same_bits(asked, alone)):
            fail(
                f"four parts with dumps between: expected the same bits, came some {apart:.1e} off",
                self.habit() or "dump or optimizer_state changes what it copies",
            )

    def test_a_call_may_hold_several_epochs(self) -> None:
        """``train_epoch`` may get the orders of several epochs at once, if they are whole batches."""
        problem = self.problem(epochs=2)
        orders = [order[: 2 * problem.batch_size] for order in problem.orders]
        expected = self.train(replace(problem, orders=orders))[0].dump()
        at_once = replace(problem, orders=[np.concatenate(orders)])
        hint = "a row that comes twice in an order, or an order longer than the split"
        self.verify_same("two epochs in one call", self.train(at_once)[0].dump(), expected, hint)

    def _spec(self) -> NetworkSpec:
        """Return a supported specification whose optimizer keeps something, or skip."""
        for _, spec in self.subject.supported():
            if spec.optimizer.keeps_moments:
                return spec
        return self.subject.skip("no network is supported whose optimizer keeps moments")

    def _train_parts(
        self, problem: Problem, parts: Sequence[NDArray[np.int64]], *, asks: bool
    ) -> list[Layer]:
        """Train part by part, and ask for everything in between or not."""
        network, data = self.start(problem)
        for part in parts:
            train_epoch(network, data, part, problem.batch_size)
            if asks:
                network.dump()
                network.optimizer_state()
        dumped: list[Layer] = network.dump()
        return dumped


def state_of(network: Model[Any, Any]) -> OptimizerState:
    """Return what the optimizer keeps, or skip the running check if the backend cannot say."""
    state = network.optimizer_state()
    if state is None:
        pytest.skip(NOT_GIVEN)
    return state


def moments(state: OptimizerState) -> list[Layer]:
    """Return the arrays of both moments."""
    return [*state.first, *state.second]


def last_step(network: Model[Any, Any], data: Any, index: NDArray[np.int64]) -> None:
    """Train on one batch, phase by phase if the backend has phases."""
    if isinstance(network, Network):
        backprop(network, data, index)
        network.update()
        network.synchronize()
    else:
        train_epoch(network, data, index, len(index))
