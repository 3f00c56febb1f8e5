"""Workloads: what ships, and what overrides make of one."""

from dataclasses import replace
from pathlib import Path

import pytest

from nnbench import Optimizer, catalog
from nnbench.data import workloads
from nnbench.data.workloads import derive

MNIST_PARAMETERS = 784 * 50 + 50 + 50 * 10 + 10


def test_mnist_is_the_published_network(mnist):
    network = mnist.network(784, 10)
    assert network.sizes == (784, 50, 10)
    assert network.parameter_count == MNIST_PARAMETERS
    assert mnist.target_accuracy == 0.961


@pytest.mark.parametrize("name", catalog.workloads())
def test_shipped_workload_has_a_known_dataset(name):
    workload = catalog.workloads()[name]
    assert workload.name == name
    assert workload.dataset in catalog.datasets()


@pytest.mark.parametrize("hidden", [(), (7,), (7, 8, 9)])
def test_network_lies_between_inputs_and_outputs(mnist, hidden):
    assert replace(mnist, hidden=hidden).network(3, 2).sizes == (3, *hidden, 2)


def test_network_takes_everything_from_the_workload(mnist):
    changes = {"activation": "sigmoid", "loss": "squared_error", "bias": False, "l2": 0.5}
    network = replace(mnist, **changes).network(3, 2)
    assert {key: getattr(network, key) for key in changes} == changes
    assert network.optimizer == mnist.optimizer


@pytest.mark.parametrize(
    ("overrides", "suffix"),
    [
        ({"epochs": 1}, "epochs=1"),
        ({"batch_size": 32}, "batch_size=32"),
        ({"batch_size": None}, "batch_size=full"),
        ({"hidden": (128, 64)}, "hidden=128,64"),
        ({"hidden": ()}, "hidden=none"),
        ({"activation": "sigmoid"}, "activation=sigmoid"),
        ({"learning_rate": 0.01}, "learning_rate=0.01"),
        ({"optimizer": "sgd"}, "optimizer=sgd"),
        ({"target_accuracy": 0.9}, "target_accuracy=0.9"),
        ({"dataset": "toy"}, "dataset=toy"),
        ({"dataset": "data/emnist"}, "dataset=emnist"),
        ({"dataset": "/data/emnist/"}, "dataset=emnist"),
        ({"epochs": 2, "batch_size": 8}, "epochs=2,batch_size=8"),
    ],
)
def test_name_says_what_is_overridden(mnist, overrides, suffix):
    assert derive(mnist, overrides).name == f"mnist+{suffix}"


def test_name_of_the_working_directory_is_its_own(mnist, tmp_path, monkeypatch):
    (tmp_path / "letters").mkdir()
    monkeypatch.chdir(tmp_path / "letters")
    derived = derive(mnist, {"dataset": "."})
    assert derived.name == "mnist+dataset=letters"
    assert Path(derived.dataset) == Path()


@pytest.mark.parametrize(
    "overrides",
    [
        {"epochs": 1},
        {"batch_size": 32},
        {"hidden": (128, 64)},
        {"activation": "sigmoid"},
        {"dataset": "elsewhere"},
    ],
)
def test_only_what_is_overridden_changes(mnist, overrides):
    derived = derive(mnist, overrides)
    expected = {**overrides, "name": derived.name, "target_accuracy": None}
    assert derived == replace(mnist, **expected)


@pytest.mark.parametrize(
    ("overrides", "optimizer"),
    [
        ({"learning_rate": 0.5}, Optimizer(kind="adam", learning_rate=0.5)),
        ({"optimizer": "sgd"}, Optimizer(kind="sgd", learning_rate=1e-3)),
        (
            {"optimizer": "adam-fresh", "learning_rate": 2.0},
            Optimizer(kind="adam-fresh", learning_rate=2.0),
        ),
        ({"epochs": 1}, workloads.ADAM),
    ],
)
def test_learning_rate_and_kind_change_the_optimizer(mnist, overrides, optimizer):
    assert derive(mnist, overrides).optimizer == optimizer


def test_other_parameters_of_the_optimizer_stay(mnist):
    own = Optimizer(kind="adam", learning_rate=1e-3, beta1=0.5, beta2=0.6, epsilon=0.1)
    derived = derive(replace(mnist, optimizer=own), {"learning_rate": 0.2})
    assert derived.optimizer == replace(own, learning_rate=0.2)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"epochs": 5},
        {"hidden": (50,), "batch_size": 64},
        {"dataset": "mnist"},
        {"optimizer": "adam", "learning_rate": 1e-3},
        {"target_accuracy": 0.961},
    ],
)
def test_same_value_changes_nothing(mnist, overrides):
    assert derive(mnist, overrides) is mnist


def test_same_value_beside_another_is_not_in_the_name(mnist):
    assert derive(mnist, {"epochs": 1, "batch_size": 64}).name == "mnist+epochs=1"


@pytest.mark.parametrize("overrides", [{"epochs": 1}, {"optimizer": "sgd"}, {"hidden": (8,)}])
def test_derived_workload_has_no_target(mnist, overrides):
    assert derive(mnist, overrides).target_accuracy is None


@pytest.mark.parametrize("target", [0.5, 0.961])
def test_target_that_is_given_is_kept(mnist, target):
    derived = derive(mnist, {"epochs": 1, "target_accuracy": target})
    assert derived.target_accuracy == target
    assert derived.epochs == 1


def test_derived_workload_may_be_derived_again(mnist):
    derived = derive(derive(mnist, {"epochs": 1}), {"batch_size": 8})
    assert (derived.epochs, derived.batch_size) == (1, 8)
    assert derived.name == "mnist+epochs=1+batch_size=8"
