"""What a result depends on: the machine, the system, the versions, the repository."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from nnbench.contract import DISTRIBUTION
from nnbench.records import OWN_NAMES, Environment

if TYPE_CHECKING:
    from collections.abc import Iterable


def describe(libraries: Iterable[str] = ()) -> Environment:
    """Describe this machine, with the versions of some installed distributions."""
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
