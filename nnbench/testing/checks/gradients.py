"""One step against the float64 reference: logits, loss, gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnbench import reference
from nnbench.contract.spec import minibatches
from nnbench.testing import judgement
from nnbench.testing.checks.base import Checks, backprop, every_spec, verify
from nnbench.testing.diagnosis import Candidate, check
from nnbench.testing.judgement import name_arrays, name_losses
from nnbench.testing.mistakes import added
from nnbench.testing.mistakes.losses import softmax
from nnbench.testing.problems import BATCH_SIZE, make_problem

if TYPE_CHECKING:
    from nnbench.contract.spec import NetworkSpec
    from nnbench.testing.problems import Problem

ONE, SMALLER = 1, 4  #: batch sizes
ONE_BUFFER = "one buffer for all losses: each must stay valid until the epoch ends"


class GradientChecks(Checks):
    """A batch gives the reference's logits, loss and gradients, to 1e-4."""

    @every_spec
    def test_loss_matches_the_reference(self, spec: NetworkSpec) -> None:
        """The loss of a batch of eight: its mean, L2 term included."""
        problem = make_problem(spec).first_step()
        network, data = self.start(problem)
        loss = float(backprop(network, data, problem.index))
        verify(judgement.losses("backprop", [loss], problem))

    @every_spec
    def test_gradients_match_the_reference(self, spec: NetworkSpec) -> None:
        """The gradients of a batch of eight, L2 term included."""
        problem = make_problem(spec).first_step()
        network, data = self.start(problem)
        backprop(network, data, problem.index)
        verify(judgement.gradients("gradients", network.gradients(), problem))

    def test_logits_match_the_reference(self) -> None:
        """``predict`` gives the logits of the rows that were named, in that order."""
        problem = make_problem(self.subject.spec).first_step()
        network, data = self.start(problem)
        found = network.predict(network.batch(data, problem.index))
        logits, unordered = (
            reference.feedforward(problem.spec, problem.layers, inputs.astype(np.float64))[-1]
            for inputs in (next(problem.batches()).inputs, problem.examples.inputs[:BATCH_SIZE])
        )
        others = {
            "the order of the examples is ignored: batch takes the rows of index": unordered,
            "softmax applied: logits come before it": softmax(logits),
            "sigmoid applied: logits come before it": reference.sigmoid(logits),
        }
        candidates = [Candidate(hint, {"logits": values}) for hint, values in others.items()]
        verify(check("predict", {"logits": found}, {"logits": logits}, candidates))

    def test_a_batch_of_one(self) -> None:
        """Loss and gradients of the smallest batch."""
        self._verify_batch(make_problem(self.subject.spec).first_step(ONE))

    def test_a_smaller_batch_after_a_larger_one(self) -> None:
        """Loss and gradients of four examples, in a network that just had eight."""
        problem = make_problem(self.subject.spec)
        network, data = self.start(problem)
        backprop(network, data, problem.index)
        self._verify_batch(problem.first_step(SMALLER, skip=BATCH_SIZE))

    def test_gradients_are_of_the_latest_backprop(self) -> None:
        """A second backprop replaces the gradients of the first."""
        problem = make_problem(self.subject.spec)
        first, second = problem.first_step(), problem.first_step(skip=BATCH_SIZE)
        alone = []
        for step in (first, second):
            network, data = self.start(problem)
            backprop(network, data, step.index)
            alone.append(network.gradients())
        network, data = self.start(problem)
        for step in (first, second):
            backprop(network, data, step.index)
        candidates = [
            Candidate("stale gradients: those of the backprop before", name_arrays(alone[0])),
            Candidate("gradients add up: not cleared", name_arrays(added(*alone))),
        ]
        found, expected = name_arrays(network.gradients()), name_arrays(alone[1])
        verify(check("gradients of a second backprop", found, expected, candidates))

    def test_losses_stay_valid(self) -> None:
        """A loss is read after later steps, and is still its own step's."""
        problem = make_problem(self.subject.spec)
        indices = list(minibatches(problem.orders[0], BATCH_SIZE))
        network, data = self.start(problem)
        at_once = [float(backprop(network, data, index)) for index in indices]
        later = [backprop(network, data, index) for index in indices]
        network.synchronize()
        found, expected = (name_losses([float(x) for x in losses]) for losses in (later, at_once))
        candidates = [Candidate(ONE_BUFFER, name_losses(at_once[-1:] * len(indices)))]
        verify(check("losses read after three steps", found, expected, candidates))

    def _verify_batch(self, problem: Problem) -> None:
        network, data = self.start(problem)
        loss = float(backprop(network, data, problem.index))
        what = f"batch of {len(problem.index)}"
        verify(judgement.losses(f"{what}, loss", [loss], problem))
        verify(judgement.gradients(f"{what}, gradients", network.gradients(), problem))
