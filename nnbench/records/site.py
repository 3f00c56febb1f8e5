"""What the index of a site holds: ``index.json``, which other programs read, and the next call."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from nnbench.contract.bounds import Bytes, Line, Magnitude, Number, Portion, Text

SCHEMA_VERSION = 1  #: of an index


class StandingEntry(msgspec.Struct, frozen=True, kw_only=True):
    """How a backend stands best on machines of the same hardware."""

    backend: Annotated[Line, Meta(description="its label")]
    speedup: Annotated[Magnitude | None, Meta(description="times as fast as the baseline")]
    speedup_low: Annotated[Magnitude | None, Meta(description="the lower end of its 95% interval")]
    speedup_high: Annotated[Magnitude | None, Meta(description="the upper end")]
    verdict: Annotated[Line | None, Meta(description="against the baseline; null of itself")]
    no_rank: Annotated[Line, Meta(description="why it has no rank; empty if it has one")]
    accuracy: Annotated[Portion | None, Meta(description="after the last epoch, a fraction")]
    accuracy_stdev: Annotated[Magnitude | None, Meta(description="over the rounds")]
    train_s_per_epoch: Annotated[Magnitude | None, Meta(description="the median, in seconds")]
    precision: Annotated[Line, Meta(description="the class of its products")]
    steps_proved: Annotated[Number | None, Meta(description="null is a run made before proofs")]
    steps_trained: Annotated[Number | None, Meta(description="likewise")]
    rounds: Annotated[Number, Meta(description="of that run")]
    device: Annotated[Line | None, Meta(description="on which it trained; null is unknown")]
    peak_memory_bytes: Annotated[Magnitude | None, Meta(description="of its process, the median")]
    training_memory_bytes: Annotated[
        Magnitude | None, Meta(description="what of it training took; null is unknown")
    ]
    device_memory_bytes: Annotated[Magnitude | None, Meta(description="of a GPU, likewise")]
    energy_j_per_epoch: Annotated[
        Magnitude | None, Meta(description="joules of what it ran on; null is unknown")
    ]
    run: Annotated[Line, Meta(description="the name of that run")]
    started: Annotated[Line, Meta(description="when it started, ISO 8601 in UTC")]
    version: Annotated[Line, Meta(description="of the distribution that brings the backend")]
    commit: Annotated[Line | None, Meta(description="of the folder it was run in")]
    runs: Annotated[Number, Meta(description="in how many runs it ranks on this hardware")]


class BoardEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Machines of the same hardware."""

    machine: Annotated[Line, Meta(description="what they are called")]
    cpu: Annotated[Line, Meta(description="the model")]
    physical_cores: Annotated[Number | None, Meta(description="null is unknown")]
    logical_cores: Annotated[Number | None, Meta(description="likewise")]
    memory_bytes: Annotated[Bytes, Meta(description="of one of them")]
    gpus: Annotated[list[Line], Meta(description="their models")]
    standings: Annotated[
        list[StandingEntry], Meta(description="the fastest first, those without a rank last")
    ]


class CourseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What was trained by some runs, and what they are held against."""

    workload: Annotated[Line, Meta(description="its name")]
    summary: Annotated[Text, Meta(description="what it is")]
    batch_size: Annotated[Number | None, Meta(description="examples in a step; null is all")]
    epochs: Annotated[Number, Meta(description="of a training")]
    threads: Annotated[Number, Meta(description="of a backend that was not given its own")]
    baseline: Annotated[Line, Meta(description="the backend whose speedup is 1")]
    history: Annotated[
        Line | None, Meta(description="the page from run to run, if several can be compared")
    ]
    runs: Annotated[list[Line], Meta(description="names of the runs, by date")]
    boards: Annotated[list[BoardEntry], Meta(description="one for each hardware")]


class RunEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    name: Annotated[Line, Meta(description="of its folder")]
    page: Annotated[Line, Meta(description="the report, below the folder of the site")]
    started: Annotated[Line, Meta(description="ISO 8601 in UTC")]
    workloads: Annotated[list[Line], Meta(description="names; several are of a sweep")]
    threads: Annotated[list[Number], Meta(description="of backends that were not given their own")]
    baseline: Annotated[Line, Meta(description="its own")]
    backends: Annotated[list[Line], Meta(description="labels")]
    rounds: Annotated[Number, Meta(description="that were asked for")]
    versions: Annotated[dict[Line, Line], Meta(description="of libraries and plugins")]
    commit: Annotated[Line | None, Meta(description="of the folder it was run in")]
    sha256: Annotated[Line, Meta(description="of run.json and cells.jsonl")]
    page_sha256: Annotated[Line, Meta(description="of the page")]


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """What an index of any version has, and hardly any other file of its name."""

    schema_version: Annotated[Number, Meta(description="1")] = SCHEMA_VERSION
    made_by: Annotated[
        dict[Line, Line],
        Meta(description="versions of nnbench and of what draws; the SHA-256 of nnbench's sources"),
    ]


class Index(Versioned, frozen=True, kw_only=True):
    """``index.json``."""

    courses: Annotated[
        list[CourseEntry], Meta(description="one for each workload, number of threads and baseline")
    ]
    runs: Annotated[list[RunEntry], Meta(description="all runs, by date")]
