"""What the parent tells a judge, and what that answers: frames of :mod:`nnbench.pipes`."""

from __future__ import annotations

import msgspec

from nnbench.contract.backend import Precision
from nnbench.contract.bounds import Loss, Magnitude, Portion
from nnbench.data.workloads import Workload
from nnbench.records.cells import CellResult, Deviations, Limits, ProofMode
from nnbench.records.worker import StoredSplits


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
