"""Built-in backends give their moments under any network, whatever form they keep them in."""

from dataclasses import replace

import numpy as np
import pytest

from nnbench.proof.mistakes import RIGHT
from nnbench.testing import diagnosis
from nnbench.testing.problems import Problem, same_bits
from tests.problems import KINDS, OPTIMIZERS, kind_name, make_examples, make_layers, make_spec

ADAM = OPTIMIZERS[2]
EXAMPLES, BATCH_SIZE = 20, 8  # the last batch is smaller
NEVER_SET = [1, 4]  #: inputs


def make_problem(kind):
    """Two inputs are zero in every example."""
    spec = make_spec((6, 5, 4, 3), kind, ADAM)
    examples = make_examples(spec, EXAMPLES)
    examples.inputs[:, NEVER_SET] = 0
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(2)]
    return Problem(spec, make_layers(spec), examples, orders, BATCH_SIZE)


@pytest.mark.parametrize("kind", KINDS[:4], ids=kind_name)
def test_moments_of_every_kind_of_network(backend, kind):
    problem = make_problem(kind)
    network = backend.network(problem.spec, BATCH_SIZE)
    network.load(problem.layers)
    data = network.place(problem.examples)
    assert (
        diagnosis.state("at first", network.optimizer_state(), replace(problem, orders=[])) is None
    )
    for order in problem.orders:
        network.train_epoch(data, order, BATCH_SIZE)
    state = network.optimizer_state()
    assert diagnosis.state("after two epochs", state, problem) is None
    expected = RIGHT.train(problem).state.first[0].weight[NEVER_SET]
    assert expected.any() == (problem.spec.l2 > 0)
    if not problem.spec.l2:
        assert not state.first[0].weight[NEVER_SET].any()
        assert not state.second[0].weight[NEVER_SET].any()
    again = network.optimizer_state()
    assert same_bits(again.first, state.first)
    assert same_bits(again.second, state.second)
