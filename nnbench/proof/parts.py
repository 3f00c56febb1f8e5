"""Prove a part of a training: follow it in float64 from the backend's own state.

A part is what was trained between two cuts. It starts from parameters and optimizer state that the
backend handed over, and so nothing accumulates: whatever a right backend rounds in a few hundred
steps is far smaller than what a wrong one does in one. If every part is proved, so is the whole.

What makes right trainings differ by more than rounding is one thing, a ReLU whose input is smaller
than float32 can tell from zero. There the reference takes the backend's side, if that explains what
it sees: see :func:`prove`. And where a part deviates by more than the tolerance, what rounding may do to just this one is taken off: that
is more where errors nearly cancel out, as they do in a network that fits its examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import ceil, inf
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.contract.spec import minibatches
from nnbench.proof.deviations import compare, largest, leeway, less, losses_leeway, losses_off
from nnbench.proof.rounding import Rounded
from nnbench.proof.training import UNDECIDED, State, Unit, flat
from nnbench.records.cells import Deviations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from nnbench.proof.training import Snapshot, Suspect, Training
    from nnbench.records.cells import Limits

SEEN = 5e-7  #: a larger deviation of a loss may be more than rounding
#: Of what is undecided: all that are nearer to zero may be on their other side.
CONTRARY = (1 / 6, 1 / 3, 1 / 2, 2 / 3, 1)
WIDER = (1, 2, 8)  #: times as far from zero a unit may be, one search after the other
MOST_STEPS = 600  #: that are trained in looking for pairs
MOST_ROUNDS = 30  #: of a search
MOST_TOGETHER = 10  #: units whose effects are measured and combined
MOST_COMBINATIONS = 12  #: of them that are tried
MOST_AT_END = 32  #: units whose effects on the end are measured
UNSURE = 0.5  #: how far from 1 the share of an effect may be that is there
LEAST_GAIN = 0.7  #: of a deviation may be left by flips that explain some of it
ALL = 0.2  #: of what may be left, by one flip that may be all that there is
MOST_OPTIONS = 6  #: of the combinations whose end is looked at
LEAST_EFFECT = 0.2  #: by the tolerance, of a flip that matters
SOFTENING = 0.2  #: added to margins: the very smallest are no more likely than small ones
ALONE = 20  #: times as near to zero a unit may be, where the optimizer's state is not shown
ORDERS = range(4)  #: of summing up, in which it is measured what rounding does to a part
MEMORY = 1 << 28  #: bytes of snapshots of one part


class Part(NamedTuple):
    """A part as the backend reports it."""

    order: NDArray[np.int64]  #: of its examples
    batch_size: int
    start: State
    end: State
    losses: NDArray[np.float32]  #: of each step, before its update


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a part."""

    deviations: Deviations
    proved: bool  #: whether the backend trained it as the reference does
    flips: int  #: undecided signs in which the reference took the backend's side
    step: int | None  #: the first, from 0, whose loss is beyond the tolerance, if one is
    end: State  #: what the reference came to


def prove(
    training: Training,
    part: Part,
    limits: Limits,
    *,
    from_parameters: bool = False,
    own: State | None = None,
) -> Verdict:
    """Hold a part against the reference, which follows the backend where float32 is undecided.

    If the part deviates by more than the tolerance, hidden units whose input float32 cannot tell
    from zero are taken on their other side. They stay there if that brings the reference nearer to the
    backend. What no flips explain is no rounding.

    Parameters
    ----------
    training
        The reference of the backend's network and examples.
    part
        What the backend was given, and what it gave back.
    limits
        What rounding alone may do in a part of this length.
    from_parameters
        The backend does not show its optimizer's state: the reference goes on with its own, and the moments are
        not compared.
    own
        What the reference came to at the end of the part before; None in the first.
    """
    start = (
        State(part.start.layers, own.optimizer if own else None) if from_parameters else part.start
    )
    search = _Search(training, part, start, limits.tolerance, compares_moments=not from_parameters)
    with np.errstate(all="ignore"):  # what is not finite fails when it is compared
        found = search.best()
    beyond = np.flatnonzero(~(found.off <= (limits.tolerance.loss or 0)))
    return Verdict(
        deviations=found.deviations,
        proved=search.excess(found) <= 1,
        flips=found.flips,
        step=int(beyond[0]) if len(beyond) else None,
        end=found.end,
    )


Sides = dict[int, dict[Unit, bool]]  # whether units are active, of each step


class _Path(NamedTuple):
    """A way of the reference through a part."""

    losses: NDArray[np.float64]
    suspects: list[list[Suspect]]  #: of each step
    snapshots: dict[int, Snapshot]  #: of the state before some steps
    end: State
    off: NDArray[np.float64]  #: how far each loss is off
    deviations: Deviations

    @property
    def flips(self) -> int:
        """Number of units that are not on the side that their input says."""
        return sum(one.active != one.natural for found in self.suspects for one in found)

    def sides(self, changed: Iterable[_Flip] = ()) -> Sides:
        """Return the side of every undecided unit, where some are changed."""
        sides = {
            step: {s.unit: s.active for s in found} for step, found in enumerate(self.suspects)
        }
        for step, suspect in changed:
            sides[step][suspect.unit] = not suspect.active
        return sides


class _Flip(NamedTuple):
    """A change of side."""

    step: int
    suspect: Suspect


class _Search:
    """The search for sides that explain a part."""

    def __init__(
        self,
        training: Training,
        part: Part,
        start: State,
        tolerance: Deviations,
        *,
        compares_moments: bool,
    ) -> None:
        self.training, self.part, self.start = training, part, start
        self.tolerance, self.compares_moments = tolerance, compares_moments
        # With moments of its own the reference is further from the backend than rounding brings it.
        training.most = UNDECIDED[training.precision] * (1 if compares_moments else ALONE)
        training.contrary = 0.0
        self.batches = list(minibatches(part.order, part.batch_size))
        self.given = np.asarray(part.losses, np.float64)
        self.losses_leeway = np.zeros_like(self.given)
        self.leeway = Deviations(loss=0.0, displacement=0.0)

    def best(self) -> _Path:
        """Return the way that comes nearest to what the backend gave."""
        path = self.walk()
        if self.excess(path) <= 1 or not self.is_comparable():
            return path
        self.scales = self.scale(path)
        self.training.load(self.start)
        roundings = self.training.roundings(self.batches)
        self.losses_leeway = losses_leeway(path.losses, roundings, self.tolerance.loss or 0)
        for other in self.ways():
            path = min(path, other, key=self.excess)
            if self.excess(path) <= 1:
                break
        return path

    def ways(self) -> Iterator[_Path]:
        """Yield ways that may come nearer, the cheapest first."""
        yield self.walk()
        self.measure(ORDERS[:1])
        yield self.walk()
        undecided = self.training.most
        for share in CONTRARY:
            self.training.contrary = share * undecided
            yield self.walk(keep=True)
        self.training.contrary = 0.0
        for times in WIDER:
            self.training.most = times * undecided
            yield self.search()
        self.training.most = undecided
        yield from self.pairs()
        self.measure(ORDERS[1:])
        yield self.walk()

    def measure(self, orders: Iterable[int]) -> None:
        """Allow for what rounding does here, which is more than the tolerance where little else is left.

        Where steps take the signs of gradients, the tolerance has that already.
        """
        if self.training.spec.optimizer.kind == "adam-fresh":
            return
        for order in orders:
            pair = Rounded(self.training, order)
            pair.load(self.start)
            given, expected = np.array([pair.step(index) for index in self.batches]).T
            off = losses_off(given, expected, self.losses_leeway)
            found = leeway(pair.deviations(self.start, off), self.tolerance)
            self.leeway = largest((self.leeway, found))

    def pairs(self) -> Iterator[_Path]:
        """Yield ways with two changes: the first may take the end further away, if it makes the second one undecided."""
        path, left = self.walk(keep=True), MOST_STEPS
        for first in self.candidates(path, len(self.batches)):
            one = self.walk(path, [first], keep=True)
            for second in self.candidates(one, len(self.batches)):
                left -= len(self.batches) - second.step
                if left < 0:
                    return
                yield self.walk(one, [second], keep=True)

    def search(self) -> _Path:
        """Change sides for as long as that brings the reference nearer."""
        path = self.walk(keep=True)
        for _ in range(MOST_ROUNDS):
            if self.excess(path) <= 1:
                break
            flips = self.explain_losses(path) or self.explain_end(path)
            if not flips:
                break
            path = self.walk(path, flips, keep=True)
        return path

    def is_comparable(self) -> bool:
        """Tell whether all that the backend gave is there and finite: if not, no side explains it."""
        end = self.part.end
        keeps = self.training.spec.optimizer.keeps_moments
        if self.compares_moments and keeps and end.optimizer is None:
            return False
        arrays = [*end.layers, *(end.optimizer.first if end.optimizer else [])]
        return self.given.shape == (len(self.batches),) and bool(
            np.isfinite(self.given).all() and np.isfinite(flat(arrays)).all()
        )

    def excess(self, path: _Path) -> float:
        """Return the largest deviation of a way by its tolerance; up to 1 the part is proved."""
        return max(_shares(path.deviations, self.tolerance))

    def length(self, path: _Path) -> float:
        """Return a length that falls with each flip that explains something; the largest need not."""
        return float(np.hypot.reduce(_shares(path.deviations, self.tolerance)))

    def walk(
        self, before: _Path | None = None, flips: Sequence[_Flip] = (), *, keep: bool = False
    ) -> _Path:
        """Train the part; or again, with some changes to the sides of another way.

        All other units that are undecided stay on their sides: those that come to lie on the other one by what
        is changed would blur its effect. Which ones are undecided is looked for only in a way that is kept to start
        others from, since it takes a third of the time again.
        """
        step, losses, suspects, snapshots = 0, [], [], {}
        sides: Sides = {}
        if before is None:
            self.training.load(self.start)
        else:
            step, sides = self.go_back(before, flips)
            losses, suspects = before.losses[:step].tolist(), before.suspects[:step]
            if keep:
                snapshots = {k: kept for k, kept in before.snapshots.items() if k <= step}
        every = max(1, ceil(len(self.batches) * self.training.nbytes / MEMORY))
        for index in self.batches[step:]:
            if keep and step % every == 0 and step not in snapshots:
                snapshots[step] = self.training.snapshot()
            suspects.append([])
            found = suspects[-1] if keep else None
            losses.append(self.training.step(index, sides.get(step, {}), found))
            step += 1
        end, expected = self.training.state(), np.array(losses)
        off = losses_off(self.given, expected, self.losses_leeway)
        off = np.maximum(off - (self.leeway.loss or 0), 0)
        deviations = compare(self.start, self.part.end, end, off, moments=self.compares_moments)
        return _Path(
            expected,
            suspects,
            snapshots,
            end,
            off,
            less(deviations, replace(self.leeway, loss=0.0)),
        )

    def losses(self, before: _Path, flips: Sequence[_Flip], until: int) -> NDArray[np.float64]:
        """Return the losses up to a step, with some changes to the sides of a way."""
        start, sides = self.go_back(before, flips)
        losses = before.losses[: until + 1].copy()
        for step in range(start, until + 1):
            losses[step] = self.training.step(self.batches[step], sides.get(step, {}))
        return losses

    def go_back(self, before: _Path, flips: Sequence[_Flip]) -> tuple[int, Sides]:
        """Take the training back to where it parts from a way; return the step, and all sides."""
        first = min(flip.step for flip in flips)
        step = max(step for step in before.snapshots if step <= first)
        self.training.restore(before.snapshots[step])
        return step, before.sides(flips)

    def explain_losses(self, path: _Path) -> list[_Flip]:
        """Return the changes that explain best the losses up to the first one that is off.

        What a unit's other side does to the later losses is measured. Each effect is small, so those of several
        add up: of the combinations that fit best, each is tried. Few losses are explained by chance as well;
        what is right brings the end nearer, too, even if other changes are still missing.
        """
        late = np.flatnonzero(~(path.off <= SEEN))
        if not len(late):
            return []
        until = int(late[0])
        given, now = self.given[: until + 1], path.losses[: until + 1]
        enough = LEAST_GAIN * float(np.abs(given - now).max())
        options: list[tuple[float, list[_Flip]]] = []

        def attempt(flips: list[_Flip]) -> NDArray[np.float64]:
            losses = self.losses(path, flips, until)
            if (left := float(np.abs(given - losses).max())) < enough:
                options.append((left, flips))
            return losses

        likely = self.candidates(path, until)
        effects = []
        for flip in likely:
            effects.append(attempt([flip]) - now)
            explains = options and options[-1][1] == [flip] and options[-1][0] < ALL * enough
            if explains and self.excess(self.walk(path, [flip])) <= 1:
                return [flip]
        if len(likely) > 1:
            choices = np.array([c for c in product((0, 1), repeat=len(likely)) if sum(c) > 1])
            distances = np.linalg.norm(given - now - choices @ np.array(effects), axis=1)
            for choice in choices[np.argsort(distances, kind="stable")[:MOST_COMBINATIONS]]:
                attempt([flip for flip, chosen in zip(likely, choice, strict=True) if chosen])
        best, found = _square(self.missing(path)), []
        for _, flips in sorted(options, key=itemgetter(0))[:MOST_OPTIONS]:
            other = self.walk(path, flips)
            if self.excess(other) <= 1:
                return flips
            if (left := _square(self.missing(other))) < best:
                best, found = left, flips
        return found

    def missing(self, path: _Path) -> NDArray[np.float32]:
        """Return what a way leaves unexplained."""
        return self.features(self.part.end, self.given) - self.features(path.end, path.losses)

    def explain_end(self, path: _Path) -> list[_Flip]:
        """Return the changes that explain best the end of the part.

        How much of each measured effect the backend shows is a problem of least squares.
        """
        now = self.features(path.end, path.losses)
        missing = self.missing(path)
        likely, effects = [], []
        for flip in self.candidates(path, len(self.batches), MOST_AT_END):
            other = self.walk(path, [flip])
            if self.excess(other) <= 1:
                return [flip]
            effect = self.features(other.end, other.losses) - now
            if float(np.linalg.norm(effect)) > LEAST_EFFECT:
                likely.append(flip)
                effects.append(effect)
        if not likely:
            return []
        rows = np.array(effects)
        gram, seen = (rows @ rows.T).astype(np.float64), (rows @ missing).astype(np.float64)
        shares = np.linalg.lstsq(gram, seen, rcond=1e-9)[0]
        for choice in (
            np.abs(shares - 1) < UNSURE,
            np.arange(len(shares)) == (2 * seen - np.diag(gram)).argmax(),
        ):
            flips = [flip for flip, chosen in zip(likely, choice, strict=True) if chosen]
            expected = float(2 * choice @ seen - choice @ gram @ choice)
            if flips and expected > 0:
                other = self.walk(path, flips)
                if _square(missing) - _square(self.missing(other)) > expected / 2:
                    return flips
        return []

    def candidates(self, path: _Path, until: int, most: int = MOST_TOGETHER) -> list[_Flip]:
        """Return the changes before a step that matter most, the most promising first."""
        found = [
            _Flip(step, one) for step, some in enumerate(path.suspects[:until]) for one in some
        ]

        def promise(flip: _Flip) -> float:
            return flip.suspect.weight / (SOFTENING + flip.suspect.margin)

        return sorted(filter(promise, found), key=promise, reverse=True)[:most]

    def features(self, state: State, losses: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return what is compared, in units of the tolerance."""
        parts = [
            losses / (self.scales.loss or 1),
            flat(state.layers) / (self.scales.displacement or 1),
        ]
        if self.compares_moments and state.optimizer:
            parts.append(flat(state.optimizer.first) / (self.scales.first or 1))
        return np.concatenate(parts).astype(np.float32)

    def scale(self, path: _Path) -> Deviations:
        """Return how much of each quantity is within the tolerance."""
        t, end = self.tolerance, path.end
        moved = float(np.linalg.norm(flat(end.layers) - flat(self.start.layers)))
        first = float(np.linalg.norm(flat(end.optimizer.first))) if end.optimizer else 0.0
        return Deviations(
            loss=(t.loss or 0) * float(np.mean(path.losses)),
            displacement=(t.displacement or 0) * moved,
            first=(t.first or 0) * first,
        )


def _square(values: NDArray[np.float32]) -> float:
    return float(values @ values)


def _shares(deviations: Deviations, tolerance: Deviations) -> list[float]:
    """Return each deviation by its tolerance."""
    pairs = (
        (deviations.loss, tolerance.loss),
        (deviations.displacement, tolerance.displacement),
        (deviations.first, tolerance.first),
        (deviations.second, tolerance.second),
    )
    return [inf if one is None or not limit else one / limit for one, limit in pairs]
