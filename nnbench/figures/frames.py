"""Derive the accuracy and the timing table of a run from its cells, as pandas frames.

Frames hold raw numbers, in the units of their column names; ``nnbench.show.rendering`` makes text of
them. A backend with a cell that failed or is invalid has no rank: its figures are left out, and
its status and message say why. What it measured stays in ``cells.jsonl``.
"""

from __future__ import annotations

from math import nan
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING

import pandas as pd

from nnbench.execution import roofline
from nnbench.figures import analysis, metrics
from nnbench.figures.metrics import PHASES
from nnbench.records import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench.figures.analysis import Comparison
    from nnbench.records import CellResult, RunInfo, Setup

    Row = dict[str, object]


def accuracy(info: RunInfo, cells: Sequence[CellResult]) -> pd.DataFrame:
    """Return one row for each backend: how well it does, and how near to the reference."""
    groups = _groups(info, cells)
    return pd.DataFrame([_accuracy_row(info, name, group) for name, group in groups.items()])


def timing(info: RunInfo, cells: Sequence[CellResult]) -> pd.DataFrame:
    """Return one row for each backend: its times, its memory, and how it compares."""
    groups = _groups(info, cells)
    frame = pd.DataFrame([_timing_row(info, name, group) for name, group in groups.items()])
    return frame.join(_against_baseline(info, groups))


def ranked(info: RunInfo, cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Return the cells of each backend that has figures, the fastest first."""
    return {name: group for name, group in _groups(info, cells).items() if _ranks(group)}


def epoch_s(cell: CellResult) -> float:
    """Return training seconds an epoch of a measured cell."""
    value = metrics.epoch_s(cell)
    assert value is not None  # noqa: S101 - measured cells have one
    return value


def _against_baseline(info: RunInfo, groups: dict[str, list[CellResult]]) -> pd.DataFrame:
    """Compare every backend with the baseline, block by block; Holm's method adjusts p-values."""
    baseline = {c.round: epoch_s(c) for c in groups.get(info.baseline, []) if _is_measured(c)}
    found = [_compare(group, baseline, info.noise_floor) for group in groups.values()]
    others = [c if name != info.baseline else None for name, c in zip(groups, found, strict=True)]
    p_values = analysis.holm([c.p_value if c else None for c in others])
    return pd.DataFrame(
        {
            "ratio": [c.ratio if c else None for c in found],
            "ratio_low": [c.interval.low if c and c.interval else None for c in others],
            "ratio_high": [c.interval.high if c and c.interval else None for c in others],
            "p_value": p_values,
            "verdict": [c.verdict if c else None for c in others],
        },
    )


def _compare(
    group: Sequence[CellResult], baseline: dict[int, float], floor: float
) -> Comparison | None:
    if not _ranks(group):
        return None
    pairs = [(epoch_s(c), baseline[c.round]) for c in group if c.round in baseline]
    if not pairs:
        return None
    return analysis.compare([own for own, _ in pairs], [base for _, base in pairs], floor)


def _groups(info: RunInfo, cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Group the cells by backend: the fastest first, those without a rank last."""
    labels = [*info.backends, *info.unavailable]
    groups = {name: [c for c in cells if c.backend == name] for name in labels}

    def rank(name: str) -> tuple[bool, float]:
        group = groups[name]
        ranks = _ranks(group)
        return not ranks, median(map(epoch_s, group)) if ranks else 0.0

    return {name: groups[name] for name in sorted(labels, key=rank) if groups[name]}


def _is_measured(cell: CellResult) -> bool:
    is_timed = (metrics.epoch_s(cell) or 0) > 0 and any(epoch.losses for epoch in cell.epochs)
    return cell.status.counts and is_timed


def _ranks(group: Sequence[CellResult]) -> bool:
    return bool(group) and all(map(_is_measured, group))


def _status(group: Sequence[CellResult]) -> Row:
    """Sum up the statuses: the worst one, how often, and its first message."""
    worst = min(group, key=_severity)
    if worst.status is Status.OK:
        return {"status": Status.OK.value, "message": ""}
    if worst.status is Status.BUDGET:
        images = f"{worst.images:,} images"
        message = f"the budget ended training after {images}; ~ is extrapolated"
        return {"status": Status.BUDGET.value, "message": message}
    bad = sum(c.status is worst.status for c in group)
    count = f" {bad}/{len(group)}" if group[1:] else ""
    return {"status": worst.status + count, "message": worst.message}


def _severity(cell: CellResult) -> tuple[bool, bool, bool]:
    """Order cells from bad to good: without figures, wrong, ended by the budget."""
    status = cell.status
    return _is_measured(cell), status.kind is Kind.MEASURED, status is Status.OK


def _accuracy_row(info: RunInfo, name: str, group: Sequence[CellResult]) -> Row:
    deviations = [c.deviation for c in group if c.deviation is not None]
    row: Row = {"backend": name, "rounds": len(group), **_status(group)}
    row["deviation"] = max(deviations, default=None)
    row["tolerance"] = group[0].tolerance
    if not _ranks(group):
        return row
    final = [c.epochs[-1] for c in group]
    accuracies = [e.accuracy for e in final if e.accuracy is not None]
    if accuracies:
        row["accuracy"] = fmean(accuracies)
        row["accuracy_stdev"] = stdev(accuracies) if accuracies[1:] else None
    losses = [e.test_loss for e in final if e.test_loss is not None]
    row["final_loss"] = fmean(losses) if losses else None
    row["images"] = median(c.images for c in group)
    row |= _target(info, group)
    return row


def _target(info: RunInfo, group: Sequence[CellResult]) -> Row:
    target = info.workload.target_accuracy
    if target is None:
        return {}
    times = [t for c in group if (t := c.time_to(target)) is not None]
    return {"target_reached": len(times), "target_s": median(times) if times else None}


def _timing_row(info: RunInfo, name: str, group: Sequence[CellResult]) -> Row:
    row: Row = {"backend": name, "rounds": len(group), **_status(group)}
    if not _ranks(group):
        return row
    epochs = [epoch_s(c) for c in group]
    phases = {name: _phase(group, name) for name in PHASES}
    peaks = [c.peak_memory_bytes for c in group if c.peak_memory_bytes is not None]
    row |= {
        "train_s_per_epoch": median(epochs),
        "train_s_rounds": " ".join(f"{s:.6g}" for s in epochs),
        "remarks": ", ".join(_remarks(group, epochs)),
        "images_per_s": median(c.images / c.train_s for c in group),
        "setup_s": _median(group, lambda s: s.setup_s),
        "transfer_s": _median(group, lambda s: s.transfer_s),
        "warmup_s": _median(group, lambda s: s.warmup_s),
        "step_us": median(c.train_s / len(c.losses) * 1e6 for c in group),
        **phases,
        "phases_us": sum(phases.values()),
        "peak_memory_bytes": median(peaks) if peaks else None,
        **_roofline(info, group),
    }
    return row


def _roofline(info: RunInfo, group: Sequence[CellResult]) -> Row:
    """Return what the median cell reached, and its shares of the ceilings."""
    reached = [found for c in group if (found := roofline.shares(c, info.roofs))]
    reached.sort(key=lambda shares: shares.gflops)
    return reached[len(reached) // 2]._asdict() if reached else {}


def _remarks(group: Sequence[CellResult], epochs: Sequence[float]) -> list[str]:
    """Return what makes the times of a backend suspicious, each remark once."""
    unstable = ["unstable"] if analysis.is_unstable(epochs) else []
    return list(dict.fromkeys([*unstable, *(flag for cell in group for flag in cell.flags)]))


def _median(group: Sequence[CellResult], field: Callable[[Setup], float]) -> float:
    return median(field(c.setup) for c in group if c.setup)


def _phase(group: Sequence[CellResult], name: str) -> float:
    values: list[float] = [v for c in group if c.phases for v in getattr(c.phases, name)]
    return median(values) if values else nan
