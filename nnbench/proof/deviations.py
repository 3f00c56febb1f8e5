"""How far what a backend gave is off what the reference came to.

Where errors nearly cancel out, little but rounding is left of a loss, of a moment, of gradients. Then they are not by
their own size, but by what rounding may do to them: of a loss that follows from its arithmetic, of the others
it is measured (``nnbench.proof.rounding``).
"""

from __future__ import annotations

from dataclasses import asdict
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np

from nnbench import reference
from nnbench.proof.training import EPSILON, State, flat
from nnbench.records.cells import Deviations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer
    from nnbench.proof.training import Array, Suspect, Training

NOISE = 10  #: times what rounding was measured to do, right ones may be off
SIZED = 1000  #: examples, of which the sizes of logits are taken


def compare(
    start: State, given: State, right: State, off: NDArray[np.float64], *, moments: bool = True
) -> Deviations:
    """Return how far the backend's end of a part is from the reference's.

    Parameters
    ----------
    start, given, right
        Where the part starts, what the backend came to, and what the reference came to.
    off
        How far each loss is off, see :func:`losses_off`.
    moments
        Whether the optimizer's state is compared; a wrong count of steps makes all of it wrong.
    """
    before, after, there = flat(start.layers), flat(given.layers), flat(right.layers)
    stored = EPSILON * sqrt(len(off)) * float(np.linalg.norm(before))
    moved, wrong = there - before, after - there
    if right.leeway:
        wrong = np.maximum(np.abs(wrong) - flat(right.leeway), 0)
    first = second = 0.0
    if moments and right.optimizer:
        if given.optimizer is None or given.optimizer.steps != right.optimizer.steps:
            first = second = inf
        else:
            first = _relative(flat(given.optimizer.first), flat(right.optimizer.first))
            second = _relative(flat(given.optimizer.second), flat(right.optimizer.second))
    return Deviations(
        loss=_finite(float(off.max(initial=0.0))),
        displacement=_finite(_relative(moved + wrong, moved, stored)),
        first=_finite(first),
        second=_finite(second),
    )


def losses_off(
    given: NDArray[np.float64],
    expected: NDArray[np.float64],
    leeway: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Return how far each loss is off, but for its leeway, by the mean of those so far."""
    if given.shape != expected.shape:
        return np.full(expected.shape, inf)
    off = np.maximum(np.abs(given - expected) - leeway, 0) / _means(expected)
    return np.where(np.isfinite(off), off, inf)


def losses_leeway(
    expected: NDArray[np.float64], roundings: NDArray[np.float64], tolerance: float
) -> NDArray[np.float64]:
    """Return how much farther than is tolerated each loss may be off, since rounding does more to it."""
    beyond = roundings - tolerance * _means(expected)
    return np.where(np.isfinite(beyond), np.maximum(beyond, 0), 0)


def largest(found: Sequence[Deviations]) -> Deviations:
    """Return the largest of each deviation; what is not finite is larger than all."""

    def most(values: Iterable[float | None]) -> float | None:
        known = list(values)
        return None if None in known else max([0.0, *filter(None, known)])

    return Deviations(
        loss=most(each.loss for each in found),
        displacement=most(each.displacement for each in found),
        first=most(each.first for each in found),
        second=most(each.second for each in found),
    )


def leeway(measured: Deviations, tolerance: Deviations) -> Deviations:
    """Return how much farther than is tolerated an end may be, since rounding was measured to do that."""
    return less(
        Deviations(**{name: NOISE * (value or 0) for name, value in asdict(measured).items()}),
        tolerance,
    )


def less(found: Deviations, some: Deviations) -> Deviations:
    """Return deviations less some; what is not finite remains so."""
    off = asdict(some)
    return Deviations(
        **{
            name: None if value is None else max(0.0, value - (off[name] or 0))
            for name, value in asdict(found).items()
        }
    )


def _means(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the losses up to each one."""
    return np.maximum(np.cumsum(losses) / np.arange(1, len(losses) + 1), np.finfo(float).tiny)


def _relative(
    given: NDArray[np.floating], right: NDArray[np.floating], allowed: float = 0.0
) -> float:
    """Return the norm of a difference by the norm of what is right, but for what is allowed."""
    off = float(np.linalg.norm(given - right)) - allowed
    size = float(np.linalg.norm(right))
    if not (isfinite(off) and isfinite(size)):
        return inf
    if off <= 0:
        return 0.0
    return off / size if size else inf


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def gradient_deviation(
    training: Training,
    rounded: Training,
    layers: list[Layer],
    index: NDArray[np.int64],
    gradients: list[Layer],
    noise: float,
) -> float:
    """Return how far the gradients of one batch are off: the largest relative norm of a layer's.

    What the other side of undecided units explains is taken off. Where the examples of a batch nearly cancel out, little but
    rounding is left of a layer's: then it is not by that, but by so many times the ``noise`` that ``rounded``,
    a training in float32, has there.
    """
    training.load(State(layers, None))
    rounded.load(State(layers, None))
    suspects: list[Suspect] = []
    right = training.gradients(index, {}, suspects)
    off = flat(gradients) - flat(right)
    for suspect in suspects:
        effect = flat(training.gradients(index, {suspect.unit: not suspect.active})) - flat(right)
        if np.linalg.norm(off - effect) < np.linalg.norm(off):
            off -= effect
    sides = {suspect.unit: suspect.active for suspect in suspects}
    by_rounding = flat(rounded.gradients(index, sides)) - flat(right)
    norms, sizes, noises = (
        [float(np.linalg.norm(flat([one]))) for one in training.spec.view(each)]  # type: ignore[arg-type]  # float64
        for each in (off, flat(right), by_rounding)
    )
    if not all(map(isfinite, norms)):
        return inf
    sizes = [max(size, noise * each) for size, each in zip(sizes, noises, strict=True)]
    return max(
        norm / size if size else (inf if norm else 0.0)
        for norm, size in zip(norms, sizes, strict=True)
    )


def logits_deviation(
    training: Training, layers: list[Layer], inputs: Array, logits: Array, *, sized: Array
) -> float:
    """Return how far logits are off those of the parameters.

    It is the largest difference, by the largest sum of the sizes of what a logit is the sum of: they may
    cancel out, and all logits may be alike, but rounding is by those sizes. They are those of
    ``sized``, so that it makes no difference which inputs were drawn.
    """
    right = training.logits(layers, inputs)
    if right.shape != logits.shape or not np.isfinite(logits).all():
        return inf
    some = sized.astype(np.float64)
    last, weight = reference.feedforward(training.spec, layers, some)[-2], layers[-1].weight
    bias = 0.0 if layers[-1].bias is None else np.abs(layers[-1].bias)
    size = float((np.abs(last) @ np.abs(weight) + bias).max(initial=0.0)) or 1.0
    off = float(np.abs(logits - right).max(initial=0.0)) / size
    return off if isfinite(off) else inf
