"""Watch an NVIDIA GPU through nvidia-ml-py: who uses it, how fast it runs, what slows it down.

Every question is answered with None where that package, a driver or a GPU is missing. The parent
asks while the worker trains, so nothing of it is on the clock.

Source: NVIDIA, *NVML API reference guide*, "Clocks event reasons".
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache, wraps
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from nnbench.records.cells import GpuSample
from nnbench.records.events import EpochFinished, Failed, Finished, Progress, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nnbench.records.events import Event

T = TypeVar("T")
INTERVAL_S = 0.5  #: between two samples, at least
#: The bits that mean "slower than it could". An idle GPU, or one whose clocks somebody has set, is
#: not throttled.
REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "temperature",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}
#: A library may compute through the interfaces for graphics, too.
LISTS_OF_USERS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")


class Sampler:
    """Samples the GPU when a worker that trains on one sends an event."""

    def __init__(self) -> None:
        self.samples: list[GpuSample] = []
        self._watches = False
        self._next = 0.0

    def __call__(self, event: Event) -> None:
        """Take a sample if training is about to start or going on, and one is due."""
        match event:
            case Ready(setup=setup):
                self._watches = setup.device == "cuda"
            case Progress():
                pass
            case EpochFinished() | Finished() | Failed():
                return
            case unknown:
                assert_never(unknown)
        if self._watches and monotonic() >= self._next:
            self._next = monotonic() + INTERVAL_S
            if sample := snapshot():
                self.samples.append(sample)


class Use:
    """How much of a GPU's memory a worker has at most, as it is seen whenever that is stopped.

    While it runs all others are stopped: what the GPU has in use afterwards, and had not before, is its own.

    Parameters
    ----------
    device
        Of the backend; on a CPU nothing is looked at.
    """

    def __init__(self, device: str) -> None:
        self.peak: int | None = None  #: bytes; None is unknown
        self._is_watched = device == "cuda"
        self._own = 0
        self._before: int | None = None

    def begin(self) -> None:
        """Note what is in use before the worker runs."""
        if self._is_watched:
            self._before = used_bytes()

    def end(self) -> None:
        """Take what has come since for the worker's; without an answer it is unknown for good."""
        if not self._is_watched:
            return
        now = used_bytes()
        if now is None or self._before is None:
            self._is_watched, self.peak = False, None
        else:
            self._own += now - self._before
            self.peak = max(self._own, self.peak or 0)


def throttle_reasons(samples: Iterable[GpuSample]) -> list[str]:
    """Return why a GPU was throttled in any of the samples."""
    return sorted({reason for sample in samples for reason in sample.throttled})


def _asks(question: Callable[[Any], T]) -> Callable[[], T | None]:
    """Make a function that takes pynvml one that takes nothing."""

    @wraps(question)
    def ask() -> T | None:
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            try:
                return question(pynvml)
            finally:
                pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            return None

    return ask


def _device(nvml: Any) -> Any:
    """Return the handle of the first GPU that CUDA may use, as CUDA_VISIBLE_DEVICES names it."""
    name = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


@_asks
def names(nvml: Any) -> list[str]:
    """Return the names of all GPUs."""
    handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
    return [nvml.nvmlDeviceGetName(handle) for handle in handles]


@_asks
def snapshot(nvml: Any) -> GpuSample:
    """Return the GPU's clock, its temperature, and why it is throttled."""
    device = _device(nvml)
    bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)
    return GpuSample(
        clock_mhz=nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM),
        temperature_c=nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
        throttled=[text for bit, text in REASONS.items() if bits & bit],
    )


@_asks
def stays_loaded(nvml: Any) -> bool:
    """Return whether the driver stays loaded while nobody uses the GPU: persistence mode."""
    return bool(nvml.nvmlDeviceGetPersistenceMode(_device(nvml)))


@_asks
def free_bytes(nvml: Any) -> int:
    """Return how much of the GPU's memory nobody has."""
    return int(nvml.nvmlDeviceGetMemoryInfo(_device(nvml)).free)


@_asks
def other_processes(nvml: Any) -> list[int]:
    """Return the processes that compute on the GPU; before a run, none is nnbench's."""
    return [each.pid for each in nvml.nvmlDeviceGetComputeRunningProcesses(_device(nvml))]


@cache
def _kept_open() -> Any:
    """Return pynvml, ready to answer until this process ends; None if there is no GPU to ask."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _asks_often(question: Callable[[Any], T]) -> Callable[[], T | None]:
    """Make a function likewise that is asked so often that opening NVML each time would cost too much."""

    @wraps(question)
    def ask() -> T | None:
        nvml = _kept_open()
        if nvml is None:
            return None
        try:
            return question(nvml)
        except nvml.NVMLError:
            return None

    return ask


@_asks_often
def used_bytes(nvml: Any) -> int:
    """Return how much of the GPU's memory is in use, whoever has it."""
    return int(nvml.nvmlDeviceGetMemoryInfo(_device(nvml)).used)


@_asks_often
def energy_j(nvml: Any) -> float:
    """Return what the GPU has used since its driver was loaded; its counter moves every 20 to 100 ms."""
    return float(nvml.nvmlDeviceGetTotalEnergyConsumption(_device(nvml)) * 1e-3)


def why_uncounted() -> str:
    """Return why the energy of the GPU is not known, in a few words; nothing if it is."""
    if energy_j() is not None:
        return ""
    if (found := names()) is None:
        return "nvidia-ml-py is not installed, or finds no driver"
    return "NVML has no counter of its energy" if found else "NVML finds no GPU"


def holders() -> set[int]:
    """Return the processes that have memory on any GPU, as far as they are seen.

    While timed calls run it is asked so often that opening NVML each time would cost too much.
    """
    found: set[int] = set()
    if nvml := _kept_open():
        with suppress(nvml.NVMLError):
            for index in range(nvml.nvmlDeviceGetCount()):
                device = nvml.nvmlDeviceGetHandleByIndex(index)
                for list_users in LISTS_OF_USERS:
                    found |= {each.pid for each in getattr(nvml, list_users)(device)}
    return found
