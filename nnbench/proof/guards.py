"""Clocks that cannot be right, and remarks on those that may not be.

A backend may stop its clock before the work is done, do it elsewhere or afterwards, or leave the parameters as they were.
What is physically impossible, contradicts itself or was seen from outside makes a cell ``invalid``. A worker's clock
is held against two that it cannot touch: the CPU time that the kernel accounts to all of its processes, and
the clock of nnbench itself. docs/measurement.md has the measurements behind the thresholds.
"""

from __future__ import annotations

from itertools import chain
from statistics import median, median_low
from typing import TYPE_CHECKING, NamedTuple

from nnbench.figures.metrics import PHASES_WORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.records.cells import CellResult, Part

SLACK = 1.1  #: the ceiling's own noise: up to this much above it a speed is no remark
DEVICE_SHARE, DEVICE_CALL_S = 0.05, 1e-3  #: how far two clocks may differ: of all, and each call
#: Of a call, what may not be on the worker's clock. Right ones had 0.3 to 1.3 ms in their cells' medians, and a machine
#: may be half as fast now and then; so no backend's own pace is asked for, which it could choose.
CALL_S = 2.5e-3
SPIN_S = 5e-3  #: CPU time of each of several threads after a call: they spin until they are stopped
ONCE_S = 0.05  #: for all calls together: single ones had 42 ms when the machine was busy
#: Less than this in a whole cell is never held against it: five calls of 1 ms had 6 ms, when the machine was busy.
LEAST_S = 0.01
ONCE_CPU_S = 0.02  #: likewise of CPU time, which others do not lengthen; ended processes are counted by ticks
#: Of a dump: so much more than its state takes at a slow pace, or than twice the first one, if that is no large share of
#: a call. Right ones had 0.5 to 1.7 ms, 5 to 22 for 8 MB; number by number 3. Only one update can be put off, since the losses are there.
DUMP_S, DUMP_FACTOR, DUMP_SHARE, DUMP_BYTES_PER_S = 5e-3, 2.0, 0.1, 2.5e8
ORDER_BYTES = 8  #: of an example in the order that a call gets, which comes as slowly
STATE_BYTES = 12  #: of a parameter: itself and two moments, in float32
#: The remark on a cell that shows gradients, and no phases.
NO_PHASES = "phases were left out: they would have taken longer than the budget"
#: Too many threads use their CPUs so fully, and wait for them all the same, for so much of a call's time.
FULL, CROWDED = 0.9, 0.5
PHASES_FACTOR = 2.0  #: how far phases may be from a step; those of whole steps in one call are


class Call(NamedTuple):
    """A timed call: the parts that its epochs have of it, together."""

    images: int
    train_s: float
    wall_s: float | None
    late_s: float | None
    waited_s: float | None
    cpu_s: float | None
    dump_cpu_s: float | None
    dump_s: float | None
    threads: int | None


def calls(result: CellResult) -> list[Call]:
    """Return the timed calls of a cell; none of a cell that was not cut into parts."""
    found: list[Call] = []
    pending: list[Part] = []
    for part in chain.from_iterable(epoch.parts for epoch in result.epochs):
        pending.append(part)
        if part.state is not None:
            found.append(_together(pending))
            pending = []
    return found


def _together(parts: Sequence[Part]) -> Call:
    last = parts[-1]
    return Call(
        images=sum(part.images for part in parts),
        train_s=sum(part.train_s for part in parts),
        wall_s=_sum(part.wall_s for part in parts),
        late_s=_sum(part.late_s for part in parts),
        waited_s=_sum(part.waited_s for part in parts),
        cpu_s=_sum(part.cpu_s for part in parts),
        dump_cpu_s=last.dump_cpu_s,
        dump_s=last.dump_s,
        threads=last.threads,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def problem(result: CellResult) -> str | None:
    """Return why a cell's clock cannot be right, or None."""
    if result.violations:
        return result.violations[0]
    checks: tuple[Callable[[CellResult], str | None], ...] = (
        _beyond_the_peak,
        _less_than_its_cpu_time,
        _more_cpus_than_given,
        _less_than_the_wall_time,
        _put_off,
        _clocks_disagree,
    )
    return next(filter(None, (check(result) for check in checks)), None)


def _beyond_the_peak(result: CellResult) -> str | None:
    achieved, peak = result.achieved_gflops, result.peak_gflops
    if not achieved or not peak or achieved <= peak:
        return None
    return f"{achieved:.0f} GFLOP/s cannot be, such CPUs compute {peak:.0f} at most"


def _is_beyond(excesses: Sequence[float], each: float, once: float) -> bool:
    """Tell whether calls have too much of something, which is zero but for noise.

    Single calls may have a lot, when the machine is busy: the median decides, and the sum, since a few
    calls might hide what all would show. A few short ones may all have more, together not much.
    """
    total = sum(max(0.0, excess) for excess in excesses)
    if total <= LEAST_S:
        return False
    return median(excesses) > each or total > each * len(excesses) + once


def _cpu_after_s(threads: int) -> float:
    """Return the CPU time that calls may have after their clocks."""
    return CALL_S if threads == 1 else threads * SPIN_S


def _spins_s(result: CellResult, call: Call) -> float:
    """Return for how long a worker's threads may have spun after its answer: nnbench was late to stop them.

    A single one has nothing to do then, so that this is no room for a backend on a busy machine.
    """
    return 0.0 if result.threads == 1 else call.late_s or 0.0


def _order_s(call: Call) -> float:
    """Return how long a worker may take for the order of a call, which comes before its clock starts."""
    return call.images * ORDER_BYTES / DUMP_BYTES_PER_S


def _less_than_its_cpu_time(result: CellResult) -> str | None:
    timed = [call for call in calls(result) if call.cpu_s is not None]
    threads = result.threads
    excesses = [
        (call.cpu_s or 0.0) - threads * (call.train_s + _spins_s(result, call)) - _order_s(call)
        for call in timed
    ]
    if not _is_beyond(excesses, _cpu_after_s(threads), ONCE_CPU_S):
        return None
    cpu_s, train_s = sum(c.cpu_s or 0.0 for c in timed), sum(c.train_s for c in timed)
    most = f"by the worker's clock, with {_threads(threads)}"
    return f"{cpu_s:.4g} s of CPU time in {train_s:.4g} s {most}"


def _more_cpus_than_given(result: CellResult) -> str | None:
    timed = [c for c in calls(result) if c.cpu_s is not None and c.wall_s is not None]
    threads = result.threads
    excesses = [
        (call.cpu_s or 0.0) - threads * ((call.wall_s or 0.0) + _spins_s(result, call))
        for call in timed
    ]
    if not _is_beyond(excesses, _cpu_after_s(threads), ONCE_CPU_S):
        return None
    cpu_s, wall_s = sum(c.cpu_s or 0.0 for c in timed), sum(c.wall_s or 0.0 for c in timed)
    return f"{cpu_s:.4g} s of CPU time in {wall_s:.4g} s: more than {_threads(threads)}"


def _less_than_the_wall_time(result: CellResult) -> str | None:
    """Tell whether the worker's clock ran slow, or not all the time.

    What nobody could run in is not held against it, on its clock or not: the CPU time is what a busy
    machine cannot lengthen.
    """
    timed = calls(result)
    walls = [
        (call, call.wall_s - call.train_s - call.late_s - call.waited_s - _order_s(call))
        for call in timed
        if call.wall_s is not None and call.late_s is not None and call.waited_s is not None
    ]
    if not _is_beyond([excess for _, excess in walls], CALL_S, ONCE_S):
        return None
    train_s, wall_s = sum(c.train_s for c, _ in walls), sum(c.wall_s or 0.0 for c, _ in walls)
    return f"trained {train_s:.4g} s by the worker's clock, {wall_s:.4g} s by nnbench's own"


def _put_off(result: CellResult) -> str | None:
    """Tell whether dumps take longer than one before training, or than any should.

    Pools of several threads spin while the main one dumps: only a single thread's CPU time tells.
    """
    timed = calls(result)
    parameters = result.setup.parameters if result.setup else 0
    least_s = STATE_BYTES * parameters / DUMP_BYTES_PER_S
    wall = [(call.train_s, call.dump_s) for call in timed]
    cpu = [(call.train_s, call.dump_cpu_s) for call in timed if result.threads == 1]
    kinds = ((wall, result.dump_s, ONCE_S), (cpu, result.dump_cpu_s, ONCE_CPU_S))
    for dumps, first_s, once in kinds:
        known = [(train_s, dump_s) for train_s, dump_s in dumps if dump_s is not None]
        excesses = [
            dump_s - max(least_s, min(DUMP_FACTOR * (first_s or 0.0), DUMP_SHARE * train_s))
            for train_s, dump_s in known
        ]
        if _is_beyond(excesses, DUMP_S, once):
            longest_s = max(dump_s for _, dump_s in known)
            return f"a dump after training takes up to {longest_s:.2g} s: work was put off"
    return None


def _clocks_disagree(result: CellResult) -> str | None:
    by_device = [epoch.device_s for epoch in result.epochs if epoch.device_s is not None]
    if not by_device or len(by_device) < len(result.epochs):
        return None
    count = sum(epoch.calls for epoch in result.epochs)
    tolerance = DEVICE_SHARE * result.train_s + DEVICE_CALL_S * count
    if abs(sum(by_device) - result.train_s) <= tolerance:
        return None
    return f"trained {result.train_s:.4g} s by the host's clock, {sum(by_device):.4g} s by the device's"


def remarks(result: CellResult) -> Iterator[str]:
    """Yield what makes the times of a cell less sure, or could not be checked."""
    if compiled := sum(epoch.compilations for epoch in result.epochs):
        yield f"compiled {_times(compiled)} while timed"
    for name, threads in (result.setup.thread_pools if result.setup else {}).items():
        if threads != result.threads:
            yield f"{name} has {threads} threads, {result.threads} asked for"
    yield from _threads_apart(result)
    achieved, ceiling = result.achieved_gflops, result.ceiling_gflops
    if achieved and ceiling is None:
        yield "no ceiling of the FLOP/s was measured"
    if achieved and ceiling and achieved > SLACK * ceiling:
        yield "faster than the matrix products of NumPy, PyTorch and JAX here"
    if result.shared_cpus:
        yield f"CPU {', '.join(map(str, result.shared_cpus))} was another nnbench's, too: too few were free"
    yield from _unwatched(result)
    yield from _phases_apart(result)


def _threads_apart(result: CellResult) -> Iterator[str]:
    """Yield what was seen of the threads, whatever pools say; on a GPU those of the CPU compute little."""
    setup = result.setup
    if setup and setup.gil:
        yield "the GIL of this free-threaded Python is on: a library may need it"
    asked = result.threads
    seen = [
        call.threads if call.threads <= asked or _is_crowded(call, asked) else asked
        for call in calls(result)
        if call.threads is not None
    ]
    if setup and setup.device == "cpu" and seen and (usual := median_low(seen)) != asked:
        yield f"{_threads(usual)} computed, {asked} asked for"


def _is_crowded(call: Call, cpus: int) -> bool:
    """Tell whether threads were in each other's way; those that compute in turns are not, as JAX has them.

    Where others took the CPUs threads wait as well, but had less of them.
    """
    if call.waited_s is None or call.wall_s is None or call.cpu_s is None:
        return False
    is_full = call.cpu_s >= FULL * cpus * call.wall_s
    return is_full and call.waited_s >= CROWDED * call.wall_s


def _unwatched(result: CellResult) -> Iterator[str]:
    """Yield what only the worker vouches for; before parts there was nothing else."""
    if result.private is False:
        yield "no temporary folder of its own: it could find what other backends leave in there"
    timed = calls(result)
    if any(call.cpu_s is None for call in timed):
        yield "threads and clock are the worker's word: this system tells no CPU time of others"
    elif any(call.late_s is None or call.waited_s is None for call in timed):
        yield "the clock is held against CPU time alone: this system tells no process how long it waited"


def _phases_apart(result: CellResult) -> Iterator[str]:
    phases = result.phases
    if phases is None and result.proof and result.proof.gradient is not None:
        yield NO_PHASES
    if phases is None or not result.train_s or not result.steps:
        return
    of_phases = (phases.gather_us, phases.feedforward_us, phases.backprop_us, phases.update_us)
    summed = sum(median(each) for each in of_phases if each)
    step = result.train_s / result.steps * 1e6
    if not step / PHASES_FACTOR <= summed <= step * PHASES_FACTOR:
        yield PHASES_WORD


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _times(count: int) -> str:
    return f"{count} time{'s' if count > 1 else ''}"
