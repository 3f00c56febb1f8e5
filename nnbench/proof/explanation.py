"""Which known mistake explains a part that strays.

Mistakes are made on purpose, from the backend's own state on. The one that gives what the backend gave is named:
in the losses around the first that is off, or at the end of the part if none is. What rounds otherwise or has
another number is looked at first, then the table of ``nnbench.proof.mistakes``, as far as its slow
arithmetic allows.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from math import inf, isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.contract.spec import minibatches
from nnbench.proof.deviations import compare, losses_leeway, losses_off
from nnbench.proof.mistakes import MISTAKES, Problem, Variant
from nnbench.proof.training import MANTISSA, State, Training, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nnbench.contract.backend import Precision
    from nnbench.contract.spec import Optimizer
    from nnbench.proof.parts import Part
    from nnbench.proof.training import Array
    from nnbench.records.cells import Deviations, Limits

    Run = Callable[[], "Outcome"]
    Change = Callable[[int, list[Array], list[Array]], list[Array]]

UNEXPLAINED = 0.1  #: of a deviation may be left by the mistake that is named
ROUGH = 0.5  #: by one that rounds: what goes up and what down differs in some places
OPERATIONS = 3e11  #: floating-point operations that an explanation may cost
LATER = 6  #: losses that are looked at from the first on that is off
PRECISIONS: tuple[Precision, ...] = ("bf16", "tf32")  #: float16 has as many digits as tf32
EPSILONS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-10)
SHIFT = 1e-3  #: of a number whose effect is measured
LEAST_SHIFT = 1e-5  #: of a number that is another one


class Outcome(NamedTuple):
    """What a training comes to."""

    end: State
    losses: Sequence[float]


class Candidate(NamedTuple):
    """A mistake, and the training with it."""

    hint: str
    train: Run
    left: float = UNEXPLAINED  #: of a deviation, at most, if it is the one


class Altered(Training):
    """The reference with something done to its gradients, or to its state after each update."""

    change: Change | None = None  #: of the step, its gradients and those of the step before
    after: Callable[[list[Array], list[list[Array]]], None] | None = None
    _done: int
    _last: list[Array]

    def load(self, state: State) -> None:
        """Start from a state."""
        super().load(state)
        self._done, self._last = 0, []

    def _update(self, gradients: Sequence[Array]) -> None:
        used = list(gradients)
        if self.change:
            kept = [gradient.copy() for gradient in used]
            used = self.change(self._done, used, self._last or kept)
            self._last = kept
        super()._update(used)
        if self.after:
            self.after(self._matrices, self._moments)
        self._done += 1


def explain(
    training: Training, part: Part, limits: Limits, *, own: State | None = None
) -> str | None:
    """Return what a backend may have done instead, in a few words, or None.

    Parameters
    ----------
    training
        The reference.
    part, limits
        A part that it could not follow.
    own
        What the reference came to before, if the backend does not show its optimizer's state.
    """
    if part.start.optimizer is None and own is not None:
        part = part._replace(start=State(part.start.layers, own.optimizer))
    with np.errstate(all="ignore"):  # a mistake may overflow
        search = _Search(training, part, limits)
        off = search.left(search.right)
        for candidate in search.candidates():
            if search.left(candidate.train()) < candidate.left * off:
                return candidate.hint
    return None


class _Search:
    """The search for a mistake."""

    def __init__(self, training: Training, part: Part, limits: Limits) -> None:
        self.training, self.part, self.limits = training, part, limits
        self.batches = list(minibatches(part.order, part.batch_size))
        self.given = np.asarray(part.losses, np.float64)
        self.right = self.run(training)
        expected = np.array(self.right.losses)
        training.load(part.start)
        leeway = losses_leeway(expected, training.roundings(self.batches), self.seen)
        late = np.flatnonzero(~(losses_off(self.given, expected, leeway) <= self.seen))
        self.first = int(late[0]) if len(late) else None
        if self.first is not None:  # the rest of the part says nothing more
            self.batches = self.batches[: self.first + LATER]

    @property
    def seen(self) -> float:
        return self.limits.tolerance.loss or 0.0

    def run(self, training: Training) -> Outcome:
        """Train the part, or as much of it as is looked at."""
        training.load(self.part.start)
        losses = training.follow(self.batches)
        return Outcome(training.state(), losses)

    def left(self, outcome: Outcome) -> float:
        """Return how far a training is from what the backend gave."""
        count = len(self.batches)
        given, losses = self.given[:count], np.array(outcome.losses)[:count]
        if given.shape != losses.shape:
            return inf
        if self.first is not None:
            distance = float(np.linalg.norm(given - losses))
            return distance if isfinite(distance) else inf
        start, end = self.part.start, self.part.end
        shown = end.optimizer is not None and outcome.end.optimizer is not None
        off = losses_off(given, losses)
        return _length(compare(start, end, outcome.end, off, moments=shown), self.limits.tolerance)

    def candidates(self) -> Iterator[Candidate]:
        """Yield mistakes, the quick ones first."""
        yield from self.roundings()
        yield from self.steps()
        yield from self.numbers()
        yield from self.known()

    def altered(
        self,
        change: Change | None = None,
        after: Callable[[list[Array], list[list[Array]]], None] | None = None,
    ) -> Run:
        made = Altered(
            self.training.spec, self.training.examples, precision=self.training.precision
        )
        made.change, made.after = change, after
        return lambda: self.run(made)

    def roundings(self) -> Iterator[Candidate]:
        """Yield what keeps fewer digits than it should."""
        spec, examples = self.training.spec, self.training.examples
        for precision in ("float32", *PRECISIONS):
            if precision != self.training.precision:
                made = Training(spec, examples, precision=precision)
                named = "tf32 or float16" if precision == "tf32" else precision
                hint = f"products in {named}; the backend declares {self.training.precision}"
                yield Candidate(hint, lambda made=made: self.run(made), ROUGH)  # type: ignore[misc]  # bound as default
        yield Candidate("parameters rounded to float16", self.altered(after=_halve), ROUGH)
        yield Candidate("parameters rounded to bfloat16", self.altered(after=_shorten), ROUGH)
        if spec.optimizer.keeps_moments:
            hint = "moments rounded to bfloat16"
            yield Candidate(hint, self.altered(after=_shorten_moments), ROUGH)

    def steps(self) -> Iterator[Candidate]:
        """Yield what may have gone wrong in the step before the first loss that is off."""
        wrong = len(self.batches) - 1 if self.first is None else self.first - 1

        def skip(step: int, now: list[Array], _last: list[Array]) -> list[Array]:
            return [np.zeros_like(gradient) for gradient in now] if step == wrong else now

        def stale(step: int, now: list[Array], last: list[Array]) -> list[Array]:
            return [gradient.copy() for gradient in last] if step == wrong else now

        if wrong >= 0:
            yield Candidate("one batch was left out", self.altered(skip))
            yield Candidate("one step used the gradients of the step before", self.altered(stale))

    def numbers(self) -> Iterator[Candidate]:
        """Yield other hyper-parameters, measured by what a small change of each does."""
        optimizer = self.training.spec.optimizer
        names = ["learning_rate"]
        if optimizer.keeps_moments:
            names += ["beta1", "beta2"]
            for epsilon in EPSILONS:
                if epsilon != optimizer.epsilon:
                    text = f"epsilon {epsilon:g}, not {optimizer.epsilon:g}"
                    yield Candidate(text, self.other(replace(optimizer, epsilon=epsilon)))
        fits: list[tuple[float, Candidate]] = []  # each explains some of what the others do
        for name in names:
            old = float(getattr(optimizer, name))
            # Of a decay it is 1 − β that counts.
            unit = old if name == "learning_rate" else 1 - old
            if self.first is not None and unit > 0:
                shifted = self.other(_with(optimizer, name, old + SHIFT * unit))()
                right = np.array(self.right.losses[: len(self.batches)])
                effect = np.array(shifted.losses) - right
                missing = self.given[: len(right)] - right
                size = float(effect @ effect)
                shift = SHIFT * float(effect @ missing) / size if size else 0.0
                new = old + shift * unit
                if abs(shift) > LEAST_SHIFT and new > 0 and (name == "learning_rate" or new < 1):
                    text = f"{name.replace('_', ' ')} of about {new:.5g}, not {old:g}"
                    fit = Candidate(text, self.other(_with(optimizer, name, new)))
                    fits.append((self.left(fit.train()), fit))
        yield from (fit for _, fit in sorted(fits, key=itemgetter(0)))

    def other(self, optimizer: Optimizer) -> Run:
        spec = replace(self.training.spec, optimizer=optimizer)
        made = Training(spec, self.training.examples, precision=self.training.precision)
        return lambda: self.run(made)

    def known(self) -> Iterator[Candidate]:
        """Yield the mistakes of the table, if there is time for them."""
        spec, start = self.training.spec, self.part.start
        order = np.concatenate(self.batches)
        if spec.operations * len(order) * len(MISTAKES) > OPERATIONS:
            return
        examples, size = self.training.examples, self.part.batch_size
        epoch = len(examples.inputs) // size * size  # a part that is longer spans several
        orders = np.split(order, range(epoch, len(order), epoch))
        problem = Problem(spec, start.layers, examples, orders, size, optimizer=start.optimizer)
        for mistake in MISTAKES:

            def train(mistake: Variant = mistake) -> Outcome:
                outcome = mistake.train(problem)
                known = outcome.state if spec.optimizer.keeps_moments else None
                return Outcome(State(outcome.layers, known), outcome.losses)

            yield Candidate(mistake.hint, train)


def _with(optimizer: Optimizer, name: str, value: float) -> Optimizer:
    changes = {name: value}
    return replace(optimizer, **changes)  # type: ignore[arg-type]  # fields by name


def _length(deviations: Deviations, tolerance: Deviations) -> float:
    limits = asdict(tolerance)
    shares = [
        inf if one is None or not limits[name] else one / limits[name]
        for name, one in asdict(deviations).items()
    ]
    return float(np.hypot.reduce(shares))


def _halve(matrices: list[Array], _moments: list[list[Array]]) -> None:
    for matrix in matrices:
        matrix[...] = matrix.astype(np.float16)


def _shorten(matrices: list[Array], _moments: list[list[Array]]) -> None:
    for matrix in matrices:
        matrix[...] = rounded(matrix, MANTISSA["bf16"])


def _shorten_moments(_matrices: list[Array], moments: list[list[Array]]) -> None:
    for kind in moments:
        _shorten(kind, [])
