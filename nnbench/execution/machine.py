"""What may spoil a run, looked up before it starts, with what to do about it.

Each check returns what it found, or None. The facts come from files below /proc and /sys; where
one is missing, as on other systems, there is nothing to say.

Sources: the kernel's Documentation/admin-guide/pm/cpufreq.rst and intel_pstate.rst; V. Stinner,
*pyperf*, "Tune the system for benchmarks".
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nnbench.execution import gpu, variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path("/")
LOAD_SLACK = 0.5  #: what an earlier run of nnbench leaves above its threads
LEAST_MEMORY = 2**30  #: bytes; a cell of torch with MNIST takes about 0.6 of it


class MachineWarning(UserWarning):
    """Something about the machine spoils times; ``PYTHONWARNINGS=ignore:machine`` hides it."""


def warn(cpus: Sequence[int], threads: int, *, uses_gpu: bool) -> list[str]:
    """Warn of everything that :func:`check` finds on this machine, and return it."""
    found = check(cpus, threads, uses_gpu=uses_gpu)
    for text in found:
        warnings.warn(f"machine: {text}", MachineWarning, stacklevel=2)
    return found


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
    found = variables.caps(environment)
    if not found:
        return None
    names = ",".join(found)
    return f"cells run without {names}: {variables.INHERIT}={names} hands them on"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
