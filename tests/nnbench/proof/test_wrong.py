"""A wrong training is not proved, and what it did is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.spec import minibatches
from nnbench.data import datasets, seeding
from nnbench.data.task import make_task
from nnbench.proof.calibration import BASES
from nnbench.proof.explanation import Altered, explain
from nnbench.proof.mistakes import MISTAKES, Problem
from nnbench.proof.parts import Part, prove
from nnbench.proof.training import Training, fresh, rounded
from nnbench.records.cells import Limits

LIMITS = replace(BASES[0], steps=60)
BEFORE, STEPS, SIZE = 20, 60, 64
MIDDLE = 30


@pytest.fixture(scope="module")
def task():
    examples = datasets.load_mnist().train.rows(slice((BEFORE + STEPS) * SIZE))
    return catalog.workloads()["mnist"].network(784, 10), examples


def make(task, *, change=None, after=None, precision="float32", **optimizer):
    spec, examples = task
    spec = replace(spec, optimizer=replace(spec.optimizer, **optimizer))
    training = Altered(spec, examples, dtype=np.float32, precision=precision)
    training.change, training.after = change, after
    return training


def part_of(task, seed=1, **wrong):
    """Train rightly for 20 steps, then wrongly."""
    spec, examples = task
    order = np.random.default_rng(seed).permutation(len(examples.inputs))
    right = Training(spec, examples, dtype=np.float32)
    right.load(fresh(spec, seeding.initial_layers(spec, "uniform", seed)))
    right.follow(minibatches(order[: BEFORE * SIZE], SIZE))
    start, rest = right.state(), order[BEFORE * SIZE :]
    training = make(task, **wrong)
    training.load(start)
    losses = np.array(training.follow(minibatches(rest, SIZE)), np.float32)
    return Part(rest, SIZE, start, training.state(), losses)


def skip(step, now, _last):
    return [0 * gradient for gradient in now] if step == MIDDLE else now


def stale(step, now, last):
    return [gradient.copy() for gradient in last] if step == MIDDLE else now


def times_64(_step, now, _last):
    return [64 * gradient for gradient in now]


def without_tiny(_step, now, _last):
    return [np.where(np.abs(gradient) < 1e-6, 0, gradient) for gradient in now]


def halve(matrices, _moments):
    for matrix in matrices:
        matrix[...] = matrix.astype(np.float16)


def shorten_moments(_matrices, moments):
    for matrix in (*moments[0], *moments[1]):
        matrix[...] = rounded(matrix, 7)


def inflate(_matrices, moments):
    for matrix in moments[1]:
        matrix += 1e3


def restart(_matrices, moments):
    for matrix in (*moments[0], *moments[1]):
        matrix[...] = 0


WRONG = {
    "epsilon 1e-07": {"epsilon": 1e-7},
    "learning rate of about 0.00101": {"learning_rate": 1.01e-3},
    "beta2 of about 0.9991": {"beta2": 0.9991},
    "one batch was left out": {"change": skip},
    "gradients of the step before": {"change": stale},
    "products in tf32 or float16": {"precision": "tf32"},
    "products in tf32 or float16;": {"precision": "float16"},
    "products in bf16": {"precision": "bf16"},
    "parameters rounded to float16": {"after": halve},
    "moments rounded to bfloat16": {"after": shorten_moments},
    "mean over the batch missing in the gradient": {"change": times_64},
}


@pytest.mark.parametrize("hint", WRONG)
def test_a_wrong_part_is_not_proved_and_is_named(task, hint):
    part, training = part_of(task, **WRONG[hint]), Training(*task)
    assert not prove(training, part, LIMITS).proved
    assert hint in explain(training, part, LIMITS)


@pytest.mark.parametrize("wrong", [without_tiny, inflate, restart])
def test_what_the_optimizer_needs_must_be_there(task, wrong):
    pieces = {"change": wrong} if wrong is without_tiny else {"after": wrong}
    assert not prove(Training(*task), part_of(task, **pieces), LIMITS).proved


def test_a_right_part_is_proved_and_the_same_one_is_followed_from_parameters(task):
    part, training = part_of(task), Training(*task)
    verdict = prove(training, part, LIMITS)
    assert verdict.proved
    hidden = part._replace(end=part.end._replace(optimizer=None))
    assert prove(training, hidden, LIMITS, from_parameters=True, own=part.start).proved
    assert not prove(training, hidden, LIMITS).proved


def test_a_precision_that_is_declared_is_followed(task):
    part = part_of(task, precision="bf16")
    limits = Limits(
        steps=60,
        tolerance=replace(
            BASES[0].tolerance, loss=1e-3, displacement=4e-3, first=5e-3, second=2e-3
        ),
    )
    assert prove(Training(*task, precision="bf16"), part, limits).proved
    assert not prove(Training(*task), part, limits).proved


def test_a_part_that_spans_epochs_is_named():
    """Every mistake of the table is tried, and none asks for more examples than there are."""
    task = make_task(catalog.workloads()["toy-sigmoid"], datasets.load_toy(), seed=0)
    spec, examples, size = task.network, task.train, task.batch_size
    order = np.tile(np.arange(size), 30)
    right = Training(spec, examples)
    for wrong, hint in (
        (lambda _step, now, _last: [-g for g in now], "opposite sign"),
        (nothing, None),
    ):
        training = Altered(spec, examples, dtype=np.float32)
        training.change = wrong
        start = fresh(spec, task.layers)
        training.load(start)
        losses = np.array(training.follow(minibatches(order, size)), np.float32)
        found = explain(right, Part(order, size, start, training.state(), losses), LIMITS)
        assert found == hint or hint in found


def nothing(step, now, _last):
    rng = np.random.default_rng(step)
    return [rng.standard_normal(gradient.shape).astype(np.float32) for gradient in now]


def test_a_count_of_steps_that_is_wrong_is_no_proof(task):
    part = part_of(task)
    end = part.end._replace(optimizer=part.end.optimizer._replace(steps=7))
    assert not prove(Training(*task), part._replace(end=end), LIMITS).proved


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.hint)
def test_every_mistake_can_be_made_in_a_part_that_spans_epochs(task, mistake):
    spec, examples = task
    layers, order = seeding.initial_layers(spec, "uniform", 1), np.tile(np.arange(8)[::-1], 4)
    problem = Problem(spec, layers, examples.rows(slice(8)), [order], 8)
    with np.errstate(all="ignore"):
        assert mistake.train(problem).losses
