"""Turn a workload and a seed into what is trained on: data, network, parameters, orders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from nnbench.contract.errors import DatasetError, NnbenchError
from nnbench.contract.spec import Examples
from nnbench.data import seeding
from nnbench.data.datasets import Dataset, Splits, beside, beyond_memory, is_folder, load_folder
from nnbench.texts import recordable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.data.workloads import Workload


FLOAT64 = 8  #: bytes, of what parameters are drawn as
MOST_HIDDEN = 1000  #: layers; what a step does beside products grows with them


@dataclass(frozen=True)
class Task:
    """A workload with its data in memory and everything random drawn."""

    workload: Workload
    seed: int
    train: Examples
    test: Examples
    labels: NDArray[np.int64] | None  #: of the test split, shape (M,), where there are classes
    network: NetworkSpec
    layers: list[Layer]
    batch_size: int

    def orders(self) -> Iterator[NDArray[np.int64]]:
        """Yield the order of the training examples, epoch after epoch."""
        return seeding.epoch_orders(self.workload, len(self.train.inputs), self.seed)


def load_dataset(name: str, known: Mapping[str, Dataset] | None = None) -> Splits:
    """Load a dataset: one of those that are known, by default of all plugins, or a folder of IDX files.

    Raises
    ------
    DatasetError
        If it cannot be loaded.
    """
    from nnbench import catalog  # the judge imports this module, and no plugin's manager

    found = find_dataset(name, catalog.datasets() if known is None else known)
    return load_folder(Path(name)) if found is None else found.load()


def find_dataset(name: str, known: Mapping[str, Dataset]) -> Dataset | None:
    """Return a dataset by name; None is a folder of IDX files.

    Raises
    ------
    NnbenchError
        If it is neither.
    """
    from nnbench import catalog  # as above

    if name not in known and is_folder(name):
        if name != recordable(name):
            raise DatasetError(
                f"{name}: results cannot hold a name that is not UTF-8; name a link to it"
            )
        return None
    return catalog.find("dataset or folder", name, {**dict.fromkeys(beside(name)), **known})


def load_splits(workload: Workload) -> Splits:
    """Load the workload's dataset in this process.

    Raises
    ------
    DatasetError
        If it cannot be loaded, or does not fit the workload.
    """
    splits = load_dataset(workload.dataset)
    check_fit(workload, splits)
    return splits


def check_fit(workload: Workload, splits: Splits) -> None:
    """Refuse a dataset that does not fit a workload, and a network that no memory here holds.

    Raises
    ------
    NnbenchError
        If so; the message says what is wrong.
    """
    match workload.loss:
        case "cross_entropy":
            if splits.train.labels is None:
                message = "target values, but cross-entropy needs classes"
                raise DatasetError(f"{workload.dataset}: {message}")
        case "squared_error":
            pass  # of classes, too: they become one-hot
        case _:
            assert_never(workload.loss)
    if splits.test.labels is None and workload.target_accuracy is not None:
        raise DatasetError(f"{workload.dataset}: no classes, so a target accuracy means nothing")
    if workload.validation >= len(splits.train.inputs):
        raise DatasetError(
            f"{workload.dataset}: {len(splits.train.inputs):,} training examples are too few "
            f"to hold out {workload.validation:,}"
        )
    if (hidden := len(workload.hidden)) > MOST_HIDDEN:
        raise NnbenchError(
            f"the network has {hidden:,} hidden layers; take at most {MOST_HIDDEN:,}"
        )
    count = workload.network(splits.train.inputs.shape[1], splits.outputs).parameter_count
    if beyond := beyond_memory(count * FLOAT64):
        text = f"the {count:,} parameters of its network take {beyond}"
        raise NnbenchError(f"{workload.name}: {text}; take fewer hidden units")


def make_task(workload: Workload, splits: Splits, seed: int) -> Task:
    """Fit a dataset in memory to a workload, and draw what is random."""
    return draw_task(workload, fit_splits(workload, splits), seed)


def fit_splits(workload: Workload, splits: Splits) -> Splits:
    """Return what a workload trains on and is tested on, which keeps its classes if it has any."""
    train, test = splits.train, splits.test
    if workload.validation:
        cut = len(train.inputs) - workload.validation
        train, test = train.rows(slice(cut)), train.rows(slice(cut, None))
    network = workload.network(train.inputs.shape[1], splits.outputs)
    fitted = fit(test, network)._replace(labels=test.labels)
    return splits._replace(train=fit(train, network), test=fitted)


def draw_task(workload: Workload, fitted: Splits, seed: int) -> Task:
    """Draw what is random for data that :func:`fit_splits` has fitted."""
    count, inputs = fitted.train.inputs.shape
    network = workload.network(inputs, fitted.outputs)
    return Task(
        workload=workload,
        seed=seed,
        train=fitted.train,
        test=fit(fitted.test, network),
        labels=fitted.test.labels,
        network=network,
        layers=seeding.initial_layers(network, workload.initial, seed),
        batch_size=min(workload.batch_size or count, count),
    )


def load_task(workload: Workload, seed: int) -> Task:
    """Load a dataset and make the task of one seed."""
    return make_task(workload, load_splits(workload), seed)


def fit(examples: Examples, network: NetworkSpec) -> Examples:
    """Give examples the labels or the targets that the loss needs: classes become one-hot."""
    match network.loss:
        case "cross_entropy":
            return examples._replace(targets=None)
        case "squared_error":
            return Examples(examples.inputs, None, examples.one_hot(network.sizes[-1]))
        case _:
            assert_never(network.loss)
