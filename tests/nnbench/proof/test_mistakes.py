"""Every known mistake gives numbers of its own, and is found by them."""

from dataclasses import replace

import numpy as np
import pytest

from nnbench import OptimizerState, reference
from nnbench.proof.mistakes import HANDED_OUT, MISTAKES, RIGHT
from nnbench.testing import diagnosis
from nnbench.testing.networks import SPECS
from nnbench.testing.problems import make_problem

PROBLEMS = [
    replace(make_problem(spec, epochs=2), earlier=make_problem(spec, seed=1)) for spec in SPECS
]


def judge(outcome, problem):
    """Return every message about a training."""
    texts = [
        diagnosis.losses("losses", outcome.losses, problem),
        diagnosis.layers("parameters", cast(outcome.layers), problem),
    ]
    return [text for text in texts if text]


def cast(layers):
    return [reference.cast(layer, np.float32) for layer in layers]


def test_the_right_training_is_the_references():
    for problem in PROBLEMS:
        outcome = RIGHT.train(replace(problem, earlier=None))
        losses, layers = reference.train(problem.spec, problem.layers, problem.batches())
        assert outcome.losses == losses
        assert reference.equal(outcome.layers, layers)
        assert judge(outcome, problem) == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.hint)
def test_a_mistake_is_explained_by_itself(mistake):
    """At least one of the networks shows it, and what is said there is its own hint."""
    texts = []
    for problem in PROBLEMS:
        with np.errstate(all="ignore"):
            outcome = mistake.train(problem)
        texts += judge(outcome, problem)
        step = problem.first_step()
        texts.append(diagnosis.gradients("step", cast(mistake.train(step).gradients), step) or "")
    assert any(text.endswith(f"Likely mistake: {mistake.hint}") for text in texts)


def test_what_is_made_of_a_problem_is_made_once_and_of_no_other():
    one, same, other = (make_problem(SPECS[0], seed=seed) for seed in (0, 0, 1))
    made = diagnosis.outcome_of(RIGHT, one)
    assert diagnosis.outcome_of(RIGHT, same) is made
    assert diagnosis.outcome_of(MISTAKES[0], one) is not made
    assert diagnosis.outcome_of(RIGHT, other).losses != made.losses
    one.examples.inputs[0] += 1
    one.orders[0][:] = 0
    assert diagnosis.outcome_of(RIGHT, one).losses == RIGHT.train(one).losses != made.losses


@pytest.mark.parametrize("hint", HANDED_OUT)
def test_a_state_handed_out_wrongly_is_called_by_its_name(hint):
    problem = replace(PROBLEMS[0], earlier=None)
    given = HANDED_OUT[hint](problem.spec.optimizer, RIGHT.train(problem))
    given = given._replace(first=cast(given.first), second=cast(given.second))
    assert diagnosis.state("state", given, problem).endswith(f"Likely mistake: {hint}")


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_of_float32_are_no_mistake(problem, dtype):
    problem = replace(problem, earlier=None)
    steps, first, second = replace(RIGHT, dtype=dtype).train(problem).state
    assert diagnosis.state("state", OptimizerState(steps, first, second), problem) is None


def test_an_optimizer_that_decays_otherwise_is_found_by_its_moments():
    problem = replace(PROBLEMS[0], earlier=None)
    swapped = next(mistake for mistake in MISTAKES if "beta2 swapped" in mistake.hint)
    text = diagnosis.state("state", swapped.train(problem).state, problem)
    assert text.endswith("beta1 and beta2 swapped")


def test_moments_that_are_not_finite_are_no_moments():
    problem = replace(PROBLEMS[0], earlier=None)
    state = RIGHT.train(problem).state
    state.second[0].weight[0, 0] = np.nan
    assert "division by zero" in diagnosis.state("state", state, problem)


def test_an_earlier_training_is_forgotten():
    """The reference's load leaves nothing behind."""
    problem = PROBLEMS[0]
    alone = RIGHT.train(replace(problem, earlier=None))
    assert RIGHT.train(problem).losses == alone.losses


@pytest.mark.parametrize("problem", PROBLEMS)
def test_float32_is_no_mistake(problem):
    outcome = replace(RIGHT, dtype=np.float32).train(problem)
    assert judge(outcome, problem) == []


@pytest.mark.parametrize("problem", PROBLEMS)
def test_float16_is_called_by_its_name(problem):
    step = replace(problem, earlier=None).first_step()
    found = replace(RIGHT, dtype=np.float16).train(step).gradients
    assert "float16 inside" in diagnosis.gradients("gradients", cast(found), step)
