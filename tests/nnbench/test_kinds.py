"""Where one place forgets a kind, it says so: nothing trains another network instead."""

import subprocess
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from nnbench import Examples, Optimizer, catalog, reference
from nnbench.contract import spec as contract
from nnbench.proof.mistakes import MISTAKES
from nnbench.testing import problems
from tests.conftest import variants
from tests.problems import KINDS, make_layers, make_spec

SPEC = make_spec((6, 5, 3), KINDS[0])
UNKNOWN = {  # each in one place of a network
    "momentum": replace(SPEC, optimizer=Optimizer(kind="momentum", learning_rate=0.1)),
    "softplus": replace(SPEC, activation="softplus"),
    "hinge": replace(SPEC, loss="hinge"),
}
#: whatever the loss wants, it is there
EXAMPLES = Examples(np.eye(6, dtype=np.float32), np.arange(6) % 3, None)
unknown = pytest.mark.parametrize("kind", UNKNOWN)


@unknown
@pytest.mark.parametrize("name", sorted(variants()))
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
def test_a_backend_refuses_a_kind_that_it_does_not_know(name, kind):
    backend = variants()[name]
    if reason := catalog.why_unavailable(backend):
        pytest.skip(reason)
    with pytest.raises(Exception, match=kind):
        train(backend.network(UNKNOWN[kind], 6))


def train(network):
    network.load(make_layers(SPEC))
    batch = network.batch(network.place(EXAMPLES), np.arange(6))
    network.feedforward(batch)
    network.backprop(batch)
    network.update()


@unknown
def test_the_reference_refuses_a_kind_that_it_does_not_know(kind):
    with pytest.raises((AssertionError, KeyError), match=kind):
        reference.train(UNKNOWN[kind], make_layers(SPEC), [EXAMPLES])


@unknown
def test_no_known_mistake_is_made_with_a_kind_that_is_not_known(kind):
    right = problems.make_problem(SPEC)
    problem = replace(right, spec=UNKNOWN[kind])
    for mistake in MISTAKES:
        with pytest.raises((AssertionError, KeyError), match=kind):
            mistake.train(problem)


def test_traffic_is_not_counted_for_a_kind_that_is_not_known():
    with pytest.raises(KeyError, match="momentum"):
        UNKNOWN["momentum"].traffic(1)


def test_examples_are_not_drawn_for_a_loss_that_is_not_known():
    with pytest.raises(AssertionError, match="hinge"):
        problems.make_examples(UNKNOWN["hinge"], 3)


@pytest.mark.parametrize(
    ("members", "where"),
    [("OptimizerKind", "OPTIMIZERS"), ("Activation", "ACTIVATIONS"), ("Loss", "LOSSES")],
)
def test_the_networks_of_the_conformance_suite_have_every_kind(members, where):
    """A member is added to the type alone, before the suite is imported."""
    program = (
        "from typing import Literal; from nnbench.contract import spec; import nnbench.proof.mistakes;"
        f"spec.{members} = Literal[*spec.{members}.__args__, 'new']; import nnbench.testing.networks"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == f"TypeError: {where}: missing or unknown: new"


def test_the_table_of_optimizers_has_every_kind():
    assert set(contract.RULES) == set(get_args(contract.OptimizerKind))
    with pytest.raises(TypeError, match="RULES: missing or unknown: momentum"):
        contract.require_all({*contract.RULES, "momentum"}, contract.OptimizerKind, "RULES")


@pytest.mark.parametrize("kind", get_args(contract.OptimizerKind))
def test_what_depends_on_earlier_steps_keeps_moments(kind):
    """The reference, held against the table: a second step equals a first one, or does not."""
    optimizer = Optimizer(kind=kind, learning_rate=0.1)
    moved, gradients = np.zeros(2), [np.array([1.0, 2.0]), np.array([3.0, -1.0])]
    update = reference.Update(optimizer, [moved])
    update([gradients[0]])
    before = moved.copy()
    update([gradients[1]])
    alone = np.zeros(2)
    reference.Update(optimizer, [alone])([gradients[1]])
    assert (moved - before != pytest.approx(alone)) == contract.RULES[kind].keeps_moments
