"""What is particular to the PyTorch backends; the conformance tests train all but one of them.

``torch-compile`` takes seconds for every network, so it gets few here, which between them have
every activation, loss, optimizer, and bias and L2 on and off.
"""

import os
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

from nnbench import catalog, minibatches, reference
from nnbench.testing import diagnosis
from nnbench.testing.problems import Problem
from nnbench_torch import why_no_compiler
from tests.backends.expected import train_reference
from tests.conftest import give
from tests.problems import (
    KINDS,
    OPTIMIZERS,
    distance,
    kind_name,
    make_examples,
    make_layers,
    make_spec,
)

torch = pytest.importorskip("torch")

EXAMPLES, BATCH_SIZE = 20, 8  # the last batch is smaller
SGD, ADAM, _, FRESH = OPTIMIZERS
RELU = KINDS[0]
COMPILED = [
    (RELU, ADAM),
    ({"activation": "sigmoid", "loss": "squared_error", "bias": False, "l2": 0.03}, SGD),
    ({"activation": "relu", "loss": "squared_error", "bias": True, "l2": 0.03}, FRESH),
]
#: PyTorch's compiler uses what PyTorch deprecates
compiles = pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")


def make(name, spec, **options):
    network = give(name).network(spec, BATCH_SIZE, **options)
    network.load(make_layers(spec))
    return network


def train(network, examples, epochs=3):
    """Train some epochs; return the losses, and those of the reference with its parameters."""
    data = network.place(examples)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(epochs)]
    losses = [network.train_epoch(data, order, BATCH_SIZE) for order in orders]
    return np.concatenate(losses), train_reference(network.spec, examples, orders, BATCH_SIZE)


def verify_state(network, examples):
    """Hold the optimizer's state after ``train`` against the reference's."""
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(3)]
    problem = Problem(network.spec, make_layers(network.spec), examples, orders, BATCH_SIZE)
    state = network.optimizer_state()
    if network.spec.optimizer.keeps_moments:
        assert diagnosis.state("state", state, problem) is None
    else:
        assert state is None


@compiles
@pytest.mark.parametrize(("kind", "optimizer"), COMPILED, ids=lambda x: getattr(x, "kind", None))
def test_compiled_epochs_match_the_reference(kind, optimizer):
    spec = make_spec((6, 5, 4, 3), kind, optimizer)
    network = make("torch-compile", spec)
    losses, (expected, layers) = train(network, make_examples(spec, EXAMPLES))
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4
    verify_state(network, make_examples(spec, EXAMPLES))


@compiles
def test_compiled_phases_equal_the_compiled_step_which_compiles_once():
    spec = make_spec((6, 5, 4, 3), RELU, ADAM)
    whole, stepwise = make("torch-compile", spec), make("torch-compile", spec)
    examples, order = make_examples(spec, EXAMPLES), np.arange(EXAMPLES - EXAMPLES % BATCH_SIZE)
    before = whole.compilations()
    data = whole.place(examples)
    first = whole.train_epoch(data, order, BATCH_SIZE)
    assert whole.compilations() == before + 1
    whole.load(make_layers(spec))
    assert np.array_equal(whole.train_epoch(data, order, BATCH_SIZE), first)
    assert whole.compilations() == before + 1
    exact = [reference.cast(layer, np.float64) for layer in make_layers(spec)]
    for index in minibatches(order, BATCH_SIZE):
        batch = stepwise.batch(data, index)
        logits = stepwise.feedforward(batch).numpy()
        assert logits == pytest.approx(stepwise.predict(batch), rel=1e-5, abs=1e-6)
        loss = stepwise.backprop(batch)
        if index[0] == 0:
            batch_examples = examples.rows(index)
            _, gradients = reference.backprop(spec, exact, batch_examples)
            assert float(loss) == pytest.approx(first[0], rel=1e-6)
            assert distance(stepwise.gradients(), gradients) < 1e-4
        stepwise.update()
    assert distance(stepwise.dump(), whole.dump()) < 1e-6
    assert stepwise.optimizer_state().steps == whole.optimizer_state().steps == len(order) // 8


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.epsilon}")
@pytest.mark.parametrize("name", ["torch-cpu", "torch-eager"])
def test_what_is_not_fused_matches_the_reference_too(name, optimizer):
    spec = make_spec((6, 5, 4, 3), RELU, optimizer)
    network = make(name, spec, fused=False)
    losses, (expected, layers) = train(network, make_examples(spec, EXAMPLES))
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4
    verify_state(network, make_examples(spec, EXAMPLES))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.epsilon}")
def test_the_tutorial_makes_a_new_optimizer_in_every_step(monkeypatch, optimizer):
    made = []
    name = "SGD" if optimizer.kind == "sgd" else "Adam"

    original = getattr(torch.optim, name)

    def make_and_count(*args, **kwargs):
        made.append(original(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(torch.optim, name, make_and_count)
    spec = make_spec((6, 5, 3), RELU, optimizer)
    network = make("torch-tutorial", spec)
    data = network.place(make_examples(spec, EXAMPLES))
    network.train_epoch(data, np.arange(EXAMPLES), BATCH_SIZE)
    assert len(set(map(id, made))) == 1 + 3  # with the network, then for each batch
    steps = [int(state["step"]) for state in made[-1].state.values() if "step" in state]
    assert set(steps) == {"sgd": set(), "adam": {3}, "adam-fresh": {1}}[optimizer.kind]


@pytest.mark.parametrize("name", ["torch-cpu", "torch-eager", "torch-tutorial"])
def test_phases_run_on_the_buffers_of_an_epoch(name):
    spec = make_spec((6, 5, 3), RELU, ADAM)
    network = make(name, spec)
    data = network.place(make_examples(spec, EXAMPLES))
    network.train_epoch(data, np.arange(EXAMPLES), BATCH_SIZE)
    before = network.dump()
    batch = network.batch(data, np.arange(BATCH_SIZE))
    network.feedforward(batch)
    network.backprop(batch)
    network.update()
    assert distance(network.dump(), before) > 0


@pytest.mark.parametrize("kind", KINDS[:2], ids=kind_name)
def test_the_flat_tensors_hold_every_layer(kind):
    spec = make_spec((6, 5, 4, 3), kind, SGD)
    network = make("torch-cpu", spec)
    [flat] = network._optimizer.parameters
    assert flat.numel() == spec.parameter_count
    flat.zero_()
    assert all(not layer.weight.any() for layer in network.dump())
    assert all(layer.bias is None or not layer.bias.any() for layer in network.dump())


@pytest.mark.parametrize("name", ["torch-cpu", "torch-eager", "torch-tutorial"])
def test_matrix_products_are_float32(name):
    torch.set_float32_matmul_precision("high")
    make(name, make_spec((6, 5, 3), RELU))
    assert torch.get_float32_matmul_precision() == "highest"


def test_no_compiler_is_a_reason(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler not found" in why_no_compiler()
    assert "no-such-compiler" in catalog.why_unavailable(catalog.backends()["torch-compile"])


def test_no_headers_are_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "true")  # a program that exists
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    assert "Python's headers" in why_no_compiler()
    (tmp_path / "Python.h").touch()
    assert why_no_compiler() is None


def test_no_variable_lowers_the_precision():
    """Some are read by the libraries below PyTorch, which then round in spite of it."""
    names = ("NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
    lowered = {**dict.fromkeys(names, "1"), "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    code = f"""
import ctypes
import torch
print(torch.get_float32_matmul_precision())
from nnbench.testing.networks import SPECS
from nnbench_torch.handwritten import HandwrittenNetwork
HandwrittenNetwork(SPECS[0])
print(torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32)
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print([getenv(name.encode()) for name in {names}])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | lowered,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["high", "highest False", "[None, None, None]"]
