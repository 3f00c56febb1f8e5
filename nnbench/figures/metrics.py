"""The figures of a cell that can be compared and gated, by the name that users type."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from nnbench.contract.errors import NnbenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench.records import CellResult

Scale = Literal["ratio", "difference"]
PHASES = ("gather_us", "feedforward_us", "backprop_us", "update_us")
PARTS = ("setup_s", "transfer_s", "warmup_s")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure, and whether two of them are compared by ratio or by difference."""

    name: str
    value: Callable[[CellResult], float | None]
    scale: Scale = "ratio"


def epoch_s(cell: CellResult) -> float | None:
    """Return training seconds an epoch: seconds an image, times the images of an epoch."""
    if cell.setup is None or not cell.images:
        return None
    return cell.train_s / cell.images * cell.setup.epoch_images


def accuracy(cell: CellResult) -> float | None:
    """Return the accuracy after the last epoch, a fraction."""
    return cell.epochs[-1].accuracy if cell.epochs else None


def peak_memory(cell: CellResult) -> float | None:
    """Return the worker's peak memory in bytes."""
    return cell.peak_memory_bytes


def phase(name: str) -> Callable[[CellResult], float | None]:
    """Return a function that gives a cell's median of one phase."""
    return lambda cell: median(getattr(cell.phases, name)) if cell.phases else None


def part(name: str) -> Callable[[CellResult], float | None]:
    """Return a function that gives a cell's seconds of one part before training."""
    return lambda cell: getattr(cell.setup, name) if cell.setup else None


METRICS = {
    metric.name: metric
    for metric in (
        Metric("train_s", epoch_s),
        Metric("accuracy", accuracy, "difference"),
        Metric("peak_memory", peak_memory),
        *(Metric(name, phase(name)) for name in PHASES),
        *(Metric(name, part(name)) for name in PARTS),
    )
}
DEFAULT_GATES = ("train_s:5%", "accuracy:0.5pp")


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit on how much worse a figure may become: ``train_s:5%``, ``accuracy:0.5pp``."""

    metric: Metric
    threshold: float  #: a fraction: of the figure itself, or of 1 for accuracy

    @property
    def text(self) -> str:
        """The limit as users type it."""
        unit = "%" if self.metric.scale == "ratio" else "pp"
        return f"{self.metric.name}:{self.threshold * 100:g}{unit}"


def parse_gates(texts: Sequence[str]) -> list[Gate]:
    """Parse several limits; none at all means DEFAULT_GATES."""
    return [parse_gate(text) for text in texts or DEFAULT_GATES]


def measurable(gates: Sequence[Gate], cells: Sequence[CellResult]) -> list[Gate]:
    """Return the limits on figures that some cell has; a workload may have no classes."""
    return [g for g in gates if any(g.metric.value(cell) is not None for cell in cells)]


def parse_gate(text: str) -> Gate:
    """Parse ``metric:number%``, or ``metric:numberpp`` for percentage points of accuracy.

    Raises
    ------
    NnbenchError
        If the metric is unknown, or the number or its unit make no sense for it.
    """
    name, _, limit = text.partition(":")
    if name not in METRICS:
        raise NnbenchError(f"no metric {name!r} to gate on; known: {', '.join(METRICS)}")
    metric = METRICS[name]
    unit = "%" if metric.scale == "ratio" else "pp"
    try:
        threshold = float(limit.removesuffix(unit)) / 100
    except ValueError:
        threshold = -1.0
    if not limit.endswith(unit) or not 0 <= threshold < float("inf"):
        raise NnbenchError(f"cannot read {text!r}; write {name}:NUMBER{unit}, as in {name}:5{unit}")
    return Gate(metric, threshold)
