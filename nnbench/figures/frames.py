"""Derive the accuracy and the timing table of a run from its cells, as pandas frames.

Frames hold raw numbers, in the units of their column names; ``nnbench.figures.columns`` makes text
of them. A backend with a cell that failed or is invalid has no rank: its figures are left out, and
its status and message say why. What it measured stays in ``cells.jsonl``.
"""

from __future__ import annotations

from math import inf, nan
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from nnbench.figures import metrics, statistics
from nnbench.figures.metrics import PARTS, PHASES
from nnbench.records import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnbench.figures.statistics import Comparison
    from nnbench.records import CellResult, RunInfo

    Row = dict[str, object]


class Group(NamedTuple):
    """The cells of a backend, round by round, and how long they took."""

    cells: list[CellResult]
    seconds: list[float | None]  #: of training an epoch in each; None did not count
    times: list[float]  #: the same; empty if one did not count, and the backend has no rank


def groups(info: RunInfo, cells: Iterable[CellResult]) -> dict[str, Group]:
    """Group the cells by backend: the fastest first, those without a rank last."""
    by_label: dict[str, list[CellResult]] = {
        name: [] for name in (*info.backends, *info.unavailable)
    }
    for cell in sorted(cells, key=lambda cell: cell.round):
        if cell.backend in by_label:
            by_label[cell.backend].append(cell)
    grouped = {name: _group(own) for name, own in by_label.items() if own}
    median_s = {name: median(group.times or [inf]) for name, group in grouped.items()}
    return {name: grouped[name] for name in sorted(grouped, key=median_s.__getitem__)}


def _group(cells: list[CellResult]) -> Group:
    seconds = [_measured_s(cell) for cell in cells]
    return Group(cells, seconds, [] if None in seconds else _known(seconds))


def _measured_s(cell: CellResult) -> float | None:
    """Return training seconds an epoch of a cell that counts; None if it does not, or cannot be true."""
    seconds = metrics.epoch_s(cell)
    is_true = cell.status.counts and seconds and seconds > 0 and cell.steps
    return seconds if is_true else None


def accuracy(info: RunInfo, groups: dict[str, Group]) -> pd.DataFrame:
    """Return one row for each backend: how well it does, and how near to the reference."""
    return pd.DataFrame([_accuracy_row(info, name, group) for name, group in groups.items()])


def timing(info: RunInfo, groups: dict[str, Group]) -> pd.DataFrame:
    """Return one row for each backend: its times, its memory, and how it compares with the baseline.

    They are compared block by block; Holm's method adjusts p-values.
    """
    baseline = groups.get(info.baseline, Group([], [], []))
    compared = {name: compare(group, baseline, info.noise_floor) for name, group in groups.items()}
    others = [c if name != info.baseline else None for name, c in compared.items()]
    intervals = [c.interval if c else None for c in others]
    against = {
        "ratio": [c.ratio if c else None for c in compared.values()],
        "ratio_low": [i.low if i else None for i in intervals],
        "ratio_high": [i.high if i else None for i in intervals],
        "p_value": statistics.holm([c.p_value if c else None for c in others]),
        "verdict": [c.verdict if c else None for c in others],
    }
    frame = pd.DataFrame([_timing_row(info, name, group) for name, group in groups.items()])
    return frame.join(pd.DataFrame(against))


def compare(group: Group, other: Group, floor: float) -> Comparison | None:
    """Compare the times of two backends, round by round; None if they share no round."""
    others = {c.round: s for c, s in zip(other.cells, other.seconds, strict=True) if s is not None}
    times = zip(group.cells[: len(group.times)], group.times, strict=True)
    pairs = [(own, others[c.round]) for c, own in times if c.round in others]
    if not pairs:
        return None
    return statistics.compare([own for own, _ in pairs], [base for _, base in pairs], floor)


def _head(name: str, group: Group) -> Row:
    """Sum up a backend: its worst status, how often, and the first message of that."""
    head: Row = {"backend": name, "rounds": len(group.cells)}
    # From bad to good: without figures, wrong, ended by the budget.
    ranks = [
        (seconds is not None, cell.status.kind is Kind.MEASURED, cell.status is Status.OK)
        for cell, seconds in zip(group.cells, group.seconds, strict=True)
    ]
    worst = group.cells[ranks.index(min(ranks))]
    if worst.status is Status.OK:
        return head | {"status": Status.OK.value, "message": ""}
    if worst.status is Status.BUDGET:
        message = f"the budget ended training after {worst.images:,} images; ~ is extrapolated"
        return head | {"status": Status.BUDGET.value, "message": message}
    bad = sum(c.status is worst.status for c in group.cells)
    count = f" {bad}/{len(group.cells)}" if group.cells[1:] else ""
    return head | {"status": worst.status + count, "message": worst.message}


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _accuracy_row(info: RunInfo, name: str, group: Group) -> Row:
    cells, target = group.cells, info.workload.target_accuracy
    row = _head(name, group) | {
        "deviation": max(_known(c.deviation for c in cells), default=None),
        "tolerance": cells[0].tolerance,
    }
    if not group.times:
        return row
    if accuracies := _known(metrics.accuracy(c) for c in cells):
        row["accuracy"] = fmean(accuracies)
        row["accuracy_stdev"] = stdev(accuracies) if accuracies[1:] else None
    losses = _known(c.epochs[-1].test_loss for c in cells)
    row["final_loss"] = fmean(losses) if losses else None
    row["images"] = median(c.images for c in cells)
    if target is not None:
        times = _known(c.time_to(target) for c in cells)
        row |= {"target_reached": len(times), "target_s": median(times) if times else None}
    return row


def _timing_row(info: RunInfo, name: str, group: Group) -> Row:
    cells, _, times = group
    row = _head(name, group)
    if not times:
        return row
    unstable = ["unstable"] if statistics.is_unstable(times) else []
    remarks = dict.fromkeys([*unstable, *(flag for cell in cells for flag in cell.flags)])
    reached = [shares for c in cells if (shares := metrics.shares(c, info.roofs))]
    reached.sort(key=lambda shares: shares.gflops)
    phases = {phase.field: phase.of(*cells) for phase in PHASES}
    measured, peaks = _known(phases.values()), _known(c.peak_memory_bytes for c in cells)
    setups = [c.setup for c in cells if c.setup]
    return row | {
        "train_s_per_epoch": median(times),
        "train_s_rounds": " ".join(f"{s:.6g}" for s in times),
        "remarks": ", ".join(remarks),
        "images_per_s": median(c.images / c.train_s for c in cells),
        **{part: median(getattr(setup, part) for setup in setups) for part in PARTS},
        "step_us": median(c.train_s / c.steps * 1e6 for c in cells),
        **{name: nan if value is None else value for name, value in phases.items()},
        "phases_us": sum(measured) if measured else nan,
        "peak_memory_bytes": median(peaks) if peaks else None,
        **(reached[len(reached) // 2]._asdict() if reached else {}),  # of the median cell
    }
