"""Derive the accuracy and the timing table of a run from its cells, as pandas frames.

Frames hold raw numbers, in the units of their column names; ``nnbench.figures.columns`` makes text
of them. A backend with a cell that failed or is invalid has no rank: its figures are left out, and
its status and message say why. What it measured stays in ``cells.jsonl``.
"""

from __future__ import annotations

from math import nan
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from nnbench.figures import metrics, statistics
from nnbench.figures.metrics import PHASES
from nnbench.records import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nnbench.figures.statistics import Comparison
    from nnbench.records import CellResult, RunInfo, Setup

    Row = dict[str, object]


class Group(NamedTuple):
    """The cells of a backend, round by round, and how long they took."""

    cells: list[CellResult]
    seconds: list[float | None]  #: of training an epoch in each; None did not count
    times: list[float]  #: the same; empty if one did not count, and the backend has no rank

    @property
    def rank(self) -> tuple[bool, float]:
        """What backends are sorted by: the fastest first, those without a rank last."""
        return not self.times, median(self.times) if self.times else 0.0


def groups(info: RunInfo, cells: Iterable[CellResult]) -> dict[str, Group]:
    """Group the cells by backend: the fastest first, those without a rank last."""
    by_label: dict[str, list[CellResult]] = {
        name: [] for name in (*info.backends, *info.unavailable)
    }
    for cell in sorted(cells, key=lambda cell: cell.round):
        if cell.backend in by_label:
            by_label[cell.backend].append(cell)
    grouped = {name: _group(own) for name, own in by_label.items() if own}
    return dict(sorted(grouped.items(), key=lambda item: item[1].rank))


def _group(cells: list[CellResult]) -> Group:
    seconds = [measured_s(cell) for cell in cells]
    times = [value for value in seconds if value is not None]
    return Group(cells, seconds, times if len(times) == len(cells) else [])


def measured_s(cell: CellResult) -> float | None:
    """Return training seconds an epoch of a cell that counts; None if it does not, or cannot be true."""
    seconds = metrics.epoch_s(cell)
    is_true = cell.status.counts and seconds and seconds > 0 and cell.steps
    return seconds if is_true else None


def accuracy(info: RunInfo, groups: dict[str, Group]) -> pd.DataFrame:
    """Return one row for each backend: how well it does, and how near to the reference."""
    return pd.DataFrame([_accuracy_row(info, name, group) for name, group in groups.items()])


def timing(info: RunInfo, groups: dict[str, Group]) -> pd.DataFrame:
    """Return one row for each backend: its times, its memory, and how it compares."""
    frame = pd.DataFrame([_timing_row(info, name, group) for name, group in groups.items()])
    return frame.join(_against_baseline(info, groups))


def _against_baseline(info: RunInfo, groups: dict[str, Group]) -> pd.DataFrame:
    """Compare every backend with the baseline, block by block; Holm's method adjusts p-values."""
    known = groups.get(info.baseline, Group([], [], []))
    baseline = {c.round: s for c, s in zip(*known[:2], strict=True) if s is not None}
    compared = [compare(group, baseline, info.noise_floor) for group in groups.values()]
    others = [
        c if name != info.baseline else None for name, c in zip(groups, compared, strict=True)
    ]
    p_values = statistics.holm([c.p_value if c else None for c in others])
    return pd.DataFrame(
        {
            "ratio": [c.ratio if c else None for c in compared],
            "ratio_low": [c.interval.low if c and c.interval else None for c in others],
            "ratio_high": [c.interval.high if c and c.interval else None for c in others],
            "p_value": p_values,
            "verdict": [c.verdict if c else None for c in others],
        },
    )


def compare(group: Group, baseline: dict[int, float], floor: float) -> Comparison | None:
    """Compare a backend with another one's time of each round; None if they share no round."""
    times = zip(group.cells[: len(group.times)], group.times, strict=True)
    pairs = [(own, baseline[c.round]) for c, own in times if c.round in baseline]
    if not pairs:
        return None
    return statistics.compare([own for own, _ in pairs], [base for _, base in pairs], floor)


def _status(group: Group) -> Row:
    """Sum up the statuses: the worst one, how often, and its first message."""
    measured = zip(group.cells, group.seconds, strict=True)
    worst, _ = min(measured, key=lambda pair: _severity(*pair))
    if worst.status is Status.OK:
        return {"status": Status.OK.value, "message": ""}
    if worst.status is Status.BUDGET:
        images = f"{worst.images:,} images"
        message = f"the budget ended training after {images}; ~ is extrapolated"
        return {"status": Status.BUDGET.value, "message": message}
    bad = sum(c.status is worst.status for c in group.cells)
    count = f" {bad}/{len(group.cells)}" if group.cells[1:] else ""
    return {"status": worst.status + count, "message": worst.message}


def _severity(cell: CellResult, seconds: float | None) -> tuple[bool, bool, bool]:
    """Order cells from bad to good: without figures, wrong, ended by the budget."""
    status = cell.status
    return seconds is not None, status.kind is Kind.MEASURED, status is Status.OK


def _accuracy_row(info: RunInfo, name: str, group: Group) -> Row:
    cells = group.cells
    deviations = [c.deviation for c in cells if c.deviation is not None]
    row: Row = {"backend": name, "rounds": len(cells), **_status(group)}
    row["deviation"] = max(deviations, default=None)
    row["tolerance"] = cells[0].tolerance
    if not group.times:
        return row
    final = [c.epochs[-1] for c in cells]
    accuracies = [e.accuracy for e in final if e.accuracy is not None]
    if accuracies:
        row["accuracy"] = fmean(accuracies)
        row["accuracy_stdev"] = stdev(accuracies) if accuracies[1:] else None
    losses = [e.test_loss for e in final if e.test_loss is not None]
    row["final_loss"] = fmean(losses) if losses else None
    row["images"] = median(c.images for c in cells)
    row |= _target(info, cells)
    return row


def _target(info: RunInfo, cells: Sequence[CellResult]) -> Row:
    target = info.workload.target_accuracy
    if target is None:
        return {}
    times = [t for c in cells if (t := c.time_to(target)) is not None]
    return {"target_reached": len(times), "target_s": median(times) if times else None}


def _timing_row(info: RunInfo, name: str, group: Group) -> Row:
    cells, _, times = group
    row: Row = {"backend": name, "rounds": len(cells), **_status(group)}
    if not times:
        return row
    phases = {phase.field: _phase(cells, phase.field) for phase in PHASES}
    measured = [value for value in phases.values() if value is not None]
    peaks = [c.peak_memory_bytes for c in cells if c.peak_memory_bytes is not None]
    row |= {
        "train_s_per_epoch": median(times),
        "train_s_rounds": " ".join(f"{s:.6g}" for s in times),
        "remarks": ", ".join(_remarks(group)),
        "images_per_s": median(c.images / c.train_s for c in cells),
        "setup_s": _median(cells, lambda s: s.setup_s),
        "transfer_s": _median(cells, lambda s: s.transfer_s),
        "warmup_s": _median(cells, lambda s: s.warmup_s),
        "step_us": median(c.train_s / c.steps * 1e6 for c in cells),
        **{name: nan if value is None else value for name, value in phases.items()},
        "phases_us": sum(measured) if measured else nan,
        "peak_memory_bytes": median(peaks) if peaks else None,
        **_roofline(info, cells),
    }
    return row


def _roofline(info: RunInfo, cells: Sequence[CellResult]) -> Row:
    """Return what the median cell reached, and its shares of the ceilings."""
    reached = [shares for c in cells if (shares := metrics.shares(c, info.roofs))]
    reached.sort(key=lambda shares: shares.gflops)
    return reached[len(reached) // 2]._asdict() if reached else {}


def _remarks(group: Group) -> list[str]:
    """Return what makes the times of a backend suspicious, each remark once."""
    unstable = ["unstable"] if statistics.is_unstable(group.times) else []
    return list(dict.fromkeys([*unstable, *(flag for cell in group.cells for flag in cell.flags)]))


def _median(cells: Sequence[CellResult], field: Callable[[Setup], float]) -> float:
    return median(field(c.setup) for c in cells if c.setup)


def _phase(cells: Sequence[CellResult], field: str) -> float | None:
    """Return the median of a phase, over all values of all cells; older runs may have none."""
    values = [v for c in cells if c.phases for v in getattr(c.phases, field)]
    return median(values) if values else None
