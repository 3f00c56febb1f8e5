"""Compare two runs backend by backend, and decide what is a regression.

Two runs were made at different times, so their cells are independent samples. On the same
machine the figures themselves are compared. On different ones absolute times say nothing, so
each cell is first divided by the baseline backend's cell of the same block.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import exp
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, Self, assert_never

from nnbench.contract.errors import ExitCode, ResultsError, gravest
from nnbench.figures import accuracies, metrics, statistics
from nnbench.figures.metrics import TRAINING, Scale
from nnbench.records import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench.figures.accuracies import Difference
    from nnbench.figures.accuracies import Verdict as AccuracyVerdict
    from nnbench.figures.metrics import Gate, Metric
    from nnbench.figures.statistics import Interval, Verdict
    from nnbench.runs.run import Run

    Sampler = Callable[[Run, Run, str, Metric], "Samples"]


class Outcome(StrEnum):
    """What became of one figure. A member says what a comparison ends with, and why."""

    code: ExitCode | None
    meaning: str

    FAILED = "failed", ExitCode.BACKEND_FAILED, "the backend failed or timed out in the new run"
    WRONG = "wrong", ExitCode.ACCURACY, "it is `invalid`, `diverged` or `target_missed` there"
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
    INCOMPARABLE = (
        *("incomparable", ExitCode.NOTHING_MEASURED),
        "its products have another precision than in the base run",
    )
    PASSED = "passed", ExitCode.OK, "not worse than the limit, as far as the rounds can tell"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of one backend in two runs."""

    backend: str
    gate: Gate
    base: float | None = None  #: median over the cells
    new: float | None = None
    interval: Interval | None = None  #: new / base, or new - base for an accuracy
    verdict: Verdict | AccuracyVerdict | None = None
    outcome: Outcome
    message: str = ""

    def code(self, *, strict: bool) -> ExitCode | None:
        """Return what a comparison of this figure alone ends with; None measured nothing."""
        if self.outcome is Outcome.REGRESSION and self.gate.metric.scale is Scale.DIFFERENCE:
            return ExitCode.ACCURACY
        if self.outcome is Outcome.INCONCLUSIVE and not strict:
            return ExitCode.OK
        return self.outcome.code


def same_machine(base: Run, new: Run) -> bool:
    """Tell whether absolute times of two runs can be compared."""
    return base.info.environment.fingerprint == new.info.environment.fingerprint


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
    ResultsError
        If the two runs trained different workloads, or differ in their baseline backend on
        different machines.
    """
    one, other, same = base.info, new.info, same_machine(base, new)
    if one.workload != other.workload:
        names = f"{one.workload.name} and {other.workload.name}"
        if one.workload.name == other.workload.name:
            names = f"{one.workload.name}: {', '.join(one.workload.differences(other.workload))}"
        raise ResultsError(f"the runs trained different workloads ({names})")
    if not same and one.baseline != other.baseline:
        names = f"{one.baseline} and {other.baseline}"
        raise ResultsError(f"the runs have different machines and different baselines ({names})")
    sample = partial(_independent, relative=not same)
    return find_changes(base, new, gates, floor, sample)


def find_changes(
    base: Run,
    new: Run,
    gates: Sequence[Gate],
    floor: float,
    sample: Sampler,
    detect: float | None = None,
) -> list[Change]:
    """Compare every backend of two runs in every gated figure, as ``sample`` measures it.

    If a difference was to be detected, the verdict on training times decides, not their limit.
    """
    labels = dict.fromkeys([*base.info.backends, *new.info.backends])
    return [
        _compare(
            base, new, backend, gate, floor, sample, detect if gate.metric is TRAINING else None
        )
        for backend in labels
        for gate in gates
    ]


def _compare(
    base: Run,
    new: Run,
    backend: str,
    gate: Gate,
    floor: float,
    sample: Sampler,
    detect: float | None,
) -> Change:
    change = partial(Change, backend=backend, gate=gate)
    if problem := _problem(base, new, backend):
        outcome, message = problem
        return change(outcome=outcome, message=message)
    message = _unproved(new, backend)
    found = sample(base, new, backend, gate.metric)
    if not (found.base and found.new):
        text = f"{gate.metric.name} was not measured in both runs"
        return change(outcome=Outcome.MISSING, message=text)
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
            verdict = found.verdict
            outcome = _accuracy_outcome(found, gate, is_proved=is_proved)
        case unknown:
            assert_never(unknown)
    return change(
        base=median(found.base),
        new=median(found.new),
        interval=found.interval,
        verdict=verdict,
        outcome=outcome,
        message=message,
    )


def _problem(base: Run, new: Run, backend: str) -> tuple[Outcome, str] | None:
    """Say why a backend cannot be compared, or None if it can."""
    cells = new.of(backend)
    for kind, outcome in ((Kind.FAILED, Outcome.FAILED), (Kind.WRONG, Outcome.WRONG)):
        if bad := next((c for c in cells if c.status.kind is kind), None):
            return outcome, f"{bad.status}: {bad.message}"
    if not any(c.status.counts for c in cells):
        return Outcome.MISSING, cells[0].message if cells else "not part of the new run"
    if not any(c.status.counts for c in base.of(backend)):
        return Outcome.NEW, "not measured in the base run"
    before, after = (_classes(run, backend) for run in (base, new))
    if before != after:
        return Outcome.INCOMPARABLE, f"products in {after}, and in {before} in the base run"
    return None


def _classes(run: Run, backend: str) -> str:
    """Name the precision of a backend's products."""
    return " and ".join(sorted({cell.precision for cell in run.of(backend)}))


def _unproved(run: Run, backend: str) -> str:
    """Say that nothing of a backend's training was proved, in a run that could have been."""
    if run.info.proof is None or all(c.is_followed for c in run.of(backend) if c.status.counts):
        return ""
    return "not proved, so its figures are its own word"


def _independent(base: Run, new: Run, backend: str, metric: Metric, *, relative: bool) -> Samples:
    """Return samples of different times; but an accuracy depends on the seed, not on the time."""
    match metric.scale:
        case Scale.DIFFERENCE:
            return _accuracies(base, new, backend)
        case Scale.RATIO:
            one, other = (_values(run, backend, metric, relative=relative) for run in (base, new))
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
    if found is None and pairs:
        found = accuracies.compare(pairs)
        others, ones = (list(side) for side in zip(*pairs, strict=True))
    one, other = (
        [value for cell in side if (value := metrics.accuracy(cell)) is not None]
        for side in (ones, others)
    )
    return accuracy_samples(one, other, found)


def accuracy_samples(base: list[float], new: list[float], found: Difference | None) -> Samples:
    """Return accuracies with what was found of them."""
    if found is None:
        return Samples(base, new, None)
    return Samples(base, new, found.interval, found.verdict, found.floor)


def _values(run: Run, backend: str, metric: Metric, *, relative: bool) -> list[float]:
    """Return a figure of every measured cell, divided by the baseline's if ``relative``."""
    cells = [cell for cell in run.of(backend) if cell.status.counts]
    if not relative:
        return [value for cell in cells if (value := metric.value(cell))]  # 0 has no ratio
    divisors = {cell.round: cell for cell in run.of(run.info.baseline)}
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
