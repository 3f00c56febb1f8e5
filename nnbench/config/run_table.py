"""Every option of ``nnbench run``: its name, type, bounds, default and help, for all who need them.

The command line, the keys of a configuration file and the published schema come from
:class:`RunTable`, so a new option is a new field here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from nnbench.contract.backend import OptionValue
from nnbench.contract.bounds import Count, Name, Patience, Positive, Share
from nnbench.contract.spec import Activation, OptimizerKind
from nnbench.data.workloads import BRIEF, Workload
from nnbench.records.cells import ProofMode

if TYPE_CHECKING:
    from collections.abc import Mapping

Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Units = tuple[Count, ...]
EffortName = Literal["quick", "rigorous"]  #: a key in files, flags on the command line


class Effort(NamedTuple):
    """Values of other options under one name."""

    help: str
    values: Mapping[str, float]


EFFORTS: dict[EffortName, Effort] = {
    "quick": Effort(
        "One round of one epoch, or of all if a batch is all examples; 2 s of training each.",
        {"rounds": 1, "budget": 2.0, "epochs": BRIEF},
    ),
    "rigorous": Effort("At least 10 rounds.", {"rounds": 10}),
}


@dataclass(frozen=True, slots=True)
class Option:
    """How an option is spelled, and what it means."""

    help: str  #: on the command line
    flags: tuple[str, ...] = ()  #: a letter, or another name than the field's
    default: Any = None
    shown: str = ""  #: the default in words, where it depends on others
    metavar: str | None = None
    in_file: str = ""  #: what it means in a file, if that is something else

    @property
    def description(self) -> str:
        """What the key means in a file."""
        text = self.in_file or self.help.removesuffix(".")
        return text if text[:2].isupper() else text[:1].lower() + text[1:]


def option(text: str, *flags: str, **more: Any) -> Any:
    """Return a field; None is an option that was not given."""
    return field(default=None, metadata={"option": Option(text, flags, **more)})


@dataclass(frozen=True, slots=True, kw_only=True)
class AxesTable:
    """Options with several values each."""

    workload: (
        Annotated[list[Name], Meta(min_length=1, description="names, or workload files")] | None
    ) = None
    dataset: Annotated[list[Name], Meta(min_length=1, description="names, or folders")] | None = (
        None
    )
    hidden: (
        Annotated[
            list[Units], Meta(min_length=1, description="networks: units of each hidden layer")
        ]
        | None
    ) = None
    activation: (
        Annotated[list[Activation], Meta(min_length=1, description="of hidden layers")] | None
    ) = None
    optimizer: (
        Annotated[list[OptimizerKind], Meta(min_length=1, description="kinds of optimizers")] | None
    ) = None
    learning_rate: (
        Annotated[list[Positive], Meta(min_length=1, description="step sizes")] | None
    ) = None
    batch_size: (
        Annotated[list[Count], Meta(min_length=1, description="examples in a step")] | None
    ) = None
    epochs: (
        Annotated[list[Count], Meta(min_length=1, description="passes over the training set")]
        | None
    ) = None
    threads: (
        Annotated[list[Count], Meta(min_length=1, description="CPU threads of each backend")] | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTable:
    """The points of a run: each has a value of each axis."""

    grid: Annotated[AxesTable, Meta(description="each value with each of the others")] | None = None
    zip: (
        Annotated[AxesTable, Meta(description="first values together, then second ones, and so on")]
        | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """A run of nnbench; paths are relative to the folder of the file."""

    backends: Name | Annotated[list[Name], Meta(min_length=1)] | None = option(
        "Backends, with commas: all, numpy, torch-cpu[threads=2]. May be repeated.",
        "-b",
        default=("all",),
        metavar="NAMES",
        in_file="names, as after --backends, or a list of them",
    )
    workload: Name | Workload | None = option(
        "What to train: a name, or a .toml file.",
        "-w",
        default="mnist",
        in_file="a name, a workload file, or the workload itself",
    )
    dataset: Name | None = option("Another dataset: a name, or a folder of IDX files.")
    epochs: Count | None = option("Passes over the training set.")
    batch_size: Count | None = option("Examples in a step.")
    hidden: Units | None = option(
        "Units of the hidden layers: 128,64 or none.", in_file="units of each hidden layer"
    )
    activation: Activation | None = option("Of hidden layers.")
    optimizer: OptimizerKind | None = option(
        "What updates the parameters; adam-fresh forgets its moments before each step.",
        in_file="kind of optimizer",
    )
    learning_rate: Positive | None = option("Step size of the optimizer.", in_file="step size")
    target_accuracy: Share | None = option(
        "Accuracy that training must reach, in percent: 97, or 0.97.",
        "--target",
        in_file="that training must reach, as a fraction",
    )
    sweep: SweepTable | None = option(
        "", in_file="several values of options: each combination is a point of the run"
    )
    rounds: Count | None = option(
        "Blocks of each point, each with a seed of its own.", "-r", default=3
    )
    detect: Share | None = option(
        "Make rounds until each verdict is in: that a backend differs from the baseline, or by less than "
        "this, in percent. At most 100 rounds, or --rounds.",
        in_file="make rounds until each verdict is in: that a backend differs from the baseline, or by "
        "less than this, a fraction",
    )
    seed: Seed | None = option(
        "Of the first round, to repeat a run or to pair it with another. Whoever knows it can "
        "prepare for it, so by default each round has one that nobody could know.",
        shown="random",
        in_file="of the first round; without one each round has one that nobody could know",
    )
    proof: ProofMode | None = option(
        "How much of the training the judge follows after the timed cells: every step, the first "
        "epoch and parts that are drawn or suspicious, or none, which leaves no ranks.",
        default="sampled",
        in_file="how much of the training the judge follows",
    )
    keep_states: bool | None = option(
        "Keep the states at the cuts in the folder of the results, so that others can prove them again.",
        default=False,
    )
    require_proof: bool | None = option(
        "End with 6 if a step of a backend was not proved; goes with --proof full.",
        default=False,
        in_file="end with 6 if a step of a backend was not proved",
    )
    require_all: bool | None = option(
        "End with 4 if a backend that was named does not train this workload.", default=False
    )
    whole: bool | None = option(
        "Train each backend of a round from its start to its end, one after the other, and again where "
        "it was disturbed; not all in turns, part by part.",
        default=False,
    )
    threads: Count | None = option("CPU threads of each backend.", "-t", default=1)
    budget: Patience | None = option("Seconds of training a cell may use.", default=15)
    timeout: Patience | None = option("Seconds after which a cell is killed.", default=300)
    baseline: Name | None = option("The backend whose time is 1.", shown="numpy")
    roofline: bool | None = option(
        "Measure the machine's ceilings, and each backend's share.", default=False
    )
    executor: Name | dict[Name, OptionValue] | None = option(
        "Where blocks run: an executor's name, with parameters as those of a backend.",
        default="local",
        in_file="where blocks run: as after --executor, or a table with its name and its parameters",
    )
    output: Name | None = option("Folder of the results.", "-o", shown="results/<time>-<workload>")
    effort: EffortName | None = option("", in_file="as --quick and --rigorous")
    progress: bool | None = option("Show how the run goes on.", default=True)


#: Keys that a file alone has: on the command line the options themselves take several values.
OF_FILES = {"sweep"}
#: Those of several values, each a point of the run with what others have; with commas, or where a value may have some
#: by naming the option again.
SEVERAL = tuple(each.name for each in fields(AxesTable))
REPEATED = {"dataset", "hidden"}
OPTIONS: dict[str, Option] = {each.name: each.metadata["option"] for each in fields(RunTable)}
