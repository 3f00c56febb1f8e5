"""Whether a machine is fit to measure on: what may spoil times, what that costs, and what mends it.

``nnbench info --check`` shows everything that is found. A run warns of what costs something and can be mended, as far as
that is seen at once. What is not there to be read, as on other systems than Linux, is unknown.

docs/measurement.md has the sources of what things cost.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from timeit import repeat
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from nnbench import kernel
from nnbench.contract.errors import install_hint
from nnbench.execution import cpus, energy, gpu, machine, variables
from nnbench.execution.disturbance import LOST_SHARE
from nnbench.worker import counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import psutil

    from nnbench.records.runs import Environment

LOAD_SLACK = 0.5  #: what an earlier run of nnbench leaves above its threads
LEAST_MEMORY = 2**30  #: bytes; a cell of torch with MNIST takes about 0.6 of it
LOOK_S = 1.0  #: for which it is watched who computes
BUSY = 0.1  #: of a CPU, above which others are busy; a program has a name from half of that on
PROGRAMS = 3  #: that are named
READING_S = 1e-6  #: that reading the clock may take: a ten-thousandth of the shortest training that is timed at once
RANDOM_LAYOUT = "2"  #: of randomize_va_space: everything is where it is by chance
NO_RANDOM_LAYOUT = 0x40000  #: of a process that was started under ``setarch -R``
THP = "sys/kernel/mm/transparent_hugepage"
CLOCKS = "sys/devices/system/clocksource/clocksource0"
SILENT = "the system does not say"
OF_THE_HOST = "hidden; a virtual machine's host sets it"
DISTURBED = "others compute beside cells"


class State(StrEnum):
    """Whether something is good for measuring."""

    OK = "ok"
    COSTS = "costs"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that times depend on."""

    subject: str
    state: State
    found: str  #: what it is, or why that is unknown
    costs: str = ""
    mend: str = ""  #: a command, or what to do; nothing if nobody here can

    @property
    def warning(self) -> str:
        """What a run says of it."""
        return f"{self.subject} is {self.found}, {self.costs}: {self.mend}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run would be.

    Parameters
    ----------
    cpus
        That nnbench may use; a run may be pinned to any of them.
    threads
        CPU threads of a cell, and how many CPUs it is pinned to.
    uses_gpu
        Whether a backend trains on one.
    tuning
        Names of variables that are set, that tune something, and that no cell gets.
    root
        The folder that stands for ``/``.
    """

    cpus: Sequence[int]
    threads: int = 1
    uses_gpu: bool = False
    tuning: Sequence[str] = ()
    root: Path = kernel.ROOT

    def read(self, path: str) -> str:
        """Return what a file of the kernel's says; nothing if it is not there."""
        return kernel.read(self.root / path)

    def of_cpus(self, path: str) -> list[str]:
        """Return what a file of each CPU says, of those that have it."""
        return list(filter(None, (self.read(f"{machine.CPUS}/cpu{n}/{path}") for n in self.cpus)))

    def table(self, path: str) -> dict[str, str]:
        """Return a file that has a name and a value on each line."""
        lines = (line.replace(":", " ").split() for line in self.read(path).splitlines())
        return {name: value for name, value, *_ in (line for line in lines if line[1:])}


def warnings(place: Place) -> list[str]:
    """Return what may spoil a run, with what to do about it."""
    found = (finding for check in AT_ONCE for finding in check(place))
    return [each.warning for each in found if each.state is State.COSTS and each.mend]


def examine(place: Place, environment: Environment) -> list[Finding]:
    """Return all that is found, which takes more than LOOK_S."""
    glance = look(place)
    found = [finding for check in AT_ONCE for finding in check(place)]
    if not place.uses_gpu:
        found.append(no_gpu())
    return [*found, *now(place, glance), reading(place), held(place), floor(environment)]


# What is seen at once. Each yields its findings; of a GPU that nobody trains on there are none.


def governor(place: Place) -> Iterator[Finding]:
    """Tell whether the clock follows the load."""
    names = place.of_cpus("cpufreq/scaling_governor")
    if not names:
        yield _unknown("clock governor", OF_THE_HOST)
        return
    name = next((each for each in names if each != "performance"), "performance")
    driver = next(iter(place.of_cpus("cpufreq/scaling_driver")), "")
    yield _judge(
        "clock governor",
        f"{name} ({driver})" if driver else name,
        good=name == "performance",
        costs="the clock follows the load",
        mend="sudo cpupower frequency-set -g performance",
    )


def turbo(place: Place) -> Iterator[Finding]:
    """Tell whether clocks go beyond what they can keep."""
    #: Files: what each says where turbo is on, and what to write to it.
    for file, bad, value in (("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")):
        path = f"{machine.CPUS}/{file}"
        if said := place.read(path):
            yield _judge(
                "turbo",
                "on" if said == bad else "off",
                good=said != bad,
                costs="times depend on the temperature",
                mend=f"echo {value} | sudo tee /{path}",
            )
            return
    yield _unknown("turbo", OF_THE_HOST)


def smt(place: Place) -> Iterator[Finding]:
    """Tell whether CPUs share cores."""
    said = place.read(f"{machine.CPUS}/smt/active")
    cores = cpus.siblings(place.root)
    if not said and not cores:
        yield _unknown("SMT", SILENT)
        return
    of_us = {tuple(cores[cpu]) for cpu in place.cpus if cpu in cores}
    shares = said == "1" or (not said and any(len(core) > 1 for core in of_us))
    counted = f", {len(place.cpus)} usable CPUs on {_count(len(of_us), 'core')}" if of_us else ""
    yield _judge(
        "SMT",
        f"{'on' if shares else 'off'}{counted}",
        good=not shares,
        costs="a busy sibling slows a CPU down",
        mend=f"echo off | sudo tee /{machine.CPUS}/smt/control",
    )


def isolation(place: Place) -> Iterator[Finding]:
    """Tell whether the scheduler leaves some of the CPUs alone."""
    path = place.root / machine.CPUS / "isolated"
    if not path.exists():
        yield _unknown("isolation", SILENT)
        return
    isolated = {*cpus.numbers(kernel.read(path))}
    usable = sorted(isolated & {*place.cpus})
    rest = ",".join(map(str, sorted({*place.cpus} - isolated)))
    away = f"taskset --cpu-list {rest} nnbench …" if rest else "boot without isolcpus"
    yield _judge(
        "isolation",
        f"of {','.join(map(str, usable))}" if usable else "of no usable CPU",
        good=not usable or place.threads == 1,
        costs="the kernel moves no threads between them, so that all of a cell's may be on one",
        mend=away,
    )


def load(place: Place) -> Iterator[Finding]:
    """Tell whether the last minute left enough CPUs idle."""
    said = place.read("proc/loadavg").split()
    if not said:
        yield _unknown("load average", SILENT)
        return
    last = float(said[0])
    yield _judge(
        "load average",
        f"{last:.1f} on {_count(len(place.cpus), 'CPU')}",
        good=not place.cpus or last <= len(place.cpus) - place.threads + LOAD_SLACK,
        costs=DISTURBED,
        mend="stop other programs, or wait a minute",
    )


def memory(place: Place) -> Iterator[Finding]:
    """Tell whether a cell finds room."""
    said = place.table("proc/meminfo").get("MemAvailable")
    if said is None:
        yield _unknown("free memory", SILENT)
        return
    free = int(said) * 1024
    yield _judge(
        "free memory",
        f"{free / 2**20:,.0f} MiB",
        good=free >= LEAST_MEMORY,
        costs="a cell may be ended, or wait for a disk",
        mend="stop other programs",
    )


def quota(place: Place) -> Iterator[Finding]:
    """Tell whether control groups stop a cell."""
    granted = machine.quota(place.root)
    yield _judge(
        "CPU quota",
        "none" if granted is None else f"{granted:g} CPUs",
        good=granted is None or granted >= place.threads,
        costs="cells are stopped now and then",
        mend="give the container more",
    )


def layout(place: Place) -> Iterator[Finding]:
    """Tell whether each process has its own addresses, so that no layout favours a backend in all of its rounds."""
    said = place.read("proc/sys/kernel/randomize_va_space")
    if not said:
        yield _unknown("address layout", SILENT)
        return
    personality = place.read("proc/self/personality")
    fixed_here = bool(personality and int(personality, 16) & NO_RANDOM_LAYOUT)
    yield _judge(
        "address layout",
        "random" if said == RANDOM_LAYOUT and not fixed_here else "fixed",
        good=said == RANDOM_LAYOUT and not fixed_here,
        costs="what it does to a backend is the same in all rounds, and in no interval",
        mend="start nnbench without setarch -R"
        if fixed_here
        else f"sudo sysctl kernel.randomize_va_space={RANDOM_LAYOUT}",
    )


def huge_pages(place: Place) -> Iterator[Finding]:
    """Tell whether getting memory may wait until some is made contiguous."""
    enabled, defrag = (_chosen(place.read(f"{THP}/{name}")) for name in ("enabled", "defrag"))
    if not enabled:
        yield _unknown("THP mode", SILENT)
        return
    yield _judge(
        "THP mode",
        f"{enabled}, defrag {defrag}" if defrag else enabled,
        good=not (enabled == defrag == "always"),
        costs="whoever takes memory may wait until it is compacted",
        mend=f"echo madvise | sudo tee /{THP}/defrag",
    )


def battery(_: Place) -> Iterator[Finding]:
    """Tell whether the power is plugged in."""
    import psutil

    ask = getattr(psutil, "sensors_battery", lambda: None)
    state = ask()
    yield _judge(
        "battery",
        "none" if state is None else "in use" if state.power_plugged is False else "not in use",
        good=state is None or state.power_plugged is not False,
        costs="clocks are lowered to save power",
        mend="plug the power in",
    )


def heat(place: Place) -> Iterator[Finding]:
    """Tell how often the CPUs were too hot."""
    names = ("core_throttle_count", "package_throttle_count")
    counts = [int(n) for name in names for n in place.of_cpus(f"thermal_throttle/{name}")]
    if not counts:
        yield _unknown("throttled", OF_THE_HOST)
        return
    yield _judge(
        "throttled",
        f"{_count(max(counts), 'time')} since the machine was started",
        good=not any(counts),
        costs="the clock was lowered, as the CPU was too hot",
    )


def host(place: Place) -> Iterator[Finding]:
    """Tell whether another system may take the CPUs away."""
    lines = place.read("proc/cpuinfo").splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), None)
    if flags is None:
        yield _unknown("virtual machine", SILENT)
        return
    vendor = place.read("sys/class/dmi/id/sys_vendor")
    is_guest = "hypervisor" in flags
    yield _judge(
        "virtual machine",
        f"yes ({vendor})" if is_guest and vendor else "yes" if is_guest else "no",
        good=not is_guest,
        costs="its host sets the clock, and may take CPUs away, which steal tells",
    )


def inheritance(place: Place) -> Iterator[Finding]:
    """Tell which tuning reaches no cell."""
    names = ",".join(place.tuning)
    yield _judge(
        "cells' environment",
        f"without {names}" if names else "complete",
        good=not names,
        costs="times may be other ones than are usual",
        mend=f"{variables.INHERIT}={names} hands them on",
    )


def joules(place: Place) -> Iterator[Finding]:
    """Tell whether it is counted what the CPUs, and a GPU that somebody trains on, use; times do not depend on it."""
    why = energy.why_uncounted(place.root)
    mend = energy.READABLE if why and energy.packages(place.root) else ""
    yield _counted("CPU energy", why, mend)
    if place.uses_gpu:
        yield _counted("GPU energy", gpu.why_uncounted())


def graphics(place: Place) -> Iterator[Finding]:
    """Tell what slows a GPU down, and who else uses it."""
    if not place.uses_gpu:
        return
    users = ", ".join(map(str, gpu.other_processes() or []))
    yield _judge(
        "GPU",
        f"used by process {users}" if users else "used by nobody else",
        good=not users,
        costs="which takes turns with cells",
        mend="stop it (see nvidia-smi)",
    )
    kept = gpu.stays_loaded()
    if kept is not None:
        yield _judge(
            "GPU persistence mode",
            "on" if kept else "off",
            good=kept,
            costs="each process waits until the driver is loaded",
            mend="sudo nvidia-smi --persistence-mode=1",
        )
    if sample := gpu.snapshot():
        reasons = ", ".join(sample.throttled)
        yield _judge(
            "GPU clock",
            f"{sample.clock_mhz} MHz at {sample.temperature_c} °C{reasons and f', slowed down: {reasons}'}",
            good=not reasons,
            costs="cells are marked as disturbed",
        )


AT_ONCE: tuple[Callable[[Place], Iterable[Finding]], ...] = (
    *(governor, turbo, smt, isolation, load, memory, quota, layout, huge_pages),
    *(battery, heat, host, inheritance, joules, graphics),
)


# What takes a look


class Glance(NamedTuple):
    """What others did for a moment."""

    busy: dict[
        int, float
    ]  #: the share of each CPU that they used; empty where the system does not say
    stolen: float | None  #: the share that other virtual machines took of the CPU that lost most
    swapped: int | None  #: pages that went out or came back
    programs: list[tuple[str, int, float]]  #: name, process and share of a CPU, the busiest first


def look(place: Place, seconds: float = LOOK_S) -> Glance:
    """Watch the machine for a moment."""
    import psutil

    def others() -> Iterable[psutil.Process]:
        return [each for each in psutil.process_iter() if each.pid != os.getpid()]

    for each in others():
        _share(each)
    first, swapped = cpus.look(place.root), _swapped(place)
    before = counters.read(place.cpus, root=place.root / "proc")
    time.sleep(seconds)
    after = counters.read(place.cpus, root=place.root / "proc")
    last, moved = cpus.look(place.root), _swapped(place)
    shares = ((each, _share(each)) for each in others())
    programs = [(_name(each), each.pid, share) for each, share in shares if share > BUSY / 2]
    busy = cpus.busy_shares(first, last)
    return Glance(
        {cpu: share for cpu, share in busy.items() if cpu in place.cpus},
        counters.between(before, after).steal_s / seconds if before.steal_s else None,
        None if moved is None or swapped is None else moved - swapped,
        sorted(programs, key=lambda program: -program[2]),
    )


def now(place: Place, glance: Glance) -> Iterator[Finding]:
    """Say what others did in a glance."""
    named = ", ".join(
        f"{name} ({pid}) {share:.0%}" for name, pid, share in glance.programs[:PROGRAMS]
    )
    used = sum(glance.busy.values())
    if glance.busy:
        yield _judge(
            "busy now",
            f"{used:.1f} of {_count(len(glance.busy), 'CPU')}{named and f': {named}'}",
            good=used <= BUSY,
            costs=DISTURBED,
            mend="stop them, or wait",
        )
    else:  # programs alone are seen
        state = State.COSTS if named else State.UNKNOWN
        yield Finding(
            subject="busy now", state=state, found=named or SILENT, costs=named and DISTURBED
        )
    if glance.stolen is None:
        yield _unknown("steal now", SILENT)
    else:
        yield _judge(
            "steal now",
            f"{glance.stolen:.0%} of the CPU that lost most",
            good=glance.stolen <= LOST_SHARE,
            costs="other virtual machines take CPUs away",
            mend="take a quieter host, or more rounds",
        )
    if glance.swapped is None:
        yield _unknown("swap", SILENT)
        return
    sizes = place.table("proc/meminfo")
    in_use = (int(sizes.get("SwapTotal", 0)) - int(sizes.get("SwapFree", 0))) / 2**10
    yield _judge(
        "swap",
        f"{in_use:,.0f} MiB in use, {_count(glance.swapped, 'page')} moved now",
        good=not glance.swapped,
        costs="whoever is swapped waits for a disk",
        mend="stop other programs",
    )


def reading(place: Place) -> Finding:
    """Measure what reading the clock takes."""
    count = 1000
    seconds = min(repeat(time.perf_counter, number=count, repeat=5)) / count
    name = place.read(f"{CLOCKS}/current_clocksource")
    other = "tsc" if "tsc" in place.read(f"{CLOCKS}/available_clocksource").split() else ""
    return _judge(
        "clock",
        f"{name or time.get_clock_info('perf_counter').implementation}, {seconds * 1e9:.0f} ns a reading",
        good=seconds <= READING_S,
        costs="each reading is a call to the kernel",
        mend=other and f"echo {other} | sudo tee /{CLOCKS}/current_clocksource",
    )


def no_gpu() -> Finding:
    """Say that no GPU was found, and whether one could have been."""
    if find_spec("pynvml"):
        return Finding(subject="GPU", state=State.OK, found="none")
    why = "nvidia-ml-py, which could see one, is not installed"
    return Finding(subject="GPU", state=State.UNKNOWN, found=why, mend=install_hint("gpu"))


def held(place: Place) -> Finding:
    """Tell which CPUs another nnbench holds."""
    taken = cpus.taken(place.cpus)
    return _judge(
        "other nnbench",
        f"holds CPU {','.join(map(str, taken))}" if taken else "holds no CPU",
        good=not taken or len(place.cpus) - len(taken) >= place.threads,
        costs="a run shares these CPUs with it",
        mend="wait for it",
    )


def floor(environment: Environment) -> Finding:
    """Tell whether it is known what this machine can tell apart."""
    known = machine.TURN_FLOORS.load(environment, 0.0)
    if not known:
        assumed = machine.noise_floor(environment, turns=True)
        return Finding(
            subject="noise floor",
            state=State.UNKNOWN,
            found=f"never measured; {assumed:.1%} is assumed",
            mend="nnbench selftest",
        )
    when = machine.MEASURED.load(environment, "")
    found = f"{known:.1%}{when and f', measured {when}'}"
    return Finding(subject="noise floor", state=State.OK, found=found)


def _judge(subject: str, found: str, *, good: bool, costs: str, mend: str = "") -> Finding:
    if good:
        return Finding(subject=subject, state=State.OK, found=found)
    return Finding(subject=subject, state=State.COSTS, found=found, costs=costs, mend=mend)


def _unknown(subject: str, why: str, mend: str = "") -> Finding:
    return Finding(subject=subject, state=State.UNKNOWN, found=why, mend=mend)


def _counted(subject: str, why: str, mend: str = "") -> Finding:
    if why:
        return _unknown(subject, why, mend)
    return Finding(subject=subject, state=State.OK, found="counted")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _chosen(text: str) -> str:
    """Return the word in brackets of several."""
    return text.partition("[")[2].partition("]")[0]


def _swapped(place: Place) -> int | None:
    found = place.table("proc/vmstat")
    return int(found["pswpin"]) + int(found["pswpout"]) if "pswpin" in found else None


def _share(process: psutil.Process) -> float:
    """Return the share of a CPU that a process has used since this was asked last; 0 if it hides that."""
    import psutil

    try:
        return float(process.cpu_percent()) / 100
    except psutil.Error:
        return 0.0


def _name(process: psutil.Process) -> str:
    import psutil

    try:
        return str(process.name())
    except psutil.Error:
        return "?"
