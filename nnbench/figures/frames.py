"""Derive the accuracy and the timing table of a run from its cells, as frames.

A frame has a row for each backend, and a row has all columns of its frame; None is missing. They hold raw
numbers, in the units of their names; ``nnbench.figures.columns`` makes text of them. A backend ranks, and is compared, if all of its cells are ok and proved, at least in a
sample, among those whose products are as precise. One that missed its target, that the budget
stopped, that was not proved or has another optimizer is listed below, with its figures and why it has
no rank. Of one that failed or is invalid the figures are left out. What it measured stays in
``cells.jsonl``.

Where the cells are of machines of several kinds, a frame has no absolute times, nor other sizes that are a machine's: they are in the frames of
the cells of each kind (:attr:`nnbench.runs.run.Run.kinds`). Ratios are taken within a block, on one machine, and pool.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import fields, replace
from math import inf, isfinite
from statistics import fmean, median, stdev
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from nnbench.contract.backend import Precision
from nnbench.figures import accuracies, machines, metrics, statistics
from nnbench.figures.metrics import LOST, PARTS, PHASES, PHASES_WORD
from nnbench.records.cells import Deviations, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nnbench.figures.accuracies import Difference
    from nnbench.figures.statistics import Comparison
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Meter, Roof, RunInfo

    Frame = list[SimpleNamespace]
    Row = dict[str, object]  # that has what is known alone

CLASSES = get_args(Precision)  #: in this order they stand in the tables
MEMORY = ("peak_memory_bytes", "training_memory_bytes", "device_memory_bytes")
KINDS = tuple(field.name for field in fields(Deviations))  #: of deviations
#: Columns of a comparison.
AGAINST = ("ratio", "ratio_low", "ratio_high", "p_value", "verdict", "ratio_devices")
#: The same as the inverse of the ratio, which ends its interval in the other order.
INVERSE = {"speedup": "ratio", "speedup_low": "ratio_high", "speedup_high": "ratio_low"}
SHARE = re.compile(r"(\d+)%")  #: in a remark
NOT_PROVED = "not proved"
OTHER_OPTIMIZER = "other optimizer"
SEVERAL = "several classes"  #: of precision
FROM_PARAMETERS = "followed from its parameters alone, with wider tolerances"
#: What stands below the tables where the status does not say it.
REASONS = {
    NOT_PROVED: "no rank, because none of its steps was proved",
    SEVERAL: "no rank, because its rounds differ in the precision of its products",
}


class Group(NamedTuple):
    """The cells of a backend, round by round, and how long they took."""

    cells: list[CellResult]
    seconds: list[float | None]  #: of training an epoch in each; None did not count
    times: list[float]  #: the same; empty if one did not count, and the backend has no figures
    obstacles: list[str]  #: why each cell cannot stand in a ranking; empty if it can
    obstacle: str = ""  #: why the backend has no rank; empty if it has one
    rank: int | None = None  #: from 1, among those of its class
    #: Attempts that count for those alone that trained beside them.
    further: Sequence[CellResult] = ()

    @property
    def attempts(self) -> dict[int, list[CellResult]]:
        """All that counts of each round: first what counts for everyone."""
        found = {cell.round: [cell] for cell in self.cells}
        for cell in self.further:
            found[cell.round].append(cell)
        return found

    @property
    def precision(self) -> Precision:
        """The class in which it is ranked."""
        return self.cells[0].precision if self.cells else CLASSES[0]

    @property
    def device(self) -> str | None:
        """Where it trains, if that is known."""
        return next((cell.setup.device for cell in self.cells if cell.setup), None)

    def devices(self, other: Group) -> str | None:
        """Say of a ratio to another backend that it is one across devices; None if it is not."""
        pair = self.device, other.device
        return None if None in pair or pair[0] == pair[1] else " against ".join(filter(None, pair))

    @property
    def remarks(self) -> list[str]:
        """What limits what the figures can be trusted for, each once, with its largest share."""
        shares: dict[str, set[int]] = {}
        for text in (text for cell in self.cells for text in _remarks(cell)):
            kind, found = SHARE.sub("%", text, count=1), SHARE.search(text)
            shares.setdefault(kind, set()).update([int(found[1])] if found else [])
        return [
            kind.replace("%", f"{'up to ' if len(seen) > 1 else ''}{max(seen)}%", 1)
            if seen
            else kind
            for kind, seen in shares.items()
        ]


def groups(
    info: RunInfo, cells: Iterable[CellResult], further: Iterable[CellResult] = ()
) -> dict[str, Group]:
    """Group the cells by backend: ranked ones first, then those with figures, each fastest first.

    A class of precision has a ranking of its own, below that of a more precise one.

    Parameters
    ----------
    info, cells
        What was asked of a run, and the attempt at each cell that counts.
    further
        Attempts of the run's own baseline beside backends that found no room in memory with its first one.
    """
    by_label: dict[str, list[CellResult]] = {
        name: [] for name in (*info.backends, *info.unavailable)
    }
    for cell in sorted(cells, key=lambda cell: cell.round):
        if cell.backend in by_label:
            by_label[cell.backend].append(cell)
    for own in (
        by_label.values()
    ):  # a block that was lost is as one that nobody has made, if others are there
        own[:] = [cell for cell in own if cell.status is not Status.LOST] or own
    has_proofs = info.proof is not None or any(c.proof for own in by_label.values() for c in own)
    grouped = {name: _group(own, has_proofs=has_proofs) for name, own in by_label.items() if own}
    ranks, units = Counter[str](), _units(info, grouped)
    for name in sorted(grouped, key=lambda name: _place(grouped[name], units)):
        group = grouped.pop(name)
        if not group.obstacle:
            ranks[group.precision] += 1
            group = group._replace(rank=ranks[group.precision])
        grouped[name] = group
    for name in {cell.backend for cell in further} & grouped.keys():
        # A block that was interrupted, or lost, ran again: what its first attempt left has no part in this one.
        last = {(cell.round, cell.block_attempt) for cell in grouped[name].cells}
        beside = [
            cell
            for cell in further
            if cell.backend == name
            and (cell.round, cell.block_attempt) in last
            and not _obstacle(cell, _measured_s(cell), has_proofs=has_proofs)
        ]
        grouped[name] = grouped[name]._replace(further=beside)
    return grouped


def _units(info: RunInfo, groups: Mapping[str, Group]) -> dict[str, float]:
    """Return by what the times on each machine are divided before backends are put in order.

    Of one kind they are as they are, which is what an empty dictionary says. Of several they are divided by the median of the
    baseline's on that kind, or of everybody's where it has none.
    """
    if not _is_mixed(info, groups):
        return {}
    kinds = machines.by_machine(info)
    times: dict[str, dict[bool, list[float]]] = {}
    for name, group in groups.items():
        for cell, seconds in zip(group.cells, group.seconds, strict=True):
            if seconds is not None:
                own = times.setdefault(kinds.get(cell.machine, cell.machine), {})
                own.setdefault(name == info.baseline, []).append(seconds)
    middle = {kind: median(own.get(True) or own[False]) for kind, own in times.items()}
    return {name: middle[kind] for name, kind in kinds.items() if kind in middle}


def _place(group: Group, units: Mapping[str, float]) -> tuple[bool, int, float]:
    """Return what a backend's place in the tables depends on."""
    is_listed = bool(group.obstacle)
    class_ = 0 if is_listed else CLASSES.index(group.precision)
    if not (units and group.times):
        return is_listed, class_, median(group.times or [inf])
    in_units = (
        seconds / units.get(cell.machine, 1.0)
        for cell, seconds in zip(group.cells, group.times, strict=True)
    )
    return is_listed, class_, median(in_units)


def _group(cells: list[CellResult], *, has_proofs: bool) -> Group:
    seconds = [_measured_s(cell) for cell in cells]
    obstacles = [
        _obstacle(cell, measured, has_proofs=has_proofs)
        for cell, measured in zip(cells, seconds, strict=True)
    ]
    obstacle = obstacles[_worst(cells, seconds)] or next(filter(None, obstacles), "")
    if not obstacle and len({cell.precision for cell in cells}) > 1:
        obstacle = SEVERAL
    return Group(cells, seconds, [] if None in seconds else _known(seconds), obstacles, obstacle)


def _obstacle(cell: CellResult, seconds: float | None, *, has_proofs: bool) -> str:
    """Say in a word or two why a cell cannot stand in a ranking; nothing if it can.

    In a run made before there were proofs, a training that did what it could within its budget stands
    as it stood when it was published.
    """
    if seconds is None and cell.status.counts:
        return "not measured"
    if cell.other_optimizer and cell.status.counts:
        return OTHER_OPTIMIZER
    if cell.status is not Status.OK and (has_proofs or cell.status is not Status.BUDGET):
        return cell.status.value
    return "" if cell.is_followed or not has_proofs else NOT_PROVED


def _worst(cells: Sequence[CellResult], seconds: Sequence[float | None]) -> int:
    """Return which cell to blame: the first without figures, else wrong, else ended by the budget."""
    ranks = [
        (measured is not None, cell.status.kind is Kind.MEASURED, cell.status is Status.OK)
        for cell, measured in zip(cells, seconds, strict=True)
    ]
    return ranks.index(min(ranks))


def _measured_s(cell: CellResult) -> float | None:
    """Return training seconds an epoch of a cell that counts; None if it does not, or cannot be true."""
    return metrics.epoch_s(cell) if cell.status.counts and cell.steps else None


def accuracy(info: RunInfo, groups: dict[str, Group]) -> Frame:
    """Return one row for each backend: how well it does, and how near to the reference and the baseline.

    Accuracies are compared seed by seed, also of backends without a rank. Only within a class of
    precision, and of what has the same optimizer, is there a verdict.
    """
    is_mixed = _is_mixed(info, groups)
    rows = [_accuracy_row(info, name, group, is_mixed=is_mixed) for name, group in groups.items()]
    for row, found in zip(rows, _differences(groups, info.baseline), strict=True):
        row |= _against(found)
    return _frame(rows)


def _is_mixed(info: RunInfo, groups: Mapping[str, Group]) -> bool:
    """Tell whether the cells are of several kinds of machines."""
    return machines.are_several(info, (c for group in groups.values() for c in group.cells))


def _differences(groups: dict[str, Group], baseline: str) -> list[Difference | None]:
    """Compare the accuracies of each backend that has figures with those of the baseline."""
    base = groups.get(baseline)
    pairs = [
        accuracies.pair(group.cells, base.cells)
        if base and base.times and group.times and group is not base
        else []
        for group in groups.values()
    ]
    count = sum(map(bool, pairs))  # their verdicts share what may go wrong: Bonferroni's method
    confidence = 1 - (1 - accuracies.CERTAINTY) / max(count, 1)
    found = [accuracies.compare(each, confidence) for each in pairs]
    return [
        replace(each, verdict=None) if each and base and not _is_alike(group, base) else each
        for each, group in zip(found, groups.values(), strict=True)
    ]


def _is_alike(group: Group, base: Group) -> bool:
    """Tell whether equal accuracies can be expected of two backends."""
    differ = OTHER_OPTIMIZER in {*group.obstacles, *base.obstacles}
    return group.precision == base.precision and not differ


def _against(found: Difference | None) -> Row:
    """Return what the accuracy table has of a comparison with the baseline."""
    interval = found and found.interval
    return {
        "difference": found and found.mean,
        "difference_low": interval and interval.low,
        "difference_high": interval and interval.high,
        "difference_rounds": found and found.pairs,
        "accuracy_verdict": found and found.verdict,
    }


def _frame(rows: Sequence[Row]) -> Frame:
    """Return rows that have the columns of all of them."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [SimpleNamespace(**{**names, **row}) for row in rows]


def side_by_side(frame: Frame, other: Frame) -> Frame:
    """Return a frame with the columns of two, which have the same backends in the same order."""
    pairs = zip(frame, other, strict=True)
    return [SimpleNamespace(**{**vars(left), **vars(right)}) for left, right in pairs]


def timing(info: RunInfo, groups: dict[str, Group]) -> Frame:
    """Return one row for each backend: its times, its memory, and how it compares with the baseline.

    They are compared block by block, in turns if there are, within a class; Holm's method adjusts p-values.
    """
    baseline = groups.get(info.baseline, Group([], [], [], []))
    compared = {name: compare(info, group, baseline) for name, group in groups.items()}
    others = [c if name != info.baseline else None for name, c in compared.items()]
    intervals = [c.interval if c else None for c in others]
    against = zip(
        [c.ratio if c else None for c in compared.values()],
        [i.low if i else None for i in intervals],
        [i.high if i else None for i in intervals],
        statistics.holm([c.p_value if c else None for c in others]),
        [c.verdict if c else None for c in others],
        [groups[name].devices(baseline) if c else None for name, c in compared.items()],
        strict=True,
    )
    shared = _shared([group.remarks for group in groups.values() if group.times])
    is_mixed = _is_mixed(info, groups)
    frame = _frame(
        [
            _timing_row(info, name, group, shared, is_mixed=is_mixed)
            for name, group in groups.items()
        ]
    )
    rows = (dict(zip(AGAINST, each, strict=True)) for each in against)
    return side_by_side(frame, _frame([*map(_with_speedup, rows)]))


def _with_speedup(row: dict[str, Any]) -> Row:
    """Add to a comparison how many times as fast a backend is, after all that was there before."""
    return row | {name: metrics.speedup(row[inverse]) for name, inverse in INVERSE.items()}


def _shared(remarks: Sequence[list[str]]) -> list[str]:
    """Return what is said of every backend alike, if there are several: it is the machine's fault."""
    first, *others = remarks or [[]]
    return [text for text in first if others and all(text in other for other in others)]


def compare(info: RunInfo, group: Group, other: Group) -> Comparison | None:
    """Compare the times of two backends in the rounds that rank.

    None if there is none, if the first has no rank, or if their classes differ.
    """
    if group.obstacle:
        return None
    logs = _known(metrics.TRAINING.log_ratio(*pair) for pair in paired(group, other))
    return statistics.compare(logs, info.noise_floor, info.detect) if logs else None


def pairs(info: RunInfo, groups: dict[str, Group]) -> Frame:
    """Return one row for each two backends that rank, and that are held against each other: how they compare.

    Every one is compared with all those that are faster; Holm's method adjusts the p-values of all of them together.
    """
    found = [
        (name, other, comparison)
        for (other, faster), (name, group) in itertools.combinations(groups.items(), 2)
        if not faster.obstacle and (comparison := compare(info, group, faster))
    ]
    adjusted = statistics.holm([comparison.p_value for *_, comparison in found])
    return _frame(
        [
            _with_speedup(
                {
                    "backend": name,
                    "over": other,
                    "rounds": c.pairs,
                    "ratio": c.ratio,
                    "ratio_low": c.interval and c.interval.low,
                    "ratio_high": c.interval and c.interval.high,
                    "p_value": p,
                    "verdict": c.verdict,
                    "ratio_devices": groups[name].devices(groups[other]),
                }
            )
            for (name, other, c), p in zip(found, adjusted, strict=True)
        ]
    )


def paired(group: Group, other: Group) -> list[tuple[CellResult, CellResult]]:
    """Return the cells of two backends that are held against each other, round by round, where the other one ranks.

    Where both trained in turns it is those that did so beside each other. None if their classes differ.
    """
    if group.precision != other.precision:
        return []
    own, others = group.attempts, other.attempts
    ranking = [
        c.round for c, obstacle in zip(other.cells, other.obstacles, strict=True) if not obstacle
    ]
    return [metrics.TRAINING.beside(own[n], others[n]) for n in sorted(own.keys() & {*ranking})]


def _head(info: RunInfo, name: str, group: Group) -> Row:
    """Sum up a backend: its rank, and else its worst status, how often, and the first message of that."""
    head: Row = {"backend": name, "rank": group.rank, "rounds": len(group.cells)}
    head |= {"device": group.device}
    head |= {"precision": group.precision, "no_rank": group.obstacle} | _proof(info, group.cells)
    worst = group.cells[_worst(group.cells, group.seconds)]
    if group.obstacle == OTHER_OPTIMIZER:
        reason = next(filter(None, (cell.other_optimizer for cell in group.cells)))
        message = f"no rank, because its optimizer is not the one asked for: {reason}"
        return head | {"status": worst.status.value, "message": message}
    if worst.status is Status.OK:
        return head | {"status": Status.OK.value, "message": REASONS.get(group.obstacle, "")}
    if worst.status is Status.BUDGET:
        message = f"the budget ended training after {worst.images:,} images; ~ is extrapolated"
        if group.obstacle:
            message += "; a larger --budget lets it rank"
        return head | {"status": Status.BUDGET.value, "message": message}
    bad = sum(c.status is worst.status for c in group.cells)
    count = f" {bad}/{len(group.cells)}" if group.cells[1:] else ""
    return head | {"status": worst.status + count, "message": worst.message}


def _proof(info: RunInfo, cells: Sequence[CellResult]) -> Row:
    """Return how much of a backend's training was proved."""
    proofs = [cell.proof for cell in cells if cell.proof]
    return {
        "proof": info.proof,
        "steps_proved": sum(proof.proved for proof in proofs) if proofs else None,
        "steps_trained": sum(proof.trained for proof in proofs) if proofs else None,
        "flips": sum(proof.flips for proof in proofs) if proofs else None,
    }


def _deviations(cells: Sequence[CellResult]) -> Row:
    """Return the largest deviation of each kind in the parts that were followed, and the tolerance.

    Infinity is one that was not finite.
    """
    proofs = [cell.proof for cell in cells if cell.proof and cell.proof.mode != "off"]

    def most(found: Iterable[Deviations], kind: str) -> float | None:
        values = [getattr(deviations, kind) for deviations in found]
        return max((inf if value is None else value for value in values), default=None)

    return {
        f"{kind}_{what}": most(
            (getattr(proof, f"{what}s", proof.tolerance) for proof in proofs), kind
        )
        for kind in KINDS
        for what in ("deviation", "tolerance")
    }


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Iterable[float | None]) -> float | None:
    """Return the median of what is known of some values, or None."""
    known = _known(values)
    return median(known) if known else None


def _accuracy_row(info: RunInfo, name: str, group: Group, *, is_mixed: bool) -> Row:
    cells, target = group.cells, info.workload.target_accuracy
    row = _head(info, name, group) | {
        "deviation": max(_known(c.deviation for c in cells), default=None),
        "tolerance": cells[0].tolerance,
        **_deviations(cells),
    }
    if not group.times:
        return row
    if reached := _known(metrics.accuracy(c) for c in cells):
        row["accuracy"] = fmean(reached)
        row["accuracy_stdev"] = stdev(reached) if reached[1:] else None
    losses = _known(c.epochs[-1].test_loss for c in cells)
    row["final_loss"] = fmean(losses) if losses else None
    row["images"] = median(c.images for c in cells)
    if target is not None:
        # Whoever ended without it would have taken longer: of half of them or more there is no median.
        times = [inf if (time := c.time_to(target)) is None else time for c in cells]
        middle = median(times)
        row |= {
            "target_reached": sum(map(isfinite, times)),
            "target_s": middle if middle < inf and not is_mixed else None,
        }
    return row


def _timing_row(
    info: RunInfo, name: str, group: Group, shared: Sequence[str], *, is_mixed: bool
) -> Row:
    cells, times = group.cells, group.times
    row = _head(info, name, group)
    if not times:
        return row
    if is_mixed:
        own = [text for text in group.remarks if text not in shared]
        return row | {"remarks": ", ".join(own), "shared_remarks": ", ".join(shared)}
    unstable = ["unstable"] if statistics.is_unstable(times) else []
    lost = [LOST.format(phase.heading) for phase in PHASES if phase.is_lost(*cells)]
    remarks = dict.fromkeys([*unstable, *lost, *group.remarks])
    reached = [shares for c in cells if (shares := metrics.shares(c, _roofs(info, c)))]
    reached.sort(key=lambda shares: shares.gflops)
    phases = {phase.field: phase.of(*cells) for phase in PHASES}
    measured = _known(phases.values())
    setups = [c.setup for c in cells if c.setup]
    return row | {
        "train_s_per_epoch": median(times),
        "train_s_rounds": " ".join(f"{s:.6g}" for s in times),
        "remarks": ", ".join(text for text in remarks if text not in shared),
        "shared_remarks": ", ".join(shared),
        "images_per_s": median(1 / metrics.pace_s(c) for c in cells),
        **{part: median(getattr(setup, part) for setup in setups) for part in PARTS},
        "load_s": _median(c.load_s for c in cells),
        "phases_word": any(PHASES_WORD in cell.flags for cell in cells),
        "step_us": median(metrics.pace_s(c) * c.images / c.steps * 1e6 for c in cells),
        **phases,
        "phases_us": sum(measured) if measured and not lost else None,
        **{name: _median(getattr(c, name) for c in cells) for name in MEMORY},
        **_energy(info, cells),
        **(reached[len(reached) // 2]._asdict() if reached else {}),  # of the median cell
    }


def _energy(info: RunInfo, cells: Sequence[CellResult]) -> Row:
    """Return what a backend used, beside what the same counters say while nothing is trained; or why that is not known."""
    used, of_gpu = (_median(map(of, cells)) for of in (metrics.joules, metrics.gpu_joules))
    images = next((c.setup.epoch_images for c in cells if c.setup), 0)
    return {
        "energy_j_per_epoch": used,
        "images_per_j": images / used if used else None,
        "gpu_j_per_epoch": of_gpu,
        "idle_w": _median(_idle_w(info, c) for c in cells),
        "energy_missing": None if used else _why_uncounted(info, cells[0]),
    }


def _meters(info: RunInfo, cell: CellResult) -> Sequence[Meter]:
    """Return the meters of the machine that a cell ran on."""
    return info.machines[cell.machine].meters if cell.machine in info.machines else ()


def _idle_w(info: RunInfo, cell: CellResult) -> float | None:
    """Return the idle power of all that was counted for a cell."""
    idle = {meter.name: meter.idle_w for meter in _meters(info, cell)}
    each = [idle.get(name) for name in cell.meters]
    return sum(_known(each)) if each and None not in each else None


def _why_uncounted(info: RunInfo, cell: CellResult) -> str:
    """Say why the energy of a cell is not known."""
    meters = _meters(info, cell)
    is_on_gpu = cell.setup is not None and cell.setup.device != "cpu"
    problems = [
        f"{meter.name}: {meter.problem}"
        for meter in meters
        if meter.problem and (is_on_gpu or meter.name != "GPU")
    ]
    if problems or not meters:
        return "; ".join(problems) or "not looked for when the run was made"
    if is_on_gpu and metrics.gpu_joules(cell) is None:
        return "GPU: too little was trained while it was counted"
    return "a counter could not be read all the time"


def _roofs(info: RunInfo, cell: CellResult) -> list[Roof]:
    """Return the ceilings of the machine that a cell ran on."""
    return info.machines[cell.machine].roofs if cell.machine in info.machines else []


def _remarks(cell: CellResult) -> Iterable[str]:
    """Yield what limits what a cell's figures can be trusted for."""
    yield from cell.flags
    if cell.proof:
        if cell.proof.from_parameters:
            yield FROM_PARAMETERS
        yield from cell.proof.remarks
