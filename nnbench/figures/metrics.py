"""The figures of a cell: its phases, its shares of the ceilings, and what can be gated by name."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, fields
from enum import Enum
from math import log
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from nnbench import spelling
from nnbench.contract.errors import NnbenchError
from nnbench.records.cells import Phases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench.records.cells import CellResult, Part
    from nnbench.records.runs import Roof


class Scale(Enum):
    """How two values of a figure are compared, by the unit of a limit on that."""

    RATIO = "%"
    DIFFERENCE = "pp"


#: The flag of a cell whose phases cannot be what its steps were made of.
PHASES_WORD = "phases are the backend's own word: they do not add up"
#: Of a time or a size that a ratio can be made of, in its unit: less was not measured, but made up.
LEAST = 1e-12
MOST_REST = 0.25  #: of the time for which a GPU's energy is counted
CALM = 0.03  #: by how much slower than usual a turn may be, and still count half
LOST = "{} is lost in noise: a step took no longer with it than without"
PARTS = ("setup_s", "transfer_s", "warmup_s")
#: P. Tol, "Colour schemes" (SRON/EPS/TN/09-002, issue 3.2, 2021): of "light", on which dark text can
#: be read.
COLORS = ("#99DDFF", "#77AADD", "#EE8866", "#44BB99", "#BBCC33", "#EEDD88", "#FFAABB", "#AAAA00")


class Phase(NamedTuple):
    """A part of a step that is timed apart: a field of nnbench.records.cells.Phases."""

    field: str
    heading: str
    color: str

    def of(self, *cells: CellResult) -> float | None:
        """Return the median over all values of some cells.

        None if there are none, as in older runs, or if it is lost in noise.
        """
        values = self._values(cells)
        return (median(values) or None) if values else None

    def is_lost(self, *cells: CellResult) -> bool:
        """Tell whether it is a difference that came out as nothing, or less, half of the times."""
        values = self._values(cells)
        return bool(values) and not median(values)

    def _values(self, cells: Sequence[CellResult]) -> list[float]:
        return [v for cell in cells if cell.phases for v in getattr(cell.phases, self.field)]


PHASES = tuple(
    Phase(field.name, field.name.removesuffix("_us"), COLORS[i % len(COLORS)])
    for i, field in enumerate(fields(Phases))
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure, and whether two of them are compared by ratio or by difference."""

    name: str  #: as that of its column
    value: Callable[[CellResult], float | None]
    unit: str = "s"
    scale: Scale = Scale.RATIO
    turns: Callable[[CellResult], dict[int, float]] = lambda _: {}  #: what each turn has of it

    @property
    def is_better_higher(self) -> bool:
        """Whether more of it is better; times and sizes are better lower."""
        return self.scale is Scale.DIFFERENCE

    def ratio_value(self, cell: CellResult) -> float | None:
        """Return the value where it has a ratio to others; None where it is missing, or nothing."""
        value = self.value(cell)
        return value if value is not None and value >= LEAST else None

    def turn_log_ratios(self, cell: CellResult, other: CellResult) -> list[float]:
        """Return the logarithm of the ratio of two cells in each turn that they shared."""
        own, others = self.turns(cell), self.turns(other)
        return [log(own[turn] / others[turn]) for turn in own.keys() & others.keys()]

    def beside(
        self, attempts: Sequence[CellResult], others: Sequence[CellResult]
    ) -> tuple[CellResult, CellResult]:
        """Return which attempts of two backends had their turns together; the first ones if none had."""
        if attempts[1:] or others[1:]:
            for own, other in itertools.product(attempts, others):
                if self.turns(own).keys() & self.turns(other).keys():
                    return own, other
        return attempts[0], others[0]

    def log_ratio(self, cell: CellResult, other: CellResult) -> float | None:
        """Return the logarithm of the ratio of two cells of a block; None if one lacks the figure.

        If they trained in turn it is what :func:`over_turns` makes of the turns of both. A turn compares
        what was measured within a second or so. But all of them together are one value: they share the
        two processes, and whatever is peculiar to these.
        """
        own, others = self.turns(cell), self.turns(other)
        if shared := own.keys() & others.keys():
            return over_turns([own[turn] for turn in shared], [others[turn] for turn in shared])
        value, base = self.ratio_value(cell), self.ratio_value(other)
        return log(value / base) if value and base else None


def over_turns(times: Sequence[float], others: Sequence[float]) -> float:
    """Return the logarithm of the ratio of two backends, from what each took in the same turns.

    It is the mean of the turns' own, weighed by how far either was from its usual pace, which is the
    lower quartile: what comes and goes on a machine slows down, and is to count little. The weights
    are Cauchy's, of P. Holland and R. Welsch, "Robust regression using iteratively reweighted
    least-squares" (1977), of the disturbance in the place of a residual. ``tests/studies/verdicts.py``
    compares it with a median and a mean.
    """
    usual, usual_other = (sorted(each)[len(each) // 4] for each in (times, others))
    weights = [
        1 / (1 + (max(0.0, time / usual - 1, other / usual_other - 1) / CALM) ** 2)
        for time, other in zip(times, others, strict=True)
    ]
    logs = [log(time / other) for time, other in zip(times, others, strict=True)]
    return sum(w * each for w, each in zip(weights, logs, strict=True)) / sum(weights)


def speedup(ratio: float | None) -> float | None:
    """Return how many times as fast as another one is what takes so many times its time: above 1 is better."""
    return None if ratio is None else 1 / ratio


def epoch_s(cell: CellResult) -> float | None:
    """Return training seconds an epoch: seconds an image, times the images of an epoch.

    None if the cell trained none, or its record contradicts itself: no pace can be made of that.
    """
    if cell.setup is None or not cell.images:
        return None
    lead_s, lead_images = leads(cell)
    if lead_images >= cell.images or cell.train_s - lead_s < LEAST:
        return None
    return pace_s(cell) * cell.setup.epoch_images


def leads(cell: CellResult) -> tuple[float, int]:
    """Return seconds and images of a cell's lead-ins."""
    parts = _parts(cell)
    return sum(part.lead_s for part in parts), sum(part.lead_images for part in parts)


def pace_s(cell: CellResult) -> float:
    """Return training seconds an image, of a cell that has an :func:`epoch_s`.

    Of one that took turns lead-ins do not count, but the load of the parameters does.
    """
    lead_s, lead_images = leads(cell)
    load_s = (cell.load_s or 0.0) if lead_images else 0.0
    return (cell.train_s - lead_s) / (cell.images - lead_images) + load_s / cell.images


def image_s(cell: CellResult) -> dict[int, float]:
    """Return training seconds an image, by turn, lead-ins apart; nothing if the cell trained without a pause."""
    sums: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for part in _parts(cell):
        if part.turn is not None:
            sums[part.turn][0] += part.train_s - part.lead_s
            sums[part.turn][1] += part.images - part.lead_images
    return {
        turn: train_s / images
        for turn, (train_s, images) in sums.items()
        if train_s >= LEAST and images > 0
    }


def joules(cell: CellResult) -> float | None:
    """Return the energy of an epoch, of all that the cell ran on: packages of CPUs, and its GPU.

    None if one of these is not known.
    """
    counted = cpu_joules(_parts(cell))
    if counted is None or cell.setup is None or not cell.images:
        return None
    cpu_j = counted / cell.images * cell.setup.epoch_images
    gpu_j = 0.0 if cell.setup.device == "cpu" else gpu_joules(cell)
    return None if gpu_j is None or cpu_j < LEAST else cpu_j + gpu_j


def cpu_joules(parts: Sequence[Part]) -> float | None:
    """Return what was counted of packages of CPUs in some parts; None if one of them does not know it."""
    known = [part.cpu_j for part in parts if part.cpu_j is not None]
    return sum(known) if known and len(known) == len(parts) else None


def gpu_joules(cell: CellResult) -> float | None:
    """Return the energy of an epoch of the GPU alone: what was counted, less that of the rest around the training.

    None also if too much of it is rest, as of epochs that are far shorter than a step of its counter.
    """
    found = cell.gpu_energy
    if found is None or cell.setup is None:
        return None
    rest_s = max(0.0, found.counted_s - found.train_s)
    joules = (found.joules - found.rest_w * rest_s) / found.images * cell.setup.epoch_images
    return joules if joules >= LEAST and rest_s <= MOST_REST * found.counted_s else None


def _parts(cell: CellResult) -> list[Part]:
    return [part for epoch in cell.epochs for part in epoch.parts]


def accuracy(cell: CellResult) -> float | None:
    """Return the accuracy after the last epoch, a fraction."""
    return cell.epochs[-1].accuracy if cell.epochs else None


class Shares(NamedTuple):
    """What a cell reached; shares are fractions of its roof, None where it is unknown."""

    gflops: float
    gflops_share: float | None
    gb_per_s: float
    gb_per_s_share: float | None


def shares(cell: CellResult, roofs: Sequence[Roof]) -> Shares | None:
    """Return what a cell reached, next to the roof that it ran under; None without a roof.

    Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
    multicore architectures" (2009). Operations and bytes are counted from the network.
    """
    setup = cell.setup
    if setup is None or epoch_s(cell) is None:
        return None
    threads = 1 if setup.device != "cpu" else cell.threads
    roof = next((r for r in roofs if (r.device, r.threads) == (setup.device, threads)), None)
    if roof is None:
        return None
    images_per_s = 1 / pace_s(cell)
    gflops = setup.operations * images_per_s * 1e-9
    gb_per_s = setup.traffic_bytes * images_per_s * 1e-9
    return Shares(
        gflops,
        gflops / roof.gflops if roof.gflops else None,
        gb_per_s,
        gb_per_s / roof.gb_per_s if roof.gb_per_s else None,
    )


TRAINING = Metric("train_s_per_epoch", epoch_s, turns=image_s)
METRICS = {
    metric.name: metric
    for metric in (
        TRAINING,
        Metric("accuracy", accuracy, "%", Scale.DIFFERENCE),
        Metric("peak_memory_bytes", lambda cell: cell.peak_memory_bytes, "bytes"),
        Metric("training_memory_bytes", lambda cell: cell.training_memory_bytes, "bytes"),
        Metric("device_memory_bytes", lambda cell: cell.device_memory_bytes, "bytes"),
        Metric("energy_j_per_epoch", joules, "J"),
        Metric("gpu_j_per_epoch", gpu_joules, "J"),
        *(Metric(phase.field, phase.of, "µs") for phase in PHASES),
        Metric("setup_s", lambda cell: cell.setup.setup_s if cell.setup else None),
        Metric("transfer_s", lambda cell: cell.setup.transfer_s if cell.setup else None),
        Metric("warmup_s", lambda cell: cell.setup.warmup_s if cell.setup else None),
    )
}
DEFAULT_GATES = ("train_s_per_epoch:5%", "accuracy:0.5pp")


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit on how much worse a figure may become, as ``accuracy:0.5pp``."""

    metric: Metric
    threshold: float  #: a fraction: of the figure itself, or of 1 for accuracy

    @property
    def text(self) -> str:
        """The limit as users type it."""
        return f"{self.metric.name}:{self.threshold * 100:g}{self.metric.scale.value}"


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
    called, _, limit = text.partition(":")
    metric = find(called)
    name, unit = metric.name, metric.scale.value
    try:
        threshold = float(limit.removesuffix(unit)) / 100
    except ValueError:
        threshold = -1.0
    if not limit.endswith(unit) or not 0 <= threshold < float("inf"):
        raise NnbenchError(f"cannot read {text!r}; write {name}:NUMBER{unit}, as in {name}:5{unit}")
    return Gate(metric, threshold)


def find(name: str) -> Metric:
    """Return the metric of a name.

    Raises
    ------
    NnbenchError
        If there is none.
    """
    name = spelling.current(name)
    if name not in METRICS:
        raise NnbenchError(f"no metric {name!r}; known: {', '.join(METRICS)}")
    return METRICS[name]
