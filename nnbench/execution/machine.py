"""A machine: what it is, and what is known of it from earlier runs.

What may spoil times on it is in :mod:`nnbench.execution.fitness`.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from nnbench import distributions, files, interpreter, kernel
from nnbench.contract import DISTRIBUTION
from nnbench.contract.bounds import Fraction, Line
from nnbench.execution import gpu, process, variables
from nnbench.kernel import ROOT, read
from nnbench.records.runs import DEFAULT_FLOOR, DEFAULT_TURN_FLOOR, OWN_NAMES, Environment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

T = TypeVar("T")
CPUS = "sys/devices/system/cpu"
OTHER_FOLDER = "name another folder in XDG_DATA_HOME"


class MachineWarning(UserWarning):
    """Something about the machine spoils times; ``PYTHONWARNINGS=ignore:machine`` hides it."""


def examine(libraries: Iterable[str] = ()) -> Environment:
    """Return what this machine is, with the versions of some installed distributions."""
    import psutil

    names = [DISTRIBUTION, "numpy", *sorted(set(libraries) - {*OWN_NAMES, "numpy"})]
    return Environment(
        cpu=cpu_name(),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count(),
        usable_cores=most_threads(),
        quota=quota(),
        memory_bytes=psutil.virtual_memory().total,
        gpus=gpu.names() or [],
        system=platform.platform(),
        python=python(),
        versions=distributions.versions(names),
        git=git_state(),
    )


def cpu_name(root: Path = ROOT) -> str:
    """Return what the CPU calls itself; py-cpuinfo, which takes a quarter of a second, is asked where Linux does not say it."""
    lines = (line.partition(":") for line in read(root / "proc/cpuinfo").splitlines())
    names = (text.strip() for name, _, text in lines if name.strip() == "model name")
    if found := next(names, ""):
        return found
    import cpuinfo

    return cpuinfo.get_cpu_info().get("brand_raw") or platform.processor() or "unknown"


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may run on; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def quota(root: Path = ROOT) -> float | None:
    """Return how many CPUs' time the control groups of this process grant it; None where there is no limit."""
    return min(kernel.quotas(root), default=None)


def most_threads() -> int:
    """Return how many threads can compute at once: on CPUs that this process may use, in its share of them."""
    cpus, granted = len(usable_cpus()) or os.cpu_count() or 1, quota()
    return cpus if granted is None else max(1, min(cpus, int(granted)))


def python() -> str:
    """Return which Python cells run with.

    Where it can be switched, this process may have been in another way, by an option or by a variable that is not
    handed on. So another process is asked, which has what a cell's has.
    """
    if not interpreter.can_be_switched():
        return interpreter.describe()
    command = process.command(None, interpreter.__name__)
    handed = variables.handed_on(os.environ)
    done = subprocess.run(command, env=handed, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def git_state() -> str | None:
    """Return ``git describe`` of the working directory, or None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() or None


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """A file of the user's that survives runs: a value for each machine's fingerprint."""

    name: str
    type: type[T]

    @property
    def path(self) -> Path:
        """The file."""
        import platformdirs

        return files.of_user(platformdirs.user_data_path) / self.name

    def load(self, environment: Environment, default: T) -> T:
        """Return what is kept of a machine, or the default."""
        return self._read().get(environment.machine_fingerprint, default)

    def save(self, environment: Environment, value: T) -> Path:
        """Keep a machine's value and return the file.

        Raises
        ------
        ResultsError
            If the file cannot be written.
        """
        values = {**self._read(), environment.machine_fingerprint: value}
        with files.named(self.path, instead=OTHER_FOLDER):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(self.path, msgspec.json.format(msgspec.json.encode(values)))
        return self.path

    def check(self) -> None:
        """Refuse what could not be kept, before the work for it.

        Raises
        ------
        ResultsError
            If the file cannot be written.
        """
        files.check_folder(self.path.parent, OTHER_FOLDER)

    def _read(self) -> dict[str, T]:
        """Return all values; a damaged file counts as none, since it can be measured again."""
        try:
            content = files.read_regular(self.path)
            kind = dict[str, self.type]  # type: ignore[name-defined]  # known when this runs
            return msgspec.json.decode(content, type=kind)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return {}


#: Of cells that train whole, by ``nnbench selftest``; of those that take turns; and standard deviations of a
#: pair of such, in logarithms.
FLOORS: Kept[float] = Kept("noise-floors.json", Fraction)
TURN_FLOORS: Kept[float] = Kept("turn-floors.json", Fraction)
TURN_SPREADS: Kept[float] = Kept("turn-spreads.json", Fraction)
MEASURED: Kept[str] = Kept("floors-measured.json", Line)  #: when, as records have times


def noise_floor(environment: Environment, *, turns: bool = False) -> float:
    """Return a machine's floor, a fraction; the default where it was never measured."""
    if turns:
        return TURN_FLOORS.load(environment, DEFAULT_TURN_FLOOR)
    return FLOORS.load(environment, DEFAULT_FLOOR)
