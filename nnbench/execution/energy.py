"""What counters of energy say: RAPL of the CPUs' packages, NVML of a GPU. Where they say nothing, nothing is estimated.

The parent alone reads them, around each timed call and off the worker's clock. docs/measurement.md tells what is in these
figures, and what is not.

Sources: the kernel's Documentation/power/powercap/powercap.rst; Intel, *Software developer's manual*, volume 3, "RAPL
interfaces"; NVIDIA, *NVML API reference guide* (nvmlDeviceGetTotalEnergyConsumption); Z. Yang, K. Adamek and W. Armour,
"Part-time power measurements: nvidia-smi's lack of attention" (SC 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, sleep
from typing import TYPE_CHECKING, NamedTuple

from nnbench import kernel
from nnbench.execution import gpu, machine
from nnbench.records.runs import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

ZONES = "sys/class/powercap"
RAPL = "intel-rapl:*"  #: of AMD's CPUs, too; intel-rapl-mmio would be the same packages again
CPU, GPU = "CPU", "GPU"  #: names of meters: of packages that are not counted, and of the GPU
READABLE = f"sudo chmod a+r /{ZONES}/{RAPL}/energy_uj"
MOST_W = 1000.0  #: of a package: a counter that could have gone round twice says nothing
IDLE_S = 1.0  #: for which idle power is measured; some ten steps of a GPU's counter
STILL_S = 0.3  #: for which a GPU's counter may stand still; steps of 20 to 100 ms are known
LOOK_S = 1e-3  #: between two looks at it


class Energy(NamedTuple):
    """What was counted during a call; None is unknown."""

    cpu_j: float | None = None  #: of all packages on which the worker has a CPU
    gpu_j: float | None = None  #: of the GPU, from one step of its counter to another
    gpu_s: float | None = None  #: in so much time: rest after the call, up to a step, is in it
    gpu_rest_w: float | None = None  #: power of such rest: in the next step


class Reading(NamedTuple):
    """What a counter said, and when."""

    at: float
    joules: float

    def since(self, before: Reading) -> Reading:
        """Return what has come since another one."""
        return Reading(self.at - before.at, max(0.0, self.joules - before.joules))


@dataclass(frozen=True, slots=True)
class Package:
    """CPUs in one socket, or on one die of it, whose energy the kernel counts."""

    name: str  #: as powercap has it
    folder: Path
    range_j: float  #: at which the counter begins anew; 0 is unknown

    def joules(self) -> float:
        """Return what it has counted so far.

        Raises
        ------
        OSError, ValueError
            If this user may not read it, or it is not there any more.
        """
        return int((self.folder / "energy_uj").read_text()) * 1e-6

    def between(self, before: float, after: float, seconds: float) -> float | None:
        """Return what it has counted between two readings that are so far apart; None is unknown."""
        if after >= before and not self.range_j:
            return after - before
        if seconds * MOST_W >= self.range_j:
            return None
        return after - before + (self.range_j if after < before else 0.0)


def packages(root: Path = kernel.ROOT) -> list[Package]:
    """Return all packages that have a counter, readable or not; ``root`` stands for ``/``."""
    found = []
    for folder in sorted((root / ZONES).glob(RAPL)):
        name, span = (kernel.read(folder / each) for each in ("name", "max_energy_range_uj"))
        if name.startswith("package-"):
            found.append(Package(name, folder, int(span) * 1e-6 if span.isdigit() else 0.0))
    return found


def why_uncounted(root: Path = kernel.ROOT) -> str:
    """Return why the energy of the CPUs is not known, in a few words; nothing if it is."""
    found = packages(root)
    if not found:
        return "no RAPL counter is to be seen: virtual machines and containers hide it"
    for package in found:
        try:
            package.joules()
        except OSError as error:
            return f"/{ZONES}/{package.folder.name}/energy_uj: {error.strerror}"
        except ValueError:
            return f"/{ZONES}/{package.folder.name}/energy_uj holds no number"
    return ""


def of_cpus(cpus: Iterable[int], root: Path = kernel.ROOT) -> list[Package] | None:
    """Return the packages that some CPUs are on, all of them if there are none; None if one is not counted."""
    found = {package.name: package for package in packages(root)}
    used = dict[str, Package]()
    for cpu in cpus:
        folder = root / machine.CPUS / f"cpu{cpu}" / "topology"
        socket, die = (kernel.read(folder / f"{each}_id") for each in ("physical_package", "die"))
        names = f"package-{socket}-die-{die}", f"package-{socket}"
        own = next((found[name] for name in names if name in found), None)
        if own is None:
            return None
        used[own.name] = own
    return list((used or found).values()) or None


class Counters:
    """Counts what calls of a worker take: one after the other, each from ``begin`` to ``end``.

    Parameters
    ----------
    used
        Packages that its CPUs are on; None if these are not counted.
    on_gpu
        Whether it trains on one.
    """

    def __init__(self, used: Sequence[Package] | None = None, *, on_gpu: bool = False) -> None:
        self._packages, self._on_gpu = used or (), on_gpu
        self._first: list[float] | None = None
        self._last: list[float] | None = None
        self._began = self._paused = 0.0
        self._gpu: Reading | None = None

    @property
    def names(self) -> list[str]:
        """The meters that it reads."""
        return [package.name for package in self._packages] + [GPU] * self._on_gpu

    def begin(self) -> None:
        """Begin to count a call, of which nothing runs yet: this may wait for a GPU's counter."""
        self._gpu = _moved() if self._on_gpu else None
        self._first, self._began = self._read(), perf_counter()

    def pause(self) -> None:
        """Read what is exact: the call has just answered."""
        self._last, self._paused = self._read(), perf_counter()

    def end(self) -> Energy:
        """Return what was counted of a call, of which nothing runs any more: this may wait likewise."""
        cpu_j, seconds = None, self._paused - self._began
        if self._first and self._last:
            each = [
                package.between(before, after, seconds)
                for package, before, after in zip(
                    self._packages, self._first, self._last, strict=True
                )
            ]
            cpu_j = None if None in each else sum(filter(None, each))
        if self._gpu and (last := _moved()) and (rest := _moved()):
            counted, rested = last.since(self._gpu), rest.since(last)
            return Energy(cpu_j, counted.joules, counted.at, rested.joules / rested.at)
        return Energy(cpu_j)

    def watts(self) -> float | None:
        """Return the power of the call that has ended, of all that was counted."""
        found = self.end()
        if found.gpu_j is not None and found.gpu_s:
            return found.gpu_j / found.gpu_s
        return None if found.cpu_j is None else found.cpu_j / (self._paused - self._began)

    def _read(self) -> list[float] | None:
        try:
            return [package.joules() for package in self._packages]
        except (OSError, ValueError):
            return None


def of_parts(cpus: Sequence[int]) -> Counters:
    """Return the counters of parts, by the CPUs that a cell is pinned to: a GPU's is too coarse for them."""
    return Counters(None if why_uncounted() else of_cpus(cpus))


def of_device(device: str) -> Counters:
    """Return the counter of a cell's device, if that is not its CPUs."""
    return Counters(on_gpu=device == "cuda" and gpu.energy_j() is not None)


def meters(*, uses_gpu: bool, root: Path = kernel.ROOT, seconds: float = IDLE_S) -> list[Meter]:
    """Return what is counted on this machine, and the power of each while nnbench does nothing.

    That takes so long if anything is counted.
    """
    problems = {CPU: why_uncounted(root)} | ({GPU: gpu.why_uncounted()} if uses_gpu else {})
    counters = [] if problems[CPU] else [Counters([each]) for each in packages(root)]
    if not problems.get(GPU, GPU):
        counters.append(Counters(on_gpu=True))
    for each in counters:
        each.begin()
    if counters:
        sleep(seconds)
    for each in counters:
        each.pause()
    return [
        *(Meter(name=name, problem=problem) for name, problem in problems.items() if problem),
        *(Meter(name=each.names[0], idle_w=each.watts()) for each in counters),
    ]


def _moved() -> Reading | None:
    """Wait until the GPU's counter moves; return what it says then, or None."""
    start, before = perf_counter(), gpu.energy_j()
    while before is not None and perf_counter() - start < STILL_S:
        now = gpu.energy_j()
        if now is not None and now != before:
            return Reading(perf_counter(), now)
        sleep(LOOK_S)
    return None
