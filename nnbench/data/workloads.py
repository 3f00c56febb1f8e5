"""Workloads: what is trained, on which data, how long, and how well it should do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from nnbench.contract import hookimpl
from nnbench.contract.bounds import Count, Name, Number, Penalty, Share, Text
from nnbench.contract.spec import Activation, Loss, NetworkSpec, Optimizer
from nnbench.texts import recordable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Initial = Literal["uniform", "normal"]
OVERRIDES = (  #: what derive can change
    *("dataset", "hidden", "activation", "optimizer", "learning_rate"),
    *("batch_size", "epochs", "target_accuracy"),
)
#: Epochs of a quick look: one, or all that a workload has where a batch is all examples, since a
#: single step is cold, and no number is made of it.
BRIEF = 0
DERIVED = "+"  #: in the name of a workload: what comes after it was changed
ADAM = Optimizer(kind="adam", learning_rate=1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A training task that every backend carries out alike."""

    name: Annotated[Name, Meta(description="in tables and file names")]
    summary: Annotated[Text, Meta(description="one line for nnbench list")]
    dataset: Annotated[Name, Meta(description="a dataset's name, or a folder of IDX files")]
    hidden: Annotated[tuple[Count, ...], Meta(description="units of each hidden layer")]
    activation: Annotated[Activation, Meta(description="of the hidden layers")] = "relu"
    loss: Annotated[Loss, Meta(description="what training minimizes")] = "cross_entropy"
    bias: Annotated[bool, Meta(description="add a bias to every unit")] = True
    l2: Annotated[Penalty, Meta(description="strength of the penalty on the weights")] = 0.0
    optimizer: Optimizer = ADAM
    #: None: the whole training split
    batch_size: Annotated[Count | None, Meta(description="examples in a step")] = 64
    epochs: Annotated[Count, Meta(description="passes over the training split")] = 5
    target_accuracy: Annotated[Share | None, Meta(description="fraction of the test split")] = None
    validation: Annotated[Number, Meta(description="examples held out of training, to test on")] = 0
    shuffle: Annotated[bool, Meta(description="draw a new order in every epoch")] = True
    initial: Annotated[Initial, Meta(description="distribution of the parameters")] = "uniform"

    @property
    def base(self) -> str:
        """The name of what it was derived from; its own, if that is nothing."""
        return self.name.partition(DERIVED)[0]

    def differences(self, other: Workload) -> list[str]:
        """Name the fields in which another workload trains something else, with both values."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        fields = (key for key in mine if key not in {"name", "summary"})
        return [f"{k} ({mine[k]}, {theirs[k]})" for k in fields if mine[k] != theirs[k]]

    def network(self, inputs: int, outputs: int) -> NetworkSpec:
        """Return the network for a dataset with so many inputs and outputs."""
        return NetworkSpec(
            sizes=(inputs, *self.hidden, outputs),
            activation=self.activation,
            loss=self.loss,
            optimizer=self.optimizer,
            bias=self.bias,
            l2=self.l2,
        )


def derive(workload: Workload, overrides: Mapping[str, Any]) -> Workload:
    """Return ``workload`` with some fields replaced, under a name that says so.

    Keys are the fields of Workload, and ``learning_rate`` and ``optimizer`` (its kind), which
    change the optimizer. ``epochs`` may be BRIEF. A value equal to the workload's own changes nothing. The target
    accuracy belongs to the workload as published: a derived one has none unless it is given.
    """
    optimizer = workload.optimizer
    if overrides.get("epochs") == BRIEF:
        is_step = overrides.get("batch_size", workload.batch_size) is None
        overrides = {**overrides, "epochs": workload.epochs if is_step else 1}
    own = dataclasses.asdict(workload)
    own |= {"optimizer": optimizer.kind, "learning_rate": optimizer.learning_rate}
    changes = {key: value for key, value in overrides.items() if value != own[key]}
    if not changes:
        return workload
    suffix = ",".join(_spell(key, value) for key, value in changes.items())
    changes["optimizer"] = dataclasses.replace(
        optimizer,
        kind=changes.get("optimizer", optimizer.kind),
        learning_rate=changes.pop("learning_rate", optimizer.learning_rate),
    )
    name, target = f"{workload.name}{DERIVED}{suffix}", overrides.get("target_accuracy")
    return dataclasses.replace(workload, **{**changes, "name": name, "target_accuracy": target})


def _spell(key: str, value: object) -> str:
    match key, value:
        case "dataset", str(path):
            value = recordable(Path(path).absolute().name)  # of "." as well
        case _, tuple(units):
            value = ",".join(map(str, units)) or "none"
        case _, None:
            value = "full" if key == "batch_size" else "none"
    return f"{key}={value}"


@hookimpl
def nnbench_workloads() -> Sequence[Workload]:
    """Register the workloads that ship with nnbench."""
    mnist = Workload(
        name="mnist",
        summary="784-50-10, ReLU, Adam, to 96.1% in up to 5 epochs",
        dataset="mnist",
        hidden=(50,),
        target_accuracy=0.961,
    )
    sgd = dataclasses.replace(
        mnist,
        name="mnist-sgd",
        summary="784-50-10, ReLU, gradient descent, to 95% in up to 5 epochs",
        optimizer=Optimizer(kind="sgd", learning_rate=0.1),
        target_accuracy=0.95,
    )
    lesson5 = dataclasses.replace(
        mnist,
        name="mnist-lesson5",
        summary="tutorial one to the letter: a new Adam in every step, one epoch",
        optimizer=Optimizer(kind="adam-fresh", learning_rate=1e-3),
        epochs=1,
        target_accuracy=None,
        validation=10_000,
    )
    sigmoid = dataclasses.replace(
        mnist,
        name="mnist-sigmoid",
        summary="784-50-10, sigmoid, no biases, squared error, gradient descent",
        activation="sigmoid",
        loss="squared_error",
        bias=False,
        optimizer=Optimizer(kind="sgd", learning_rate=10.0),
        target_accuracy=None,
    )
    wide = dataclasses.replace(
        mnist,
        name="mnist-wide",
        summary="784-512-512-10, ReLU, Adam, batch 512",
        hidden=(512, 512),
        batch_size=512,
        target_accuracy=None,
    )
    toy = Workload(
        name="toy-sigmoid",
        summary="tutorial two: 3-5-5-1, sigmoid, no biases, squared error, 100 full-batch steps",
        dataset="toy",
        hidden=(5, 5),
        activation="sigmoid",
        loss="squared_error",
        bias=False,
        optimizer=Optimizer(kind="sgd", learning_rate=1.0),
        batch_size=None,
        epochs=100,
        shuffle=False,
        initial="normal",
    )
    return [mnist, sgd, lesson5, sigmoid, wide, toy]
