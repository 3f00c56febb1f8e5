"""Every noun that crosses a pipe or lies on disk: statuses, cells, events, machines, runs.

A cell is one backend, one workload, one round, in a process of its own. What a worker is asked, what
it answers and what ``cells.jsonl`` and ``run.json`` hold are these records, and nothing else. What a value may
be, its type says (:mod:`nnbench.contract.bounds`), and whoever decodes it checks that.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

import msgspec

from nnbench.contract import DISTRIBUTION, FORMER
from nnbench.contract.backend import OptionValue, Precision
from nnbench.contract.bounds import (
    Amount,
    Bytes,
    CallCount,
    CallSeconds,
    Ceiling,
    Celsius,
    Count,
    Elapsed,
    Fraction,
    Line,
    Loss,
    Magnitude,
    Microseconds,
    Name,
    Number,
    Portion,
    Positive,
    Seconds,
    Seed,
    Share,
    Text,
)
from nnbench.contract.spec import NetworkSpec
from nnbench.data.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Of what crosses the pipe, and of ``nnbench list --json`` and ``info --json``: an nnbench can run
#: the workers of another one only if both have the same number. A test demands a raise with every
#: change that an older one would misread (tests/protocol.py); a new field with a default is none.
PROTOCOL = 5

SCHEMA_VERSION = 2  #: of a run on disk; nnbench.runs.store reads those before it, too
LOCAL = "local"  #: the name of the machine that nnbench itself runs on
OWN_NAMES = (DISTRIBUTION, FORMER)  #: of nnbench, among versions
DEFAULT_FLOOR = 0.05  #: of a machine that has not measured its own
DEFAULT_TURN_FLOOR = 0.01  #: likewise, where cells take turns


def now() -> str:
    """Return the time as records have it: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kind(Enum):
    """What a status says of a backend."""

    MEASURED = "measured"  #: it did what was asked
    WRONG = "wrong"  #: it trained, but not the network that was asked for, or not well enough
    FAILED = "failed"  #: it did not come to its end
    LOST = "lost"  #: nothing: its machine was lost, or what runs blocks there has failed
    SKIPPED = "skipped"  #: it was not asked to run


class Status(StrEnum):
    """What became of a cell. A member says what kind it is, and whether its figures count."""

    kind: Kind
    counts: bool  #: whether tables and comparisons use its figures

    OK = "ok", Kind.MEASURED, True
    BUDGET = "budget", Kind.MEASURED, True  #: as ok, until the budget ended the training
    TARGET_MISSED = "target_missed", Kind.WRONG, True
    DIVERGED = "diverged", Kind.WRONG, False
    INVALID = "invalid", Kind.WRONG, False
    TIMEOUT = "timeout", Kind.FAILED, False
    OOM = "oom", Kind.FAILED, False
    CRASHED = "crashed", Kind.FAILED, False
    LOST = "lost", Kind.LOST, False
    SKIPPED = "skipped", Kind.SKIPPED, False

    def __new__(cls, name: str, kind: Kind, counts: bool) -> Self:
        """Make a member; it cannot be made without saying what it is."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.kind, member.counts = kind, counts
        return member

    @property
    def ran(self) -> bool:
        """Whether the backend had its chance."""
        return self.kind not in {Kind.SKIPPED, Kind.LOST}


@dataclass(frozen=True, slots=True)
class Handicap:
    """A slowdown: more work for the CPU, or a sleep."""

    kind: Literal["work", "sleep"]
    share: Fraction  #: of the training time itself: 0.1 makes it 10% longer


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpec:
    """What the parent asks of a worker."""

    label: str  #: the backend's name with its parameters, as in the tables
    backend: str
    options: dict[str, OptionValue]
    handicap: Handicap | None = None  #: a slowdown that nnbench selftest injects
    workload: Workload
    round: int  #: from 0
    seed: int | None  #: if the user chose it; one that was drawn is told when the block is over
    threads: int
    cpus: tuple[int, ...]  #: to pin the worker to; empty where the system cannot
    budget_s: float  #: training time after which the cell stops, inside the epoch if need be
    timeout_s: float  #: wall time after which the parent kills the worker
    python: str | None = None  #: the worker's interpreter, if it is another than the parent's
    plugin: str | None = None  #: that brings the backend: the only one that the worker loads


ProofMode = Literal["full", "sampled", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviations:
    """How far training is from the reference, relative; None is not finite, and beyond any tolerance."""

    loss: Magnitude | None  #: the largest of a step, by the running mean loss
    displacement: (
        Magnitude | None
    )  #: norm of the difference of what parameters moved, by the norm of that
    first: Magnitude | None = 0.0  #: of Adam's moments, likewise; 0 where there are none
    second: Magnitude | None = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a part may be, and how far rounding alone may bring it from the reference."""

    steps: Count
    tolerance: Deviations
    typical: Magnitude | None = None  #: displacement beyond which only few parts may be


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the judge has found of a cell's training."""

    mode: ProofMode
    proved: Number  #: steps that the reference has followed within the tolerance
    trained: Number  #: steps
    deviations: Deviations  #: the largest of the parts that were followed
    tolerance: Deviations
    flips: Number = 0  #: undecided signs in which the reference took the backend's side
    from_parameters: bool = False  #: the optimizer's state was not to be had: wider tolerances
    gradient: Magnitude | None = (
        None  #: deviation of one batch's gradients; None where they are not shown
    )
    logits: Magnitude | None = None  #: the largest deviation of what ``predict`` returned
    remarks: list[Text] = field(default_factory=list)  #: what could not be checked, and why

    @property
    def is_whole(self) -> bool:
        """Whether every step was proved, and with them the whole training."""
        return self.mode != "off" and 0 < self.trained <= self.proved


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One timed call. It ends at a cut if it has a state; otherwise the next one goes on in it."""

    images: Number
    train_s: Seconds  #: by the worker's clock, and what was added to it
    #: Of its block, from 0: parts of one turn were trained close together, whoever did; None if the
    #: cell trained whole, without others in between.
    turn: Number | None = None
    state: Line | None = None  #: SHA-256 of the parameters and the optimizer's state at its end
    optimizer_steps: Number | None = None  #: Adam's count at its end, as the backend says
    wall_s: Seconds | None = None  #: by the parent's clock, the way to the worker and back included
    cpu_s: Seconds | None = (
        None  #: that the kernel accounts to the worker's whole tree, in that time
    )
    late_s: Seconds | None = None  #: nnbench itself waited for a CPU, as the kernel says
    dump_cpu_s: Seconds | None = None  #: as cpu_s, while the state was copied out
    dump_s: Seconds | None = (
        None  #: likewise by the parent's clock, less what any thread waited for
    )
    waited_s: Seconds | None = None  #: all threads of the worker waited for one in the timed call
    threads: Number | None = None  #: of the worker's tree that computed in it; None is unknown
    #: What the lead-in of the whole call had of all that, in turns: there caches are still cold.
    lead_images: Number = 0
    lead_s: Seconds = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch, or as much of it as the budget allowed."""

    number: Count  #: from 1
    images: Number
    train_s: Seconds
    losses: list[Loss | None]  #: of each step before its update; None is not finite
    test_loss: Loss | None  #: computed by the harness from the logits; None is not finite
    accuracy: Portion | None  #: None where the targets are no classes
    #: of ``predict`` on the whole test split, at the pace of the images that were predicted; None
    #: where no cut ends the epoch
    evaluate_s: Seconds | None
    predicted_images: Number | None = None  #: of the test split; None in older runs, which is all
    calls: Number = 1  #: of train_epoch, with their lead-ins
    cpu_s: Seconds = 0.0  #: of all threads of the process, while training
    involuntary_switches: Number = 0  #: likewise: how often a thread was made to leave its CPU
    waited_s: Seconds | None = None  #: by the thread that waited longest for a CPU; None is unknown
    steal_s: Seconds = 0.0  #: that other virtual machines had the worst hit of the cell's CPUs
    compilations: Number = 0  #: while training, as far as the library can say
    device_s: Seconds | None = None  #: training time by the device's clock, where it has one
    parts: list[Part] = field(default_factory=list)  #: in order; empty in older runs
    steps: Number = 0  #: batches trained; records of before have it from their losses

    def __post_init__(self) -> None:
        """Count the steps, since who keeps a cell in memory may leave its losses on disk."""
        if not self.steps:
            object.__setattr__(self, "steps", len(self.losses))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Time of each part of a step on one full batch; every value in microseconds."""

    gather_us: list[Microseconds]
    feedforward_us: list[Microseconds]
    backprop_us: list[Microseconds]
    update_us: list[Microseconds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What happened before training."""

    setup_s: CallSeconds  #: import of the library and creation of the network
    transfer_s: CallSeconds  #: place of the training and the test split
    warmup_s: CallSeconds
    epoch_images: Count  #: training examples in a whole epoch
    parameters: Count
    thread_pools: dict[Line, Number]  #: threads of each native pool, by library
    device: Name = "cpu"  #: where the backend trains
    operations: Amount = 0.0  #: floating-point operations of one training image, zeros included
    traffic_bytes: Amount = 0.0  #: read and written for one training image, caches aside
    nonzero_share: Portion = 1.0  #: of the inputs that the backend computes with
    pace_s: Elapsed = 1.0  #: seconds a step, of the warm-up
    kernels: dict[Line, Line] = field(
        default_factory=dict
    )  #: the CPU each BLAS has chosen them for
    #: what the backend wants to be known of it
    recorded: dict[Line, Line] = field(default_factory=dict)
    other_optimizer: Line = ""  #: how its optimizer differs from what was asked for, as it declares
    #: whether a free-threaded Python has its GIL on, with all libraries; None of one that always has
    gil: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """The state of a GPU at one moment."""

    clock_mhz: Number  #: of the streaming multiprocessors
    temperature_c: Celsius
    throttled: list[Line]  #: why it runs slower than it could; empty if it does not


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What became of a cell, or of one attempt at it; everything is kept, whatever the status."""

    backend: Name  #: the label
    workload: Name
    round: Number
    seed: Seed
    threads: Count
    position: Number  #: in the block, from 0
    started: Line  #: ISO 8601, UTC
    recorded: Line = ""  #: likewise, when its block was judged; empty in older runs
    wall_s: Seconds  #: for which its processes ran; while they were stopped, others may have
    status: Status
    message: Text = ""
    setup: Setup | None = None
    epochs: list[Epoch] = field(default_factory=list)
    phases: Phases | None = None
    peak_memory_bytes: Bytes | None = None
    complete: bool = False  #: False if the budget, or a failure, ended the training early
    deviation: Magnitude | None = None  #: of the first losses from the reference, relative
    tolerance: Magnitude | None = None
    output: Text = ""  #: the last lines that the worker printed
    #: A disturbed cell is repeated at once, see nnbench.execution.disturbance; in turns, the
    #: baseline is there again in each further group, see nnbench.execution.turns.
    attempt: Number = 0
    disturbed: bool = False
    final: bool = True  #: whether it is the attempt that counts; tables use no others
    flags: list[Text] = field(default_factory=list)  #: remarks on how far its times can be trusted
    changed: bool | None = None  #: whether training changed the parameters; None is unknown
    achieved_gflops: Amount | None = None  #: operations by training time, zeros included
    ceiling_gflops: Ceiling | None = None  #: that matrix products here reach; None is unknown
    peak_gflops: Ceiling | None = None  #: that such CPUs cannot pass; None is unknown
    gpu: list[GpuSample] = field(default_factory=list)  #: now and then while training
    machine: Name = LOCAL  #: where it ran: a key of RunInfo.machines
    #: CPUs that it was pinned to; empty where the system cannot, and in older runs
    cpus: tuple[Number, ...] = ()
    shared_cpus: tuple[Number, ...] = ()  #: those of them that another nnbench held
    #: a block that did not come to its end runs again, whole; the last counts
    block_attempt: Number = 0
    point: Number = 0  #: what was trained: an index into RunInfo.points
    load_s: Seconds | None = (
        None  #: of the initial parameters, on the clock: a share of the first part
    )
    dump_cpu_s: Seconds | None = None  #: of a dump before training, by the kernel
    dump_s: Seconds | None = None  #: likewise, as that of a part
    violations: list[Text] = field(
        default_factory=list
    )  #: what was seen from outside and is not allowed
    precision: Precision = "float32"  #: of the matrix products, as the backend declares it
    private: bool | None = None  #: whether its temporary folders were its own; None is unknown
    #: Environment variables that were handed on to it; None is a value that could change no figure.
    variables: dict[Line, Text | None] = field(default_factory=dict)
    proof: Proof | None = None  #: None is not judged, or judged by an nnbench that had no proof
    test_images: Count | None = None  #: that its accuracies are shares of; None in older runs
    #: that of Setup, where training did stray from the reference, and may have for that reason
    other_optimizer: Line = ""

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from every other cell, whatever run it is in: no two take the same time to the nanosecond."""
        return self.backend, self.seed, self.started, self.attempt, self.wall_s

    @property
    def is_followed(self) -> bool:
        """Whether some of its steps were proved: without, it has no rank."""
        return self.proof is not None and self.proof.mode != "off" and self.proof.proved > 0

    @property
    def train_s(self) -> float:
        """Training time in seconds."""
        return sum(epoch.train_s for epoch in self.epochs)

    @property
    def images(self) -> int:
        """Training examples seen."""
        return sum(epoch.images for epoch in self.epochs)

    @property
    def steps(self) -> int:
        """Batches trained."""
        return sum(epoch.steps for epoch in self.epochs)

    @property
    def took_turns(self) -> bool:
        """Whether it trained in turns with the others of its block."""
        return any(part.turn is not None for epoch in self.epochs for part in epoch.parts)

    @property
    def losses(self) -> list[float | None]:
        """Loss of every step."""
        return [loss for epoch in self.epochs for loss in epoch.losses]

    def time_to(self, accuracy: float) -> float | None:
        """Return the training time at the end of the first epoch that reached ``accuracy``."""
        elapsed = 0.0
        for epoch in self.epochs:
            elapsed += epoch.train_s
            if epoch.accuracy is not None and epoch.accuracy >= accuracy:
                return elapsed
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the software of a run."""

    cpu: Line
    physical_cores: Number | None
    logical_cores: Number | None
    usable_cores: Number  #: that this process may run on at once
    memory_bytes: Bytes
    gpus: list[Line]
    system: Line
    python: Line  #: that cells run with; what can be switched in it is part of its name
    versions: dict[Name, Line]  #: of nnbench, NumPy and the backends' libraries
    git: Line | None  #: commit of the working directory, with "-dirty" if files changed
    quota: Positive | None = None  #: CPUs' time that control groups grant; None is no limit

    @property
    def hardware(self) -> dict[str, object]:
        """What the machine is made of: where it is the same, times can be compared."""
        return {
            "CPU": self.cpu,
            "cores": self.physical_cores,
            "logical cores": self.logical_cores,
            "GiB of memory": round(self.memory_bytes / 2**30),
            "GPUs": self.gpus,
        }

    @property
    def software(self) -> dict[str, object]:
        """What runs on it, by name."""
        return {"system": self.system, "Python": self.python, **self.packages}

    @property
    def packages(self) -> dict[str, str]:
        """The versions; nnbench's under its own name, whatever it was called then."""
        return {
            DISTRIBUTION if name in OWN_NAMES else name: text
            for name, text in self.versions.items()
        }

    @property
    def traits(self) -> dict[str, object]:
        """What decides how long a training takes, by name.

        Of Linux that is no kernel: what is timed computes in memory that it has, with no more threads than it is pinned to CPUs, and
        nodes of one cluster differ in their kernel's release after each reboot. libc counts, and so does nnbench's
        own version, since it brings backends. How many CPUs may be used does not: a cell has as many as its threads.
        """
        system = re.sub("^Linux-.*(?=-with-)", "Linux", self.system)
        return {**self.hardware, **self.software, "system": system}

    @property
    def kind(self) -> str:
        """Identify what decides times: where machines agree in it, their absolute times can stand in one figure."""
        return _digest(*sorted(self.traits.items()))

    def differences(self, other: Environment) -> tuple[list[str], list[str]]:
        """Name what differs in the hardware and in the software, with both values."""
        sides = (self.hardware, other.hardware), (self.software, other.software)
        hardware, software = (
            [
                f"{name} ({_spell(mine.get(name))}, {_spell(theirs.get(name))})"
                for name in {**mine, **theirs}
                if mine.get(name) != theirs.get(name)
            ]
            for mine, theirs in sides
        )
        return hardware, software

    @property
    def machine_fingerprint(self) -> str:
        """Identify the hardware and the system, by what does not change while it runs."""
        return _digest(*self.hardware.values(), self.system)

    @property
    def fingerprint(self) -> str:
        """Identify the machine and the versions: where these agree, a run can go on.

        nnbench's own version and the repository's state are left out: they are what changes.
        """
        libraries = sorted(item for item in self.packages.items() if item[0] != DISTRIBUTION)
        return _digest(self.machine_fingerprint, self.python, libraries)


def _spell(value: object) -> str:
    return ", ".join(value) if value and isinstance(value, list) else str(value or "none")


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """What a device can do at most, measured with so many threads; None is unknown."""

    device: Name
    threads: Count
    gflops: Ceiling | None  #: of float32 matrix products
    gb_per_s: Ceiling | None  #: read and written by copies of a large array
    libraries: dict[Line, Line] = field(
        default_factory=dict
    )  #: that were asked, with their versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where blocks run, as it was when the run started."""

    environment: Environment
    noise_floor: Fraction = DEFAULT_FLOOR  #: of cells that train whole; a fraction
    turn_floor: Fraction = DEFAULT_TURN_FLOOR  #: of cells that take turns
    warnings: list[Text] = field(default_factory=list)  #: of what may spoil times
    roofs: list[Roof] = field(default_factory=list)  #: its ceilings, with --roofline
    unavailable: dict[Name, Text] = field(default_factory=dict)  #: label: why it can't run there
    #: names of the environment variables that are set there, and that reach no worker
    dropped: list[Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What is equal for all backends of a block; a run has one."""

    workload: Workload
    threads: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A backend of a run: what was selected, as it can be written down and sent elsewhere."""

    label: str  #: its name with its parameters, as in the tables
    backend: str
    options: dict[str, OptionValue] = field(default_factory=dict)
    threads: int | None = None  #: None: as many as the point says
    variant: str = ""  #: tells it from the same backend in the same run, as base does in numpy@base
    handicap: Handicap | None = None  #: a slowdown that nnbench selftest injects
    python: str | None = None  #: the worker's interpreter, if it is another than nnbench's

    def as_variant(
        self, name: str, *, handicap: Handicap | None = None, python: str | None = None
    ) -> Entry:
        """Return the same backend under a name of its own."""
        label = f"{self.label}@{name}"
        return replace(self, label=label, variant=name, handicap=handicap, python=python)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One round of all backends, with one seed, on one machine, whose CPUs are its own choice."""

    point: int = 0  #: an index into RunInfo.points
    workload: Workload
    threads: int
    dataset_sha256: str = ""  #: of the dataset that it must be; empty is any
    round: int  #: from 0
    seed: int
    open_seed: bool = False  #: it was chosen by the user, and may be told
    proof: ProofMode = "sampled"
    keep_states: bool = False  #: beside the run, once its cells are judged
    is_witnessed: bool = False  #: whether one stretch of it is proved elsewhere, too
    turns: bool = False  #: whether its cells train in turns, part by part; else each trains whole
    baseline: str = ""  #: label of the one that others are compared with
    attempt: int = 0  #: a block that was interrupted, or whose machine was lost, runs again, whole
    entries: list[Entry]  #: in the order in which they run
    budget_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What was asked of a run, and on which machines it ran.

    The properties are those of a run of one point on one machine. Of several machines, what is
    asked for once is the first one's.
    """

    schema_version: Number = SCHEMA_VERSION
    started: Line  #: ISO 8601, UTC
    command: Text
    points: Annotated[list[Point], msgspec.Meta(min_length=1)]
    backends: dict[Name, Text]  #: label: summary, of those that some machine can run
    #: label: distribution and version of the plugin that brings it
    plugins: dict[Name, Line] = field(default_factory=dict)
    required: list[Name] = field(default_factory=list)  #: labels that were named, not just in "all"
    require_all: bool = False  #: whether one of these that does not train the workload is a failure
    baseline: Name  #: the label whose time is 1 in ratios
    rounds: Count
    seed: Seed | None  #: of the first round; None draws one for each, which its cells then have
    proof: ProofMode | None = None  #: what was asked for; None is a run made before proofs
    keep_states: bool = False
    require_proof: bool = False  #: whether less than every step proved is a failure
    turns: bool = False  #: whether the cells of a block train in turns; runs of before did not
    detect: Share | None = None  #: the difference that ends the run when it is found or excluded
    budget_s: Positive
    timeout_s: Positive
    executor: Name = LOCAL  #: that ran the blocks
    machines: Annotated[dict[Name, Machine], msgspec.Meta(min_length=1)]
    dataset_sha256: Line = ""  #: of the dataset in memory; the run sets it when it starts
    #: likewise what the dataset's source calls each class; empty where that is 0 to K - 1
    dataset_classes: list[Number] = field(default_factory=list)

    @property
    def workload(self) -> Workload:
        """What was trained."""
        return self.points[0].workload

    @property
    def threads(self) -> int:
        """CPU threads of a backend that was not given its own."""
        return self.points[0].threads

    @property
    def machine(self) -> Machine:
        """The machine; of several, the first."""
        return next(iter(self.machines.values()))

    @property
    def environment(self) -> Environment:
        """Hardware and software of the machine."""
        return self.machine.environment

    @property
    def versions(self) -> dict[str, str]:
        """Versions of all that took part: libraries, and the distributions of the plugins."""
        found: dict[str, set[str]] = {}
        for origin in self.plugins.values():
            distribution, _, version = origin.rpartition(" ")
            found.setdefault(distribution, set()).add(version)
        others = found.keys() - self.environment.versions.keys() - {*OWN_NAMES}
        plugins = {name: " and ".join(sorted(found[name])) for name in sorted(others)}
        return self.environment.versions | plugins

    @property
    def noise_floor(self) -> float:
        """What no comparison on these machines can tell from nothing, a fraction."""
        machines = self.machines.values()
        return max(m.turn_floor if self.turns else m.noise_floor for m in machines)

    @property
    def warnings(self) -> list[str]:
        """What may have spoilt times."""
        return list(dict.fromkeys(w for m in self.machines.values() for w in m.warnings))

    @property
    def roofs(self) -> list[Roof]:
        """Ceilings of all machines, one after the other."""
        return [roof for machine in self.machines.values() for roof in machine.roofs]

    @property
    def unavailable(self) -> dict[str, str]:
        """Why backends could run on none of the machines, by label."""
        return unavailable_on_all(self.machines)


def unavailable_on_all(machines: Mapping[str, Machine]) -> dict[str, str]:
    """Return why backends can run on none of some machines, by label."""
    first, *others = (machine.unavailable for machine in machines.values())
    return {label: why for label, why in first.items() if all(label in other for other in others)}


# What the parent tells a worker, and what that answers: frames of nnbench.pipes


class Stored(msgspec.Struct, frozen=True):
    """An array in memory that processes share, by its file descriptor."""

    descriptor: int
    dtype: str
    shape: tuple[int, ...]


class StoredExamples(msgspec.Struct, frozen=True):
    """One split of a dataset."""

    inputs: Stored
    labels: Stored | None
    targets: Stored | None


class StoredSplits(msgspec.Struct, frozen=True):
    """A dataset, as it fits a workload."""

    train: StoredExamples
    test: StoredExamples
    outputs: int
    sha256: str
    classes: list[int] = []  #: what its source calls each output, if not 0 to K - 1


class Job(msgspec.Struct, frozen=True, tag=True):
    """What a worker is to train; nothing that would tell it what training will ask or be judged by."""

    backend: str
    options: dict[str, OptionValue]
    handicap: Handicap | None
    network: NetworkSpec
    batch_size: int
    cpus: tuple[int, ...]
    train: StoredExamples
    test: Stored  #: inputs alone


class Train(msgspec.Struct, frozen=True, tag=True):
    """Train on some examples, on the clock."""

    order: bytes  #: int64
    layers: bytes | None = (
        None  #: parameters to load first, on the clock; float32, see contract.spec.flatten
    )


class Dump(msgspec.Struct, frozen=True, tag=True):
    """Hand over the parameters, and the optimizer's state."""


class Predict(msgspec.Struct, frozen=True, tag=True):
    """Compute the logits of some images of the test split."""

    order: bytes  #: int64


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Compute the gradients of one batch, and time the phases of a step on it."""

    order: bytes  #: int64
    phases_s: float  #: that the phases may take; 0 is not to time them


class Close(msgspec.Struct, frozen=True, tag=True):
    """End."""


Command = Job | Train | Dump | Predict | Inspect | Close


#: What a worker does by itself, where it may hang: a time-out says in which.
Stage = Literal["import", "create", "place", "the warm-up", "the phases"]


class Reached(msgspec.Struct, frozen=True, tag=True):
    """A worker begins with something; its answer is still to come."""

    stage: Stage


class Trained(msgspec.Struct, frozen=True, tag=True):
    """The timed call is over."""

    train_s: Elapsed
    load_s: CallSeconds | None
    losses: bytes  #: float32
    cpu_s: CallSeconds
    involuntary_switches: CallCount
    waited_s: CallSeconds | None
    steal_s: CallSeconds
    compilations: CallCount
    device_s: CallSeconds | None


class State(msgspec.Struct, frozen=True, tag=True):
    """Asked for once when the warm-up is over, then after each timed call."""

    layers: bytes  #: float32
    steps: Number | None  #: of the optimizer; None: it has no state, or does not show it
    moments: bytes | None  #: float32, first then second


class Predicted(msgspec.Struct, frozen=True, tag=True):
    """The logits of these images."""

    logits: bytes  #: float32
    evaluate_s: CallSeconds


class Inspected(msgspec.Struct, frozen=True, tag=True):
    """Gradients and phases, where the backend shows them."""

    gradients: bytes | None  #: float32
    phases: Phases | None


class Closed(msgspec.Struct, frozen=True, tag=True):
    """The last answer of a worker that ran to its end."""

    peak_memory_bytes: Bytes | None


# What the parent tells a judge, and what that answers: frames of nnbench.pipes


class Case(msgspec.Struct, frozen=True, tag=True):
    """What a judge judges by; the first message, and without an answer."""

    workload: Workload
    splits: StoredSplits
    spool: int  #: descriptor of the file that states, logits and gradients lie in
    cache: str  #: folder to keep calibrations in; empty is none


class Calibrate(msgspec.Struct, frozen=True, tag=True):
    """Find out how far rounding may bring a training of the workload from the reference."""

    precision: Precision
    from_parameters: bool


class Calibrated(msgspec.Struct, frozen=True, tag=True):
    """How far it may."""

    limits: Limits


class Logits(msgspec.Struct, frozen=True):
    """What ``predict`` gave at the end of an epoch."""

    epoch: int
    offset: int  #: in the spool
    images: bytes | None = None  #: of the test split, int64, as they were drawn; None is all of it


class Evaluate(msgspec.Struct, frozen=True, tag=True):
    """Evaluate the parameters at an offset of the spool on the test split, in float64."""

    offset: int
    logits: Logits | None = None  #: that were computed with them
    precision: Precision = "float32"  #: of the products that it was computed with


class Evaluation(msgspec.Struct, frozen=True, tag=True):
    """How well a network does on the test split."""

    test_loss: Loss | None  #: None is not finite
    accuracy: Portion | None  #: None where the targets are no classes
    logits: Magnitude | None = (
        None  #: how far ``predict`` was off, by the size of what is summed up
    )


class Follow(msgspec.Struct, frozen=True, tag=True):
    """Train a seed from its own start, to see where right trainings of it lie."""

    seed: int
    epochs: int
    is_rounded: bool = False  #: in float32, to see what rounding alone does


class Course(msgspec.Struct, frozen=True, tag=True):
    """Where such a training lies after each epoch."""

    evaluations: list[Evaluation]


class Cut(msgspec.Struct, frozen=True):
    """Where a state lies in the spool: float32, the parameters, then both moments."""

    offset: int
    has_moments: bool


class JudgeCell(msgspec.Struct, frozen=True, tag=True):
    """A cell whose training is to be proved, with what its worker has sent."""

    result: CellResult  #: with the losses; of its epochs, what the judge evaluates is still None
    mode: ProofMode
    limits: Limits
    cuts: list[Cut]  #: one for each part with a state, in order
    logits: list[Logits] = []
    gradient: tuple[bytes, int] | None = None  #: order of a batch, offset of its gradients
    target: float | None = None  #: accuracy


class Choose(msgspec.Struct, frozen=True, tag=True):
    """Choose what of a cell is proved."""

    cell: JudgeCell


class Chosen(msgspec.Struct, frozen=True, tag=True):
    """What of a cell is followed, and what can be said of it before."""

    units: list[list[int]] = []  #: each apart: numbers of stretches between two cuts, from 0
    ends: dict[int, int] = {}  #: number of an epoch: offset of the parameters at its end
    whole: int = 0  #: epochs that the budget did not end
    changed: bool | None = None  #: whether training changed the parameters
    steps: list[int] = []  #: of every stretch, followed or not
    problem: str | None = None  #: why the cell is invalid, whatever follows
    miscount: str | None = None  #: why it is, if nothing that follows says more


class Prove(msgspec.Struct, frozen=True, tag=True):
    """Follow some stretches of a cell, each from the backend's own state at its start."""

    cell: JudgeCell
    stretches: list[int]


class Finding(msgspec.Struct, frozen=True):
    """What came of following one stretch."""

    stretch: int
    deviations: Deviations
    flips: int = 0
    steps: int = 0  #: that were proved
    problem: str | None = None  #: why it is not what was asked for
    remark: str | None = None  #: on a training that is not finite
    other: str | None = None  #: as problem, where the backend declares another optimizer
    evaluations: dict[int, Evaluation] = {}  #: of the epochs that end inside it, by number


class Proved(msgspec.Struct, frozen=True, tag=True):
    """What came of following them."""

    findings: list[Finding]


class Conclude(msgspec.Struct, frozen=True, tag=True):
    """Decide the status of a cell, from all that was found."""

    cell: JudgeCell
    chosen: Chosen
    findings: list[Finding] = []  #: in order
    evaluations: dict[int, Evaluation] = {}  #: by the number of the epoch
    course: Course | None = None  #: of the cell's seed
    rounded: Course | None = None  #: likewise, where the cell is so far from that that it matters


class Judged(msgspec.Struct, frozen=True, tag=True):
    """A cell with its status, evaluations and proof."""

    result: CellResult


class Broken(msgspec.Struct, frozen=True, tag=True):
    """The judge itself has failed, and ends."""

    message: str


Question = Case | Calibrate | Evaluate | Follow | Choose | Prove | Conclude
Reply = Calibrated | Evaluation | Course | Chosen | Proved | Judged | Broken


# What is announced of a cell


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Announced after each timed call."""

    epoch: int
    images: int  #: seen so far, all epochs
    train_s: float
    loss: float | None
    parts: list[Part] = []  #: that the call was, one for each epoch that it lies in


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker's first answer: training can start."""

    setup: Setup
    precision: Precision = "float32"  #: as the catalog says, whatever the worker does


class EpochFinished(msgspec.Struct, frozen=True, tag=True):
    """Announced after each epoch's evaluation."""

    epoch: Epoch


class Finished(msgspec.Struct, frozen=True, tag=True):
    """Announced of a cell that ran to its end."""

    phases: Phases | None
    peak_memory_bytes: int | None
    complete: bool
    changed: bool | None = None  #: whether training changed the parameters


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The last event of a cell that cannot go on."""

    status: Status
    message: Line


Event = Progress | Ready | EpochFinished | Finished | Failed
Answer = Ready | Trained | State | Predicted | Inspected | Closed | Reached | Failed


class CellStarted(msgspec.Struct, frozen=True, tag=True):
    """A cell is about to start, or to start again."""

    spec: CellSpec
    machine: Name = LOCAL


class CellEvent(msgspec.Struct, frozen=True, tag=True):
    """The worker of a cell has sent something."""

    spec: CellSpec
    event: Event


class Witness(msgspec.Struct, frozen=True):
    """The states around one stretch of a cell, between two cuts, with which anyone can prove it again."""

    stretch: Number  #: from 0
    before: bytes  #: float32, the parameters, then both moments; nothing of the first one, which the seed gives
    after: bytes


class CellFinished(msgspec.Struct, frozen=True, tag=True):
    """A cell, or one attempt at it, has ended and was judged."""

    result: CellResult
    witness: Witness | None = None  #: of one cell of a block that is proved elsewhere, too


class MachineJoined(msgspec.Struct, frozen=True, tag=True):
    """A machine runs a block of a run that did not know it."""

    name: Name
    machine: Machine


class BlockLost(msgspec.Struct, frozen=True, tag=True):
    """A block has no result: its machine was lost, or could not run it, or what runs blocks there has failed."""

    block: Block
    message: Line  #: why, in the words of who knows
    machine: Name  #: where it was


class Queue(msgspec.Struct, frozen=True, tag=True):
    """Which blocks were given out and do not train yet, where several may run at once; by their rounds."""

    slots: Number  #: blocks that can run at once, as of now
    given: list[Number] = []  #: on no machine that is known
    arrived: dict[Number, Name] = {}  #: on a machine, where they wait for their CPUs
    is_ending: bool = False  #: whether no more are given out, since the run was interrupted


#: What an executor says of the blocks that it runs.
Happening = CellStarted | CellEvent | CellFinished | MachineJoined | BlockLost | Queue


# What a machine is asked through an engine, and what it answers: lines of JSON


class Errand(msgspec.Struct, frozen=True):
    """What is asked of a machine: to be looked at, and to run a block if there is one."""

    entries: list[Entry]  #: of the run
    threads: int  #: of an entry that has none of its own
    libraries: list[str] = []  #: whose versions belong into its environment
    roofline: bool = False  #: whether its ceilings are wanted
    block: Block | None = None


class MachineSeen(msgspec.Struct, frozen=True, tag=True):
    """The machine that an errand is carried out on."""

    host: Name  #: as it calls itself
    machine: Machine


class States(msgspec.Struct, frozen=True, tag=True):
    """A piece of what is kept of the states of a cell, which is told of when all of them were."""

    content: bytes


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The last line of an errand."""

    how: Literal["done", "refused", "interrupted", "lost"]
    message: Line = ""


Spoken = MachineSeen | CellStarted | CellEvent | States | CellFinished | Ended
