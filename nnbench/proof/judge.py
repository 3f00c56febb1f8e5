"""Decide whether a cell trained what it was asked to, from what it has sent at its cuts.

A stretch, what was trained between two cuts, is followed in float64 from the backend's own state
(``nnbench.proof.parts``). Which ones are, ``nnbench.proof.sampling`` says. Accuracy and test loss are
computed here, from the parameters. Clocks are held against what can be (``nnbench.proof.guards``).
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, assert_never

import numpy as np

from nnbench import reference
from nnbench.contract.bounds import MOST_LOSS
from nnbench.contract.errors import ExitCode, gravest
from nnbench.contract.spec import flatten, minibatches
from nnbench.data import seeding
from nnbench.data.task import draw_task
from nnbench.proof import (
    calibration,
    courses,
    deviations,
    explanation,
    guards,
    parts,
    sampling,
)
from nnbench.proof.evidence import InconsistentError, Spool, States, stretches
from nnbench.proof.training import State, Training, fresh
from nnbench.records.cells import Deviations, Kind, Limits, Proof, Status
from nnbench.records.judging import (
    Calibrate,
    Calibrated,
    Choose,
    Chosen,
    Conclude,
    Course,
    Evaluate,
    Evaluation,
    Finding,
    Follow,
    Judged,
    Prove,
    Proved,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnbench.contract.backend import Precision
    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.data.datasets import Splits
    from nnbench.data.task import Task
    from nnbench.data.workloads import Workload
    from nnbench.proof.evidence import Stretch
    from nnbench.records.cells import CellResult
    from nnbench.records.judging import JudgeCell, Logits, Question, Reply

CHAOS = 10.0  #: times what rounding does to a training that diverges
#: Of one batch's gradients, by norm: float32 has 1e-6, a missing mean 63.
GRADIENT: dict[Precision, float] = {"float32": 1e-3, "tf32": 1e-2, "bf16": 5e-2, "float16": 1e-2}
#: Of logits, by the size of their terms: some hundred roundings of what the products take.
LOGITS: dict[Precision, float] = {"float32": 1e-4, "tf32": 2e-2, "bf16": 2e-1, "float16": 2e-2}
CALIBRATION_SEED = 0
FEW, RARE = 2, 0.25  #: stretches, and share of them, that may stray further than is typical
NO_DEVIATIONS = Deviations(loss=0.0, displacement=0.0)


class Judge:
    """Judges the cells of one workload."""

    def __init__(
        self, workload: Workload, splits: Splits, digest: str, spool: int, cache: Path | None
    ) -> None:
        self.workload, self.digest, self.cache = workload, digest, cache
        self._task = draw_task(workload, splits, CALIBRATION_SEED)
        self.network = self._task.network
        self.spool = Spool(spool, self.network)
        self._trainings: dict[Precision, Training] = {}

    def answer(self, question: Question) -> Reply:
        """Return the answer to a question."""
        match question:
            case Calibrate(precision, from_parameters):
                return Calibrated(self.calibrate(precision, from_parameters=from_parameters))
            case Evaluate(offset, logits, precision):
                return self.evaluate(offset, logits, precision)
            case Follow(seed, epochs, is_rounded):
                return self.follow(seed, epochs, np.float32 if is_rounded else np.float64)
            case Choose(cell):
                return self.choose(cell)
            case Prove(cell, stretches):
                return Proved(self.prove(cell, stretches))
            case Conclude():
                return Judged(self.conclude(question))
            case _:
                raise ValueError("it is said once what is judged")

    def task(self, seed: int) -> Task:
        """Return the task of a seed."""
        if self._task.seed != seed:
            layers = seeding.initial_layers(self.network, self.workload.initial, seed)
            self._task = replace(self._task, seed=seed, layers=layers)
        return self._task

    def training(self, precision: Precision) -> Training:
        """Return the reference, in float64, of a precision of products."""
        if precision not in self._trainings:
            self._trainings[precision] = Training(
                self.network, self._task.train, precision=precision
            )
        return self._trainings[precision]

    def calibrate(self, precision: Precision, *, from_parameters: bool) -> Limits:
        """Return how long a part may be, and how far rounding may bring it from the reference."""
        task = self.task(CALIBRATION_SEED)
        return calibration.calibrate(
            task.network,
            task.train,
            task.batch_size,
            task.layers,
            precision=precision,
            from_parameters=from_parameters,
            folder=self.cache,
            sha256=self.digest,
        )

    def evaluate(
        self, offset: int, logits: Logits | None = None, precision: Precision = "float32"
    ) -> Evaluation:
        """Evaluate parameters, and compare what ``predict`` gave if it was asked."""
        layers = self.spool.layers(offset)
        found = self.evaluation(layers)
        if logits is None:
            return found
        inputs, outputs = self._task.test.inputs, self.network.sizes[-1]
        drawn = inputs if logits.images is None else inputs[np.frombuffer(logits.images, np.int64)]
        given = self.spool.read(logits.offset, len(drawn) * outputs).reshape(-1, outputs)
        with np.errstate(all="ignore"):
            off = deviations.logits_deviation(
                self.training(precision), layers, drawn, given, sized=inputs[: deviations.SIZED]
            )
        return Evaluation(found.test_loss, found.accuracy, off)

    def evaluation(self, layers: Sequence[Layer]) -> Evaluation:
        """Return how well a network does on the whole test split, in float64."""
        test = self._task.test._replace(labels=self._task.labels)
        with np.errstate(all="ignore"):  # a diverged network is a result, not a warning
            loss, accuracy = self.training("float32").evaluate(list(layers), test)
        return Evaluation(loss if abs(loss) <= MOST_LOSS else None, accuracy)

    def follow(self, seed: int, epochs: int, dtype: type[np.floating] = np.float64) -> Course:
        """Train a seed from its start, and evaluate each epoch."""
        return Course([*self._epochs(self.task(seed), epochs, dtype)])

    def _epochs(self, task: Task, epochs: int, dtype: type[np.floating]) -> Iterator[Evaluation]:
        training = Training(task.network, task.train, dtype=dtype)
        training.load(fresh(task.network, task.layers))
        for _, order in zip(range(epochs), task.orders(), strict=False):
            with np.errstate(all="ignore"):
                for index in minibatches(order, task.batch_size):
                    training.step(index)
            yield self.evaluation(training.state().layers)

    def _states(self, cell: JudgeCell) -> States:
        task = self.task(cell.result.seed)
        return States(cell, task, self.spool, stretches(cell.result, task))

    def choose(self, cell: JudgeCell) -> Chosen:
        """Choose what of a cell is proved, and say where its parameters lie after each epoch.

        What can be said without training is said here.
        """
        try:
            states = self._states(cell)
            problem = guards.problem(cell.result)
            if problem is None:
                states.check()
            moved = self._moved(states)
        except InconsistentError as error:
            return Chosen(problem=str(error))
        found = states.stretches
        ends = {epoch: cell.cuts[s.number].offset for s in found if (epoch := s.last_epoch)}
        inner = {s.number for s in found if s.inner_epochs}
        whole = _is_followed_alone(cell, self.network) and cell.mode != "off"
        traits = [
            sampling.Traits(s.runs[0].epoch, s.steps, s.train_s, length)
            for s, length in zip(found, moved, strict=True)
        ]
        numbers = sampling.choose(traits, "full" if whole else cell.mode) if problem is None else []
        numbers = sorted({*numbers, *inner})
        return Chosen(
            units=[numbers] if whole and numbers else [[number] for number in numbers],
            ends=ends,
            whole=sum(run.ends for stretch in found for run in stretch.runs),
            changed=any(moved) if moved else None,
            miscount=next(filter(None, (states.miscount(s.number) for s in found)), None),
            steps=[stretch.steps for stretch in found],
            problem=problem,
        )

    def _moved(self, states: States) -> list[float]:
        before, moved = states.parameters(0), []
        for stretch in states.stretches:
            after = states.parameters(stretch.number + 1)
            with np.errstate(all="ignore"):
                moved.append(float(np.linalg.norm(after - before)))
            before = after
        return moved

    def prove(self, cell: JudgeCell, numbers: Sequence[int]) -> list[Finding]:
        """Follow some stretches, up to one that strays.

        A backend that shows no moments is followed from the first on.
        """
        states, own, findings = self._states(cell), None, []
        for number in numbers:
            finding, own = self._prove(cell, states, number, own)
            findings.append(finding)
            if finding.problem:
                break
        return findings

    def _prove(
        self, cell: JudgeCell, states: States, number: int, own: State | None
    ) -> tuple[Finding, State | None]:
        training, stretch = self.training(cell.result.precision), states.stretches[number]
        start, end = states.before(number), states.after(number)
        inner = self._inner(training, stretch, start, own)
        if cell.mode == "off":
            return Finding(number, NO_DEVIATIONS, evaluations=inner), None
        if not _is_finite(stretch, end):
            return self._diverged(
                cell, stretch, State(start.layers, (own or start).optimizer), inner
            ), None
        losses = np.array(stretch.losses, np.float32)
        part = parts.Part(stretch.order, self._task.batch_size, start, end, losses)
        alone = _is_followed_alone(cell, self.network)
        # What is not explained here stays in the reference's own moments: so it is looked at more closely.
        strict = calibration.scaled(cell.limits, 1 / calibration.WITHOUT_STATE)
        limits = strict if alone else cell.limits
        verdict = parts.prove(training, part, limits, from_parameters=alone, own=own)
        is_proved = verdict.proved or _within(verdict.deviations, cell.limits.tolerance)
        problem = other = None
        if not is_proved:
            problem = _describe(stretch, verdict, cell.limits.tolerance, states.miscount(number))
            if _declares_other(cell) and verdict.step != 0:  # the first loss knows of no optimizer
                problem, other = None, problem
            elif reference.equal(start.layers, end.layers):
                problem += ": the parameters did not change"
            elif named := explanation.explain(training, part, cell.limits, own=own):
                problem += f": {named}"
        finding = Finding(
            number,
            verdict.deviations,
            flips=verdict.flips,
            steps=stretch.steps if is_proved else 0,
            problem=problem,
            other=other,
            evaluations=inner,
        )
        return finding, verdict.end

    def _diverged(
        self, cell: JudgeCell, stretch: Stretch, start: State, inner: dict[int, Evaluation]
    ) -> Finding:
        """Follow a stretch whose losses, or whose end, are not finite, as far as all is.

        Training that is about to diverge is chaotic, so rounding may do here what it does to the
        reference in float32.
        """
        exact, rounded = (
            self._losses(start, stretch, cell.result.precision, dtype)
            for dtype in (np.float64, np.float32)
        )
        given = np.array(stretch.losses, np.float64)  # None becomes NaN
        known = np.isfinite(given) & np.isfinite(exact) & np.isfinite(rounded)
        count = len(known) if known.all() else int(known.argmin())
        training = self.training(cell.result.precision)
        training.load(start)
        with np.errstate(all="ignore"):
            roundings = training.roundings(self._batches(stretch)[:count])
        usual = cell.limits.tolerance.loss or 0.0
        leeway = deviations.losses_leeway(exact[:count], roundings, usual)
        off, by_rounding = (
            deviations.losses_off(one[:count], exact[:count], leeway) for one in (given, rounded)
        )
        tolerance = max(usual, CHAOS * float(by_rounding.max(initial=0.0)))
        furthest = float(off.max(initial=0.0))
        problem = remark = other = None
        if any(np.isnan(each).any() for each in flatten(start.layers)) and np.isfinite(given[0]):
            step = stretch.steps_before + 1
            problem = f"in step {step} the loss is finite, though the parameters before it are NaN"
        elif not furthest <= tolerance:
            problem = _strays(stretch, 0, "loss", furthest, tolerance)
            if _declares_other(cell) and off[0] <= tolerance:
                problem, other = None, problem
        elif np.isfinite(rounded).all():
            remark = "that of the reference is"
        return Finding(
            stretch.number,
            replace(NO_DEVIATIONS, loss=furthest),
            problem=problem,
            remark=remark,
            other=other,
            evaluations=inner,
        )

    def _losses(
        self, start: State, stretch: Stretch, precision: Precision, dtype: type[np.floating]
    ) -> NDArray[np.float64]:
        training = Training(self.network, self._task.train, dtype=dtype, precision=precision)
        training.load(start)
        with np.errstate(all="ignore"):
            return np.array(training.follow(self._batches(stretch)))

    def _batches(self, stretch: Stretch) -> list[NDArray[np.int64]]:
        return [*minibatches(stretch.order, self._task.batch_size)]

    def _inner(
        self, training: Training, stretch: Stretch, start: State, own: State | None
    ) -> dict[int, Evaluation]:
        """Evaluate the reference where an epoch ends within a stretch."""
        if not stretch.inner_epochs:
            return {}
        found = {}
        training.load(State(start.layers, (own or start).optimizer))
        for run in stretch.runs[:-1]:
            with np.errstate(all="ignore"):
                for index in minibatches(run.order, self._task.batch_size):
                    training.step(index)
            found[run.epoch] = self.evaluation(training.state().layers)
        return found

    def conclude(self, found: Conclude) -> CellResult:
        """Return a cell's result with its evaluations, its proof, its status and its remarks.

        A cell whose worker did not end well keeps that status. Otherwise, in this order, it is
        ``invalid`` if something forbidden was seen from outside, if its clocks cannot be right, if
        its record contradicts itself, and if it strays from the reference. A loss that is not
        finite is ``diverged``; a complete training below the target accuracy is ``target_missed``;
        one that the budget ended is ``budget``. What strays behind its first loss, of a backend that
        declares another optimizer, is marked as that.
        """
        cell, chosen, findings = found.cell, found.chosen, found.findings
        evaluations = {n: e for finding in findings for n, e in finding.evaluations.items()}
        result = replace(cell.result, changed=chosen.changed)
        result = _evaluated(result, {**evaluations, **found.evaluations})
        if result.setup and (cell.mode == "off" or any(each.other for each in findings)):
            result = replace(result, other_optimizer=result.setup.other_optimizer)
        if result.status is not Status.OK:
            return result
        if cell.mode != "off" and chosen.problem is None:
            result = self._with_proof(result, found)
        problem = chosen.problem or next((each.problem for each in findings if each.problem), None)
        problem = problem or chosen.miscount or _late_problem(result, found)
        status, message = Status.INVALID, problem or ""
        if problem is None:
            remark = next((each.remark for each in findings if each.remark), None)
            status, message = _measured(result, cell.target, remark)
        flags = [*guards.remarks(result)] if status.counts else []
        return replace(result, status=status, message=message, flags=flags)

    def _with_proof(self, result: CellResult, found: Conclude) -> CellResult:
        cell, findings = found.cell, found.findings
        tolerance = cell.limits.tolerance
        logits = [each.logits for each in found.evaluations.values() if each.logits is not None]
        proof = Proof(
            mode=cell.mode,
            proved=sum(each.steps for each in findings),
            trained=result.steps,
            deviations=deviations.largest([each.deviations for each in findings]),
            tolerance=tolerance,
            flips=sum(each.flips for each in findings),
            from_parameters=_is_followed_alone(cell, self.network),
            gradient=self._gradient(cell),
            logits=max(logits, default=None),
        )
        return replace(
            result, proof=proof, deviation=proof.deviations.loss, tolerance=tolerance.loss
        )

    def _gradient(self, cell: JudgeCell) -> float | None:
        if cell.gradient is None or not cell.cuts:
            return None
        (order, offset), precision = cell.gradient, cell.result.precision
        rounded = Training(self.network, self._task.train, dtype=np.float32, precision=precision)
        layers = self.spool.layers(cell.cuts[-1].offset)
        index, given = np.frombuffer(order, np.int64), self.spool.layers(offset)
        with np.errstate(all="ignore"):
            return deviations.gradient_deviation(
                *(self.training(precision), rounded, layers, index, given),
                noise=deviations.NOISE / GRADIENT[precision],
            )


def _is_followed_alone(cell: JudgeCell, network: NetworkSpec) -> bool:
    """Tell whether the backend has moments that it does not show."""
    return network.optimizer.keeps_moments and not any(cut.has_moments for cut in cell.cuts)


def _declares_other(cell: JudgeCell) -> bool:
    """Tell whether the backend declares that its optimizer is not the one that was asked for."""
    return bool(cell.result.setup and cell.result.setup.other_optimizer)


def _is_finite(stretch: Stretch, end: State) -> bool:
    return None not in stretch.losses and all(np.isfinite(a).all() for a in flatten(end.layers))


def _within(found: Deviations, tolerance: Deviations) -> bool:
    """Tell whether no deviation is beyond its tolerance."""
    names = [each.name for each in fields(Deviations)]
    pairs = [(getattr(found, name), getattr(tolerance, name)) for name in names]
    return all(off is not None and limit is not None and off <= limit for off, limit in pairs)


def _describe(
    stretch: Stretch, verdict: parts.Verdict, tolerance: Deviations, miscount: str | None
) -> str:
    """Say how far a stretch strays, and where that is first seen."""
    off = verdict.deviations
    if verdict.step is not None:
        return _strays(stretch, verdict.step, "loss", off.loss, tolerance.loss)
    pairs = {
        "movement of the parameters": (off.displacement, tolerance.displacement),
        "first moment": (off.first, tolerance.first),
        "second moment": (off.second, tolerance.second),
    }
    name, (found, limit) = next(
        (name, pair) for name, pair in pairs.items() if pair[0] is None or pair[0] > (pair[1] or 0)
    )
    if miscount and found is None:
        return miscount
    return _strays(stretch, 0, name, found, limit)


def _strays(
    stretch: Stretch, step: int, name: str, found: float | None, limit: float | None
) -> str:
    """Say that something strays; ``step`` is the first in which that is seen, from 0."""
    first, last = stretch.steps_before + step + 1, stretch.steps_before + stretch.steps
    where = f"step {first}" if first == last else f"steps {first} to {last}"
    amount = "beyond all numbers" if found is None else f"{found:.1e}"
    return f"in {where} the {name} strays {amount} from the reference, more than {limit:.0e}"


def _evaluated(result: CellResult, found: Mapping[int, Evaluation]) -> CellResult:
    """Return the result with the evaluation of each epoch."""
    epochs = [
        replace(epoch, test_loss=known.test_loss, accuracy=known.accuracy)
        if (known := found.get(epoch.number))
        else epoch
        for epoch in result.epochs
    ]
    return replace(result, epochs=epochs)


def _late_problem(result: CellResult, found: Conclude) -> str | None:
    """Return what else is not right in a cell whose stretches are, or None."""
    proof = result.proof
    if proof is None:
        return None
    follows = not result.other_optimizer
    if follows and (problem := _typical_problem(found.findings, found.cell.limits.typical)):
        return problem
    limit = GRADIENT[result.precision]
    if proof.gradient is not None and not proof.gradient <= limit:
        return f"the gradients of a batch are {proof.gradient:.1e} off, more than {limit:.0e}"
    limit = LOGITS[result.precision]
    if proof.logits is not None and not proof.logits <= limit:
        off = f"the logits that predict gave are {proof.logits:.1e} off those of the parameters"
        return f"{off}, more than {limit:.0e}"
    return courses.problem(found) if follows else None


def _typical_problem(findings: Sequence[Finding], limit: float | None) -> str | None:
    """Say so if many stretches stray where right ones do now and then, or return None."""
    if limit is None:
        return None
    known = (each.deviations.displacement for each in findings)
    beyond = sum(not (each is not None and each <= limit) for each in known)
    if beyond <= FEW + RARE * len(findings):
        return None
    found = f"{beyond} of {len(findings)} stretches stray by more than {limit:.0e} in displacement"
    return f"{found}: few may"


def _measured(result: CellResult, target: float | None, remark: str | None) -> tuple[Status, str]:
    """Return the status of a cell that is not invalid, and why."""
    if None in result.losses or not result.losses or result.epochs[-1].test_loss is None:
        return Status.DIVERGED, "the loss is not finite" + (f"; {remark}" if remark else "")
    if target is not None and result.complete and result.time_to(target) is None:
        best = max(epoch.accuracy or 0 for epoch in result.epochs)
        return Status.TARGET_MISSED, f"reached {best:.2%}, not {target:.2%}"
    return Status.OK if result.complete else Status.BUDGET, ""


def exit_code(
    cells: Iterable[CellResult], required: Collection[str], *, require_proof: bool = False
) -> ExitCode:
    """Return what a run ends with.

    Parameters
    ----------
    cells
        The attempt at each cell that counts.
    required
        The backends that must train: one of them that turns out to be unavailable has failed,
        whereas any other is only skipped.
    require_proof
        Whether a cell of which a step was not proved has failed.
    """
    return gravest(
        _code(cell, is_required=cell.backend in required, require_proof=require_proof)
        for cell in cells
    )


def _code(cell: CellResult, *, is_required: bool, require_proof: bool) -> ExitCode | None:
    match cell.status.kind:
        case Kind.MEASURED if require_proof and not (cell.proof and cell.proof.is_whole):
            return ExitCode.ACCURACY
        case Kind.MEASURED:
            return ExitCode.OK
        case Kind.WRONG:
            return ExitCode.ACCURACY
        case Kind.FAILED | Kind.LOST:
            return ExitCode.BACKEND_FAILED
        case Kind.SKIPPED:
            return ExitCode.BACKEND_FAILED if is_required else None
        case unknown:
            assert_never(unknown)
