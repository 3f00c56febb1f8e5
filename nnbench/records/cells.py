"""What came of a cell: one backend, one workload, one round, in a process of its own. A line of ``cells.jsonl`` each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Literal, Self

from nnbench.contract.backend import OptionValue, Precision
from nnbench.contract.bounds import (
    Amount,
    Bytes,
    CallSeconds,
    Ceiling,
    Celsius,
    Count,
    Elapsed,
    Fraction,
    Joules,
    Line,
    Loss,
    Magnitude,
    Microseconds,
    Name,
    Number,
    Portion,
    Seconds,
    Seed,
    Text,
)
from nnbench.data.workloads import Workload

LOCAL = "local"  #: the name of the machine that nnbench itself runs on


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
    point: int = 0  #: an index into RunInfo.points
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
    cpu_j: Joules | None = None  #: of all packages that it had a CPU in, whoever used it


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
class GpuEnergy:
    """What was counted of a GPU while more was trained for that alone, once all else was over."""

    images: Count
    train_s: Seconds  #: by the worker's clock
    joules: Joules  #: from one step of the GPU's counter to another,
    counted_s: Seconds  #: which are so far apart: the rest around the training is in it
    rest_w: Amount  #: power of that, in the next step


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
    peak_memory_bytes: Bytes | None = None  #: of the worker and all below it, since their start
    #: likewise since the library was imported, above what there was then; None is unknown
    training_memory_bytes: Bytes | None = None
    #: of the GPU, the most that was seen while it was stopped; None on a CPU, or where nobody says
    device_memory_bytes: Bytes | None = None
    meters: list[Name] = field(default_factory=list)  #: of energy, of those of its machine
    gpu_energy: GpuEnergy | None = None
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
