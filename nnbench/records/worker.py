"""What the parent tells a worker, and what that answers: frames of :mod:`nnbench.pipes`."""

from __future__ import annotations

from typing import Literal

import msgspec

from nnbench.contract.backend import OptionValue
from nnbench.contract.bounds import Bytes, CallCount, CallSeconds, Elapsed, Number
from nnbench.contract.spec import NetworkSpec
from nnbench.records.cells import Handicap, Phases
from nnbench.records.events import Failed, Ready


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
    training_memory_bytes: Bytes | None = None


Answer = Ready | Trained | State | Predicted | Inspected | Closed | Reached | Failed
