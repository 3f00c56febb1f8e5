"""A machine: what it is, what is known of it from earlier runs, and what may spoil times on it.

Each check returns what it found, or None. The facts come from files below /proc and /sys; where
one is missing, as on other systems, there is nothing to say.

Sources: the kernel's Documentation/admin-guide/pm/cpufreq.rst and intel_pstate.rst; V. Stinner,
*pyperf*, "Tune the system for benchmarks".
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from nnbench import files
from nnbench.contract import DISTRIBUTION
from nnbench.execution import gpu, process
from nnbench.records import DEFAULT_FLOOR, OWN_NAMES, Environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T")
ROOT = Path("/")
LOAD_SLACK = 0.5  #: what an earlier run of nnbench leaves above its threads
LEAST_MEMORY = 2**30  #: bytes; a cell of torch with MNIST takes about 0.6 of it


class MachineWarning(UserWarning):
    """Something about the machine spoils times; ``PYTHONWARNINGS=ignore:machine`` hides it."""


def examine(libraries: Iterable[str] = ()) -> Environment:
    """Return what this machine is, with the versions of some installed distributions."""
    import cpuinfo
    import psutil

    names = [DISTRIBUTION, "numpy", *sorted(set(libraries) - {*OWN_NAMES, "numpy"})]
    found = {name: installed_version(name) for name in names}
    return Environment(
        cpu=cpuinfo.get_cpu_info().get("brand_raw") or platform.processor() or "unknown",
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count(),
        usable_cores=len(usable_cpus()) or (os.cpu_count() or 1),
        memory_bytes=psutil.virtual_memory().total,
        gpus=gpus(),
        system=platform.platform(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={name: text for name, text in found.items() if text},
        git=git_state(),
    )


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may run on; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs; empty without nvidia-ml-py or a driver."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [pynvml.nvmlDeviceGetName(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def git_state() -> str | None:
    """Return ``git describe`` of the working directory, or None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """A file of the user's that survives runs: a value for each machine's fingerprint."""

    name: str
    type: type[T]

    @property
    def path(self) -> Path:
        """The file."""
        import platformdirs

        return platformdirs.user_data_path("nnbench") / self.name

    def load(self, environment: Environment) -> T | None:
        """Return what is kept of a machine, or None."""
        return self._read().get(environment.machine_fingerprint)

    def save(self, environment: Environment, value: T) -> Path:
        """Keep a machine's value and return the file.

        Raises
        ------
        ResultsError
            If the file cannot be written.
        """
        values = {**self._read(), environment.machine_fingerprint: value}
        files.write_output(self.path, msgspec.json.format(msgspec.json.encode(values)))
        return self.path

    def _read(self) -> dict[str, T]:
        """Return all values; a damaged file counts as none, since it can be measured again."""
        try:
            content = self.path.read_bytes()
            kind = dict[str, self.type]  # type: ignore[name-defined]  # known when this runs
            return msgspec.json.decode(content, type=kind)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}


#: What ``nnbench selftest`` measured.
FLOORS = Kept("noise-floors.json", float)


def noise_floor(environment: Environment) -> float:
    """Return a machine's floor, a fraction; the default where it was never measured."""
    floor = FLOORS.load(environment)
    return DEFAULT_FLOOR if floor is None else floor


def check(
    cpus: Sequence[int],
    threads: int,
    *,
    uses_gpu: bool = False,
    root: Path = ROOT,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """Return what may spoil a run.

    Parameters
    ----------
    cpus
        That nnbench may use; a run is pinned to the last ones.
    threads
        CPU threads of a cell, and CPUs that it is pinned to.
    uses_gpu
        Whether a backend trains on one.
    root
        The folder that stands for ``/``.
    environment
        Variables that workers might inherit.
    """
    found = [
        governor(cpus[-threads:], root),
        turbo(root),
        smt(root),
        load(len(cpus), threads, root),
        memory(root),
        gpu_users() if uses_gpu else None,
        caps(environment),
    ]
    return [text for text in found if text]


def governor(cpus: Sequence[int], root: Path = ROOT) -> str | None:
    """Look for a CPU whose clock follows the load."""
    for cpu in cpus:
        name = _read(root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")
        if name and name != "performance":
            return f"CPU governor is {name}: sudo cpupower frequency-set -g performance"
    return None


def turbo(root: Path = ROOT) -> str | None:
    """Look for clocks that rise as long as the CPU is cool, under Intel's driver or another's."""
    folder = root / "sys/devices/system/cpu"
    for switch, on, off in (("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")):
        if _read(folder / switch) == on:
            how = f"echo {off} | sudo tee /sys/devices/system/cpu/{switch}"
            return f"turbo is on, times depend on the temperature: {how}"
    return None


def smt(root: Path = ROOT) -> str | None:
    """Look for CPUs that are two halves of a core."""
    if _read(root / "sys/devices/system/cpu/smt/active") != "1":
        return None
    how = "echo off | sudo tee /sys/devices/system/cpu/smt/control"
    return f"SMT is on, a busy sibling slows a CPU down: {how}"


def load(cpus: int, threads: int, root: Path = ROOT) -> str | None:
    """Look for too few idle CPUs, by the load average of the last minute."""
    text = _read(root / "proc/loadavg")
    average = float(text.split()[0]) if text else 0.0
    if not cpus or average <= cpus - threads + LOAD_SLACK:
        return None
    return f"load average is {average:.1f} on {cpus} CPUs: stop other programs, or wait a minute"


def memory(root: Path = ROOT) -> str | None:
    """Look for too little memory; the files count it in KiB."""
    lines = map(str.split, (_read(root / "proc/meminfo") or "").splitlines())
    free = next((int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:"), LEAST_MEMORY)
    if free >= LEAST_MEMORY:
        return None
    return f"only {free / 2**20:.0f} MiB of memory are free: stop other programs"


def gpu_users() -> str | None:
    """Look for others on the GPU."""
    users = gpu.other_processes()
    if not users:
        return None
    return f"the GPU is used by process {', '.join(map(str, users))}: stop it (see nvidia-smi)"


def caps(environment: Mapping[str, str]) -> str | None:
    """Look for variables that would slow some libraries down; workers do not get them."""
    found = process.caps(environment)
    if not found:
        return None
    names = ",".join(found)
    return f"cells run without {names}: {process.INHERIT}={names} hands them on"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
