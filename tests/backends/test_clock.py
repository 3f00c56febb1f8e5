"""Compilations that PyTorch counts."""

import pytest

from nnbench import catalog
from nnbench.testing.networks import SPECS
from tests.problems import KINDS, make_examples, make_spec


def test_there_is_nothing_to_wait_for_before_parameters_are_loaded(backend):
    spec = make_spec((6, 5, 3), KINDS[0])
    network = backend.network(spec, 8)
    network.place(make_examples(spec, 20))
    network.synchronize()


def test_torch_counts_compilations():
    torch = pytest.importorskip("torch")
    network = catalog.backends()["torch-cpu"].network(SPECS[0], 8)
    double = torch.compile(lambda x: x * 2, backend="eager")
    before = network.compilations()
    double(torch.ones(3))
    assert network.compilations() == before + 1
    double(torch.ones(3))
    assert network.compilations() == before + 1
    double(torch.ones(3, 4))  # a new shape
    assert network.compilations() == before + 2
