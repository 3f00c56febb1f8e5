"""Compare two runs backend by backend, and decide what is a regression.

Two runs were made at different times, so their cells are independent samples. On the same
hardware the figures themselves are compared, whatever the software: that is what may have become
slower. On other hardware absolute times say nothing, so each cell is first divided by the baseline
backend's cell of the same block. Of runs on many machines those cells are compared whose hardware both runs have, each kind of machine by itself;
where they have none in common, all are divided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import exp
from statistics import fmean, median
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, assert_never

from nnbench.contract.errors import ExitCode, IncomparableError, gravest
from nnbench.figures import accuracies, machines, metrics, statistics
from nnbench.figures.axes import described
from nnbench.figures.metrics import TRAINING, Scale
from nnbench.records.cells import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nnbench.data.workloads import Workload
    from nnbench.figures.accuracies import Difference
    from nnbench.figures.accuracies import Verdict as AccuracyVerdict
    from nnbench.figures.metrics import Gate, Metric
    from nnbench.figures.statistics import Interval, Verdict
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Environment
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep

    Sampler = Callable[[Run, Run, str, Metric], "Samples"]
    Said = Verdict | AccuracyVerdict | Literal["no worse"] | None


class Outcome(StrEnum):
    """What became of one figure. A member says what a comparison ends with, and why."""

    code: ExitCode | None
    meaning: str

    FAILED = (
        *("failed", ExitCode.BACKEND_FAILED),
        "the backend failed or timed out in the new run, or cannot be imported",
    )
    WRONG = "wrong", ExitCode.ACCURACY, "it is `invalid`, `diverged` or `target_missed` there"
    NONCONFORMING = (
        *("nonconforming", ExitCode.ACCURACY),
        "`continuous` only: it fails a conformance check there, and nothing is measured",
    )
    REGRESSION = (
        *("regression", ExitCode.REGRESSION),
        f"worse than the limit, with the whole interval; an accuracy ends with {ExitCode.ACCURACY:d}",
    )
    DIFFERENT = (
        *("different", ExitCode.ACCURACY),
        "an accuracy that is higher by more than the limit, where not every step was proved",
    )
    MISSING = "missing", ExitCode.NOTHING_MEASURED, "not measured in the new run"
    INCONCLUSIVE = (
        *("inconclusive", ExitCode.INCONCLUSIVE),
        "the interval lies across the limit: more rounds help; fine without `--strict`",
    )
    UNMATCHED = (
        *("unmatched", ExitCode.INCOMPARABLE),
        "other precision than in base, times without a baseline or of no hardware in common, or no import in base",
    )
    PASSED = "passed", ExitCode.OK, "not worse than the limit, as far as the rounds can tell"
    NOT_COMPARABLE = (
        *("not comparable", None),
        "on other hardware, a time of the baseline itself, by which the others are divided",
    )
    NEW = "new", None, "not measured in the base run: counts as if it were not there"

    def __new__(cls, name: str, code: ExitCode | None, meaning: str) -> Self:
        """Make a member; it cannot be made without saying what it ends with."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.code, member.meaning = code, meaning
        return member


#: What becomes of a training time where a difference was to be detected.
BY_VERDICT: dict[Verdict, Outcome] = {
    "slower": Outcome.REGRESSION,
    "faster": Outcome.PASSED,
    "same": Outcome.PASSED,
    "inconclusive": Outcome.INCONCLUSIVE,
}


class Samples(NamedTuple):
    """The values of one figure in both runs, and what they say about it."""

    base: list[float]
    new: list[float]
    interval: Interval | None  #: new / base, or new - base for an accuracy
    verdict: AccuracyVerdict | None = None  #: on an accuracy
    floor: float = 0.0  #: that no limit on an accuracy is below
    remark: str = ""
    is_mixed: bool = False  #: of unlike machines, which have no median together


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of one backend in two runs."""

    backend: str
    gate: Gate
    base: float | None = None  #: median over the cells, the mean of an accuracy
    new: float | None = None
    unit: str = ""  #: of both
    interval: Interval | None = None  #: new / base, or new - base for an accuracy
    verdict: Said = None
    outcome: Outcome
    message: str = ""
    kind: str = ""  #: of machines, if it is of those alone
    point: str = ""  #: of which it is, in words, where several are compared

    def code(self, *, strict: bool) -> ExitCode | None:
        """Return what a comparison of this figure alone ends with; None measured nothing."""
        if self.outcome is Outcome.REGRESSION and self.gate.metric.scale is Scale.DIFFERENCE:
            return ExitCode.ACCURACY
        if self.outcome is Outcome.INCONCLUSIVE and not strict:
            return ExitCode.OK
        return self.outcome.code


class Shared(NamedTuple):
    """What two runs have of the same hardware: of one kind of machine, if both have that."""

    kind: str
    base: Run
    new: Run

    @property
    def sides(self) -> tuple[Run, Run]:
        """Both parts."""
        return self.base, self.new


@dataclass(frozen=True, slots=True)
class Terms:
    """What differs between the machines of two runs, and so how their times are compared."""

    hardware: list[str]
    software: list[str]
    divisor: str | None = None  #: the backend by which times are divided, on other hardware
    #: Parts that are compared, each by itself; none if that is all of both runs.
    shared: tuple[Shared, ...] = ()
    alone: tuple[
        str, ...
    ] = ()  #: kinds of machines that one of the runs has, and the other has not

    @property
    def text(self) -> str:
        """Say it in a sentence or two."""
        relative = (
            f"relative to {self.divisor}"
            if self.divisor
            else "not compared: that takes a baseline beside another backend in both runs"
        )
        each = (
            f", each kind of machine by itself ({'; '.join(part.kind for part in self.shared)})"
            if self.shared
            else ""
        )
        sentences = [
            f"Other hardware, {', '.join(self.hardware)}: times are {relative}."
            if self.hardware
            else f"The same hardware: times are compared as they are{each}.",
            f"Times on what only one of the runs has are left out: {'; '.join(self.alone)}."
            if self.alone
            else "",
            f"Software that differs: {', '.join(self.software)}." if self.software else "",
        ]
        return " ".join(filter(None, sentences))

    def unit(self, metric: Metric) -> str:
        """Return the unit in which a figure is compared."""
        is_relative = self.divisor and metric.scale is Scale.RATIO
        return f"× {self.divisor}" if is_relative else metric.unit

    def obstacle(self, backend: str, metric: Metric) -> tuple[Outcome, str] | None:
        """Return what becomes of a figure that cannot be compared, and why; None if it can."""
        if not self.hardware or metric.scale is not Scale.RATIO:
            return None
        if self.divisor is None:
            return Outcome.UNMATCHED, "its times have no baseline in both runs"
        return (Outcome.NOT_COMPARABLE, "") if backend == self.divisor else None


def terms(base: Run, new: Run, *, is_paired: bool = False) -> Terms:
    """Find out on which terms two runs can be compared.

    If they are sides of one run, whose cells are compared in pairs, that can be on any machines together. A backend that is alone in both has nothing to be divided by: relative to itself it never changes.
    """
    ours, theirs = _kinds(base), _kinds(new)
    matched = _matched(ours, theirs)
    if not matched:
        hardware = _differing(ours, theirs)
        is_alone = len(base.info.backends.keys() & new.info.backends.keys()) < 2
        divisors = (
            name
            for name in (base.info.baseline, new.info.baseline)
            if not is_alone and not _problem(base, new, name)
        )
        software = base.info.environment.differences(new.info.environment)[1]
        return Terms(hardware, software, next(divisors, None))
    software = [
        text
        for ones, others in matched
        for text in ones[0].environment.differences(others[0].environment)[1]
    ]
    used = {each.name for pair in matched for side in pair for each in side}
    alone = tuple(dict.fromkeys(k.name for k in (*ours, *theirs) if k.name not in used))
    terms = Terms([], [*dict.fromkeys(software)])
    if is_paired or (len(matched) == 1 and not alone):
        return terms
    shared = tuple(
        Shared(ones[0].name, _part(base, ones), _part(new, others)) for ones, others in matched
    )
    return replace(terms, shared=shared, alone=alone)


class _Kind(NamedTuple):
    """A kind of machine that a run has figures of."""

    name: str
    machines: list[str]
    environment: Environment


def _kinds(run: Run) -> list[_Kind]:
    """Return the kinds of machines of a run that has figures of some, else those that it knows."""
    named = machines.kinds(run.info, run.cells)
    if not named:
        first = next(iter(run.info.machines))
        named = {machines.called(run.info)[first]: [first]}
    return [_Kind(name, own, run.info.machines[own[0]].environment) for name, own in named.items()]


def _matched(
    ours: Sequence[_Kind], theirs: Sequence[_Kind]
) -> list[tuple[list[_Kind], list[_Kind]]]:
    """Return what both sides have of the same hardware: of each kind if they share one, else all that there is of it."""
    found = []
    for hardware in _each([each.environment.hardware for each in ours]):
        ones, others = (
            [each for each in side if each.environment.hardware == hardware]
            for side in (ours, theirs)
        )
        same = [
            ([one], [other])
            for one in ones
            for other in others
            if one.environment.kind == other.environment.kind
        ]
        found += same or ([(ones, others)] if others else [])
    return found


def _each(values: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """Return each value once, in order."""
    found: list[dict[str, object]] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _differing(ours: Sequence[_Kind], theirs: Sequence[_Kind]) -> list[str]:
    """Say what the hardware of two runs is that have none in common."""
    if len(ours) == len(theirs) == 1:
        return ours[0].environment.differences(theirs[0].environment)[0]
    sides = (" and ".join(each.name for each in side) for side in (ours, theirs))
    return [" against ".join(sides)]


def _part(run: Run, kinds: Iterable[_Kind]) -> Run:
    """Return what a run has of some kinds."""
    return run.on([name for kind in kinds for name in kind.machines])


def compare(base: Run, new: Run, gates: Sequence[Gate], floor: float) -> list[Change]:
    """Compare every backend of two runs in every gated figure.

    Parameters
    ----------
    base, new
        Two runs of the same workload.
    gates
        What may not get worse, and by how much.
    floor
        The relative difference that the machine cannot tell from none; no threshold is below it.

    Raises
    ------
    IncomparableError
        If the two runs trained different workloads.
    """
    one, other = base.info.workload, new.info.workload
    if one != other:
        names = workloads_apart(one, other)
        raise IncomparableError(f"the runs trained different workloads ({names})")
    found = terms(base, new)
    sample = partial(_independent, divisor=found.divisor)
    return find_changes(base, new, gates, floor, sample, found)


class Pairs(NamedTuple):
    """The points that two runs have in common, and those that one of them has alone, in words."""

    common: list[tuple[Run, Run]]
    base: list[str]
    new: list[str]


def pair(base: Sweep, new: Sweep) -> Pairs:
    """Pair the points of two runs that are equal; where each has one, these, whatever they are.

    Raises
    ------
    IncomparableError
        If no points are equal.
    """
    if not base.runs[1:] and not new.runs[1:]:
        return Pairs([(base.alone, new.alone)], [], [])
    common = [
        (one, other) for other in new for one in base if one.info.point.is_same(other.info.point)
    ]
    paired = {id(run) for both in common for run in both}
    apart = [[_point(run) for run in side if id(run) not in paired] for side in (base, new)]
    if not common:
        sides = " and ".join(f"{'; '.join(names[:3])}" for names in apart)
        raise IncomparableError(f"the runs have no point in common ({sides})")
    return Pairs(common, *apart)


def _point(run: Run) -> str:
    threads = run.info.point.threads
    return f"{run.info.workload.name}, {threads} thread{'s' * (threads > 1)}"


def compare_points(pairs: Pairs, gates: Sequence[Gate], floor: float) -> list[Change]:
    """Compare every backend at every point that two runs have in common; see :func:`compare`."""
    return [
        replace(change, point=described(new.setting or base.setting))
        for base, new in pairs.common
        for change in compare(base, new, gates, floor)
    ]


def workloads_apart(one: Workload, other: Workload) -> str:
    """Name two workloads, or what differs between two of the same name."""
    if one.name != other.name:
        return f"{one.name} and {other.name}"
    return f"{one.name}: {', '.join(one.differences(other))}"


def find_changes(
    base: Run,
    new: Run,
    gates: Sequence[Gate],
    floor: float,
    sample: Sampler,
    found: Terms,
    detect: float | None = None,
) -> list[Change]:
    """Compare every backend of two runs in every gated figure, as ``sample`` measures it.

    If a difference was to be detected, the verdict on training times decides, not their limit.
    """
    labels = dict.fromkeys([*base.info.backends, *new.info.backends])
    return [
        change
        for backend in labels
        for gate in gates
        for change in _compare(
            *(base, new, backend, gate, floor, sample, found),
            detect if gate.metric is TRAINING else None,
        )
    ]


def _compare(
    base: Run,
    new: Run,
    backend: str,
    gate: Gate,
    floor: float,
    sample: Sampler,
    terms: Terms,
    detect: float | None,
) -> list[Change]:
    """Compare a backend in a figure: on each kind of machines, if absolute times are and there are several."""
    change = partial(Change, backend=backend, gate=gate, unit=terms.unit(gate.metric))
    if problem := _problem(base, new, backend) or terms.obstacle(backend, gate.metric):
        outcome, message = problem
        return [change(outcome=outcome, message=message)]
    parts = [
        (part.kind, *part.sides)
        for part in terms.shared
        if gate.metric.scale is Scale.RATIO and _ran(part, backend)
    ]
    if not parts and terms.shared and gate.metric.scale is Scale.RATIO:
        text = "its times are of no hardware that both runs have"
        return [change(outcome=Outcome.UNMATCHED, message=text)]
    return [
        replace(_judged(own, other, change, floor, sample, detect), kind=kind)
        for kind, own, other in parts or [("", base, new)]
    ]


def _ran(part: Shared, backend: str) -> bool:
    """Tell whether a backend has figures of both runs there."""
    return all(any(c.status.counts for c in run.of(backend)) for run in part.sides)


def _judged(
    base: Run,
    new: Run,
    change: partial[Change],
    floor: float,
    sample: Sampler,
    detect: float | None,
) -> Change:
    """Return a change with what was found of it."""
    backend, gate = change.keywords["backend"], change.keywords["gate"]
    found = sample(base, new, backend, gate.metric)
    if not (found.base and found.new):
        text = f"{gate.metric.name} was not measured in both runs"
        return change(outcome=Outcome.MISSING, message=text)
    middle: Callable[[list[float]], float] = median
    match gate.metric.scale:
        case Scale.RATIO:
            decided = statistics.decide(found.interval, floor, detect)
            verdict: Verdict | AccuracyVerdict | None = decided
            limit = max(gate.threshold, floor)
            outcome = BY_VERDICT[decided] if detect else _outcome(found.interval, limit)
        case Scale.DIFFERENCE:
            is_proved = all(
                c.proof and c.proof.is_whole for c in new.of(backend) if c.status.counts
            )
            middle, verdict = fmean, found.verdict
            outcome = _accuracy_outcome(found, gate, is_proved=is_proved)
        case unknown:
            assert_never(unknown)
    return change(
        base=None if found.is_mixed else middle(found.base),
        new=None if found.is_mixed else middle(found.new),
        interval=found.interval,
        verdict=_reconciled(verdict, outcome),
        outcome=outcome,
        message="; ".join(filter(None, [_unproved(new, backend), found.remark])),
    )


def _reconciled(verdict: Verdict | AccuracyVerdict | None, outcome: Outcome) -> Said:
    """Return the verdict as the outcome bears it out.

    The one says whether there is a difference, the other whether it is beyond the limit. So what is
    known to be slower may yet be undecided, and what is undecided no worse than allowed.
    """
    if outcome is Outcome.INCONCLUSIVE:
        return "inconclusive"
    return "no worse" if verdict == "inconclusive" else verdict


def _problem(base: Run, new: Run, backend: str) -> tuple[Outcome, str] | None:
    """Say why a backend cannot be compared, or None if it can."""
    cells = new.of(backend)
    for kind, outcome in ((Kind.FAILED, Outcome.FAILED), (Kind.WRONG, Outcome.WRONG)):
        if bad := next((c for c in cells if c.status.kind is kind), None):
            return outcome, f"{bad.status}: {bad.message}"
    if not any(c.status.counts for c in cells):
        return Outcome.MISSING, _why_nothing(cells)
    if not any(c.status.counts for c in base.of(backend)):
        return Outcome.NEW, "not measured in the base run"
    before, after = (_classes(run, backend) for run in (base, new))
    if before != after:
        return Outcome.UNMATCHED, f"products in {after}, and in {before} in the base run"
    return None


def _why_nothing(cells: Sequence[CellResult]) -> str:
    """Say why nothing of a backend was measured."""
    if not cells:
        return "not part of the new run"
    return f"{'lost: ' if cells[0].status is Status.LOST else ''}{cells[0].message}"


def _classes(run: Run, backend: str) -> str:
    """Name the precision of a backend's products."""
    return " and ".join(sorted({cell.precision for cell in run.of(backend)}))


def _unproved(run: Run, backend: str) -> str:
    """Say that nothing of a backend's training was proved, in a run that could have been."""
    if run.info.proof is None or all(c.is_followed for c in run.of(backend) if c.status.counts):
        return ""
    return "not proved, so its figures are its own word"


def _independent(
    base: Run, new: Run, backend: str, metric: Metric, *, divisor: str | None
) -> Samples:
    """Return samples of different times; but an accuracy depends on the seed, not on the time."""
    match metric.scale:
        case Scale.DIFFERENCE:
            return _accuracies(base, new, backend)
        case Scale.RATIO:
            one, other = (_values(run, backend, metric, divisor) for run in (base, new))
            return Samples(one, other, statistics.ratio_of_medians(other, one))
        case unknown:
            assert_never(unknown)


def _accuracies(base: Run, new: Run, backend: str) -> Samples:
    """Compare the seeds that both runs were given, or all seeds if a single one, or none, is in both.

    Seeds that were drawn make no pairs: those of two runs have nothing in common.
    """
    ones, others = (accuracies.measured(run.of(backend)) for run in (base, new))
    is_given = None not in (base.info.seed, new.info.seed)
    pairs = accuracies.pair(others, ones, "seed") if is_given else []
    found = None if len(pairs) > 1 else accuracies.compare_apart(others, ones)
    return accuracy_samples(ones, others, found or accuracies.compare(pairs))


def accuracy_samples(
    base: Iterable[CellResult], new: Iterable[CellResult], found: Difference | None
) -> Samples:
    """Return the accuracies of cells, as the tables of a run have them, with what was found."""
    one, other = (
        [value for cell in side if (value := metrics.accuracy(cell)) is not None]
        for side in (base, new)
    )
    if found is None:
        return Samples(one, other, None)
    remark = ""
    if 0 < found.pairs < max(len(one), len(other)):
        remark = f"the change of its accuracy is that of {found.pairs} pairs of the same seed"
    return Samples(one, other, found.interval, found.verdict, found.floor, remark)


def _values(run: Run, backend: str, metric: Metric, divisor: str | None) -> list[float]:
    """Return a figure of every measured cell, divided by that of another backend if it is named."""
    cells = [cell for cell in run.of(backend) if cell.status.counts]
    if divisor is None:
        return [value for cell in cells if (value := metric.ratio_value(cell))]
    divisors = {cell.round: cell for cell in run.of(divisor) if cell.status.counts}
    pairs = [(cell, divisors[cell.round]) for cell in cells if cell.round in divisors]
    return [exp(log) for pair in pairs if (log := metric.log_ratio(*pair)) is not None]


def _outcome(interval: Interval | None, limit: float) -> Outcome:
    """Hold the interval of a ratio against the limit: beyond it, within it, or across."""
    if interval is None:
        return Outcome.INCONCLUSIVE
    if interval.low - 1 > limit:
        return Outcome.REGRESSION
    return Outcome.PASSED if interval.high - 1 <= limit else Outcome.INCONCLUSIVE


def _accuracy_outcome(found: Samples, gate: Gate, *, is_proved: bool) -> Outcome:
    """Hold the interval of a difference against the limit, on both sides of 0.

    A higher accuracy may come from a mended backend, if it was proved to be right.
    """
    interval, limit = found.interval, max(gate.threshold, found.floor)
    if interval is None:
        return Outcome.INCONCLUSIVE
    if -interval.high > limit:
        return Outcome.REGRESSION
    if found.verdict == "higher" and interval.low > limit and not is_proved:
        return Outcome.DIFFERENT
    is_fine = -interval.low <= limit or found.verdict == "same"
    return Outcome.PASSED if is_fine else Outcome.INCONCLUSIVE


def exit_code(changes: Sequence[Change], *, strict: bool) -> ExitCode:
    """Return what the comparison ends with."""
    return gravest(change.code(strict=strict) for change in changes)
