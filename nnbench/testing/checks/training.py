"""Against the float64 reference: one step, many steps, epochs, and what load resets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import special

from nnbench import catalog, reference
from nnbench.contract.spec import minibatches
from nnbench.proof.mistakes import HALF, Variant, added
from nnbench.testing import diagnosis
from nnbench.testing.checks.base import (
    NO_STATE,
    Checks,
    backprop,
    fail,
    losses_of,
    train_epoch,
)
from nnbench.testing.diagnosis import Candidate, check, name_arrays, name_losses
from nnbench.testing.first_losses import deviation, expected_losses
from nnbench.testing.problems import STEPS, make_short_task, make_task_problem, same_bits

if TYPE_CHECKING:
    from nnbench.contract.spec import NetworkSpec
    from nnbench.testing.problems import Problem

ONE, SMALLER = 1, 4  #: batch sizes
ONE_BUFFER = "one buffer for all losses: each must stay valid until the epoch ends"
EPOCHS = 4  #: of three steps each: a dozen
REPEATING = Variant(kept=lambda history: history[0])  # the first gradients in every step


class GradientChecks(Checks):
    """A batch gives the reference's logits, loss and gradients, to 1e-4."""

    def test_loss_matches_the_reference(self, spec: NetworkSpec) -> None:
        """The loss of a batch of eight: its mean, L2 term included."""
        problem = self.problem(spec).first_step()
        network, data = self.start(problem)
        loss = float(backprop(network, data, problem.index))
        self.verify(diagnosis.losses("backprop", [loss], problem))

    def test_gradients_match_the_reference(self, spec: NetworkSpec) -> None:
        """The gradients of a batch of eight, L2 term included."""
        problem = self.problem(spec).first_step()
        network, data = self.start(problem)
        backprop(network, data, problem.index)
        self.verify(diagnosis.gradients("gradients", network.gradients(), problem))

    def test_logits_match_the_reference(self) -> None:
        """``predict`` gives the logits of the rows that were named, in that order."""
        problem = self.problem().first_step()
        network, data = self.start(problem)
        actual = network.predict(network.batch(data, problem.index))
        self.verify(diagnosis.logits_form(actual, problem.spec, problem.batch_size))
        logits, unordered = (
            reference.feedforward(problem.spec, problem.layers, inputs.astype(np.float64))[-1]
            for inputs in (
                next(problem.batches()).inputs,
                problem.examples.inputs[: problem.batch_size],
            )
        )
        others = {
            "the order of the examples is ignored: batch takes the rows of index": unordered,
            "softmax applied: logits come before it": special.softmax(logits, axis=1),
            "log-softmax applied: logits come before it": special.log_softmax(logits, axis=1),
            "sigmoid applied: logits come before it": reference.sigmoid(logits),
            f"{diagnosis.CLASSES}, one-hot": np.eye(logits.shape[1])[logits.argmax(axis=1)],
        }
        half = reference.feedforward(
            problem.spec,
            [reference.cast(layer, np.float16) for layer in problem.layers],
            next(problem.batches()).inputs.astype(np.float16),
        )[-1]
        candidates = [
            *(Candidate(hint, {"logits": values}) for hint, values in others.items()),
            Candidate(HALF.hint, {"logits": half.astype(np.float64)}, is_rounding=True),
        ]
        self.verify(check("predict", {"logits": actual}, {"logits": logits}, candidates))

    def test_a_batch_of_one(self) -> None:
        """Loss and gradients of the smallest batch."""
        self._verify_batch(self.problem().first_step(ONE))

    def test_a_smaller_batch_after_a_larger_one(self) -> None:
        """Loss and gradients of four examples, in a network that just had eight."""
        problem = self.problem()
        if problem.batch_size <= SMALLER:
            self.subject.skip("no smaller batch than that of each step is supported")
        network, data = self.start(problem)
        backprop(network, data, problem.index)
        self._verify_batch(problem.first_step(SMALLER, skip=problem.batch_size))

    def test_gradients_are_of_the_latest_backprop(self) -> None:
        """A second backprop replaces the gradients of the first."""
        problem = self.problem()
        first, second = problem.first_step(), problem.first_step(skip=problem.batch_size)
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
        actual, expected = name_arrays(network.gradients()), name_arrays(alone[1])
        self.verify(check("gradients of a second backprop", actual, expected, candidates))

    def test_losses_stay_valid(self) -> None:
        """A loss is read after later steps, and is still its own step's."""
        problem = self.problem()
        indices = list(minibatches(problem.orders[0], problem.batch_size))
        network, data = self.start(problem)
        at_once = [float(backprop(network, data, index)) for index in indices]
        later = [backprop(network, data, index) for index in indices]
        network.synchronize()
        actual, expected = (name_losses([float(x) for x in losses]) for losses in (later, at_once))
        candidates = [Candidate(ONE_BUFFER, name_losses(at_once[-1:] * len(indices)))]
        self.verify(check("losses read after three steps", actual, expected, candidates))

    def _verify_batch(self, problem: Problem) -> None:
        network, data = self.start(problem)
        loss = float(backprop(network, data, problem.index))
        what = f"batch of {len(problem.index)}"
        self.verify(diagnosis.losses(f"{what}, loss", [loss], problem))
        self.verify(diagnosis.gradients(f"{what}, gradients", network.gradients(), problem))


class TrainingChecks(Checks):
    """Trainings follow the reference, to 1e-4, whichever way they are asked for."""

    def test_load_clears_the_optimizer(self) -> None:
        """After ``load``, a network trains as a new one does."""
        before = self.problem()
        problem = replace(self.problem(seed=1), earlier=before)
        network, _ = self.train(before, number=1)  # one that did nothing yet
        self.subject.reuses = False  # until it is known that load does its work
        network.load(problem.layers)
        data = network.place(problem.examples)
        losses = train_epoch(network, data, problem.orders[0], problem.batch_size).tolist()
        what = "an epoch in a network that had trained before load"
        self.verify_trained(
            problem.spec, diagnosis.layers(f"{what}: parameters", network.dump(), problem)
        )
        self.verify_trained(problem.spec, diagnosis.losses(what, losses, problem))
        self.subject.reuses = True

    def test_three_steps_match_the_reference(self, spec: NetworkSpec) -> None:
        """The parameters after each of three steps, done phase by phase."""
        problem = self.problem(spec)
        order = problem.orders[0]
        network, data = self.start(problem)
        for step, index in enumerate(minibatches(order, problem.batch_size), start=1):
            backprop(network, data, index)
            network.update()
            network.synchronize()
            part = replace(problem, orders=[order[: step * problem.batch_size]])
            known = network.gradients()
            self.verify_trained(spec, diagnosis.layers(f"step {step}", network.dump(), part, known))

    def test_a_dozen_steps_match_the_reference(self, spec: NetworkSpec) -> None:
        """Losses and parameters of four epochs; the last batch of each is smaller."""
        problem = self.problem(spec, epochs=EPOCHS)
        network, losses = self.train(problem)
        self.verify(diagnosis.loss_count("train_epoch", len(losses), problem))
        self.verify_trained(
            spec, diagnosis.layers("four epochs: parameters", network.dump(), problem)
        )
        self.verify_trained(spec, diagnosis.losses("four epochs", losses, problem))

    @pytest.mark.parametrize("workload", catalog.workloads())
    def test_ten_steps_of_a_workload(self, workload: str) -> None:
        """The losses of ten steps of every registered workload, on its own data."""
        task = make_short_task(workload)
        expected = expected_losses(task, STEPS)
        problem = make_task_problem(task)
        _, losses = self.train(problem)
        self.verify(diagnosis.loss_count(workload, len(losses), problem))
        if (deviation(losses, expected.losses) or np.inf) > expected.tolerance:
            self.verify_trained(problem.spec, diagnosis.losses(workload, losses, problem))

    def test_an_update_can_be_repeated(self) -> None:
        """A second ``update`` uses the kept gradients again."""
        problem = self.problem().first_step()
        network, data = self.start(problem)
        backprop(network, data, problem.index)
        network.update()
        network.synchronize()
        known = network.gradients()
        self.verify_trained(
            problem.spec, diagnosis.layers("one update", once := network.dump(), problem, known)
        )
        network.update()
        network.synchronize()
        twice = replace(problem, orders=problem.orders * 2)
        expected = name_arrays(REPEATING.train(twice).layers)
        hint = "update uses up its gradients: they must be kept"
        candidates = [Candidate(hint, name_arrays(once))]
        self.verify_trained(
            problem.spec, check("two updates", name_arrays(network.dump()), expected, candidates)
        )

    def test_train_epoch_equals_the_three_phases(self) -> None:
        """An overridden ``train_epoch`` does what a loop over the phases does."""
        problem = self.problem()
        network, data = self.start(problem)
        for index in minibatches(problem.orders[0], problem.batch_size):
            backprop(network, data, index)
            network.update()
        network.synchronize()
        by_phases = network.dump()
        network, _ = self.train(problem)
        hint = "the overridden train_epoch does something else than the three phases"
        self.verify_same("train_epoch against the phases", network.dump(), by_phases, hint)

    def test_an_epoch_in_parts_equals_a_whole_one(self) -> None:
        """An epoch may be handed to ``train_epoch`` in parts of whole batches."""
        problem = self.problem()
        whole, _ = self.train(problem)
        expected = whole.dump()
        order = problem.orders[0]
        parts = replace(
            problem, orders=[order[: 2 * problem.batch_size], order[2 * problem.batch_size :]]
        )
        network, _ = self.train(parts)
        hint = "something restarts with every call, or the last batch is not treated as others are"
        self.verify_same("an epoch in two parts", network.dump(), expected, hint)

    def test_prediction_between_epochs_changes_nothing(self) -> None:
        """The harness evaluates after each epoch, on another split; training goes on as before."""
        problem = self.problem(epochs=2)
        expected = self.train(problem)[0].dump()
        network, data = self.start(problem)
        others = network.place(self.problem(problem.spec, seed=1).examples)
        for order in problem.orders:
            losses_of(network, data, order, problem.batch_size)
            network.predict(network.batch(others, problem.index))
        network.synchronize()
        hint = "predict, or a second placed split, changes what training uses"
        self.verify_same("two epochs with predictions between", network.dump(), expected, hint)

    def test_trainings_repeat(self) -> None:
        """From the same parameters, the same bits; within 1e-6 if the backend says so."""
        problem = self.problem(epochs=2)
        first, losses = self.train(problem)
        expected = first.dump()
        again, others = self.train(problem)
        self.verify_same("two trainings", again.dump(), expected, NO_STATE)
        is_equal = same_bits(again.dump(), expected) and losses == others
        if self.subject.backend.deterministic and not is_equal:
            fail(
                "two trainings from the same parameters: expected the same bits, came others",
                "sums in an order that varies, or random numbers; where the library cannot do "
                "better, set Backend.deterministic=False",
            )
