"""What was asked of a run, and on which machines: ``run.json``, and the blocks that it is made of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Self

import msgspec

from nnbench.contract import DISTRIBUTION, FORMER
from nnbench.contract.backend import OptionValue
from nnbench.contract.bounds import (
    Amount,
    Bytes,
    Ceiling,
    Count,
    Fraction,
    Line,
    Name,
    Number,
    Positive,
    Seed,
    Share,
    Text,
)
from nnbench.data.workloads import Workload
from nnbench.records.cells import LOCAL, Handicap, ProofMode

SCHEMA_VERSION = 3  #: of a run on disk; nnbench.runs.store reads those before it, too

OWN_NAMES = (DISTRIBUTION, FORMER)  #: of nnbench, among versions

DEFAULT_FLOOR = 0.05  #: of a machine that has not measured its own

DEFAULT_TURN_FLOOR = 0.01  #: likewise, where cells take turns


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
    def hardware_kind(self) -> str:
        """Identify the hardware alone, whatever runs on it."""
        return _digest(*self.hardware.values())

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
class Meter:
    """A counter of energy, or why there is none."""

    name: Name  #: ``package-0`` or the like, ``GPU``; ``CPU`` is all packages, if they are not counted
    problem: Line = ""  #: why nothing is counted
    idle_w: Amount | None = (
        None  #: before the run, while nnbench did nothing; None was not to be had
    )


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
    meters: list[Meter] = field(default_factory=list)  #: of energy; empty in older runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What is equal for all backends of a block; a run has one, or several: a sweep."""

    workload: Workload
    threads: Count  #: of a backend that was not given its own
    dataset_sha256: Line = ""  #: of the dataset in memory; the run sets it when it starts
    #: likewise what the dataset's source calls each class; empty where that is 0 to K - 1
    dataset_classes: list[Number] = field(default_factory=list)

    def is_same(self, other: Point) -> bool:
        """Tell whether the same is trained, whatever the dataset is by now."""
        return (self.workload, self.threads) == (other.workload, other.threads)


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

    What is asked for once is the first machine's, where there are several. What was trained is asked for once of a run
    of one point alone: :meth:`at` gives that of each.
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

    def at(self, index: int) -> Self:
        """Return what was asked of one of the points alone."""
        return replace(self, points=[self.points[index]])

    @property
    def point(self) -> Point:
        """The point; there is none for whoever forgets that there are several."""
        [point] = self.points
        return point

    @property
    def workload(self) -> Workload:
        """What was trained at the point."""
        return self.point.workload

    @property
    def threads(self) -> int:
        """CPU threads at the point of a backend that was not given its own."""
        return self.point.threads

    @property
    def blocks(self) -> int:
        """How many blocks it has, if all are made: round after round, each with a block for each point."""
        return self.rounds * len(self.points)

    def number(self, point: int, round_: int) -> int:
        """Return the place of a block among these, from 0: of one point, its round."""
        return round_ * len(self.points) + point

    @property
    def most_threads(self) -> int:
        """CPU threads of a backend that was not given its own, at the point that has the most."""
        return max(point.threads for point in self.points)

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
