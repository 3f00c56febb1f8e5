"""What a configuration file may say: every option of ``nnbench run``, under the option's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from nnbench.contract.spec import Activation, OptimizerKind, Positive
from nnbench.data.workloads import Count, Name, Share, Workload

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """A run of nnbench; paths are relative to the folder of the file."""

    backends: Annotated[
        Name | Annotated[list[Name], Meta(min_length=1)] | None,
        Meta(description="names, as after --backends, or a list of them"),
    ] = None
    workload: Annotated[
        Name | Workload | None, Meta(description="a name, a workload file, or the workload itself")
    ] = None
    dataset: Annotated[
        Name | None, Meta(description="another dataset: a name, or a folder of IDX files")
    ] = None
    epochs: Annotated[Count | None, Meta(description="passes over the training split")] = None
    batch_size: Annotated[Count | None, Meta(description="examples in a step")] = None
    hidden: Annotated[tuple[Count, ...] | None, Meta(description="units of each hidden layer")] = (
        None
    )
    activation: Annotated[Activation | None, Meta(description="of the hidden layers")] = None
    optimizer: Annotated[OptimizerKind | None, Meta(description="kind of optimizer")] = None
    learning_rate: Annotated[Positive | None, Meta(description="step size")] = None
    target_accuracy: Annotated[
        Share | None, Meta(description="that training must reach, as a fraction")
    ] = None
    rounds: Annotated[Count | None, Meta(description="blocks, each with a seed of its own")] = None
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=LARGEST_SEED)] | None, Meta(description="of the first round")
    ] = None
    threads: Annotated[Count | None, Meta(description="CPU threads of each backend")] = None
    budget: Annotated[Positive | None, Meta(description="seconds of training a cell may use")] = (
        None
    )
    timeout: Annotated[
        Positive | None, Meta(description="seconds after which a cell is killed")
    ] = None
    baseline: Annotated[Name | None, Meta(description="the backend whose time is 1")] = None
    roofline: Annotated[
        bool | None, Meta(description="measure the machine's ceilings, and each backend's share")
    ] = None
    output: Annotated[Name | None, Meta(description="folder of the results")] = None
    effort: Annotated[
        Literal["quick", "rigorous"] | None, Meta(description="as --quick and --rigorous")
    ] = None
    progress: Annotated[bool | None, Meta(description="show how the run goes on")] = None
