"""Hold what a backend gives against the reference, and name the well-known mistake that gives it.

A mistake fits if it explains nearly all of a deviation; the one that explains most is named. Every
function that holds something against the reference returns a message, or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnbench.proof.mistakes import HALF, HANDED_OUT, MISTAKES, RIGHT
from nnbench.testing.problems import deviation
from nnbench.testing.session import LIKELY, NOTHING_FITS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer, NetworkSpec, OptimizerState
    from nnbench.proof.mistakes import Outcome
    from nnbench.testing.problems import Problem

    Array = NDArray[np.floating]
    Named = dict[str, Array]  # arrays of one training by name

TOLERANCE = 1e-4  #: relative, of each array, for float32 backends
STATE_TOLERANCE = 2e-5  #: relative, of all arrays of a moment; the proof of a run has the same
UNEXPLAINED = 0.05  #: the share of a deviation that a fitting mistake may leave
EXACT = 1e-3  #: a mistake that leaves less is the one
ALIKE = 10  #: two roundings are alike if their deviations are within this factor
ROUNDING = 0.01  #: a larger relative deviation is no rounding
SHOWN = 3  #: values of an array in a message
STATE_TYPES = ("float32", "float64")  #: of moments
NOT_FINITE = "a division by zero, an overflow, or memory that was never set"


class Candidate(NamedTuple):
    """What would have come, had a mistake been made."""

    hint: str
    values: Named
    is_rounding: bool = False  #: only the size of the deviation can be compared


def check(
    what: str, actual: Named, expected: Named, candidates: Iterable[Candidate] = ()
) -> str | None:
    """Return a message if an array deviates from what is expected, or else None."""
    return misfit(what, actual, expected, candidates) if deviates(actual, expected) else None


def deviates(actual: Named, expected: Named) -> bool:
    """Tell whether an array is further off than rounding explains."""
    return any(deviation(actual[name], expected[name]) > TOLERANCE for name in expected)


def misfit(what: str, actual: Named, expected: Named, candidates: Iterable[Candidate]) -> str:
    """Return a message about arrays that deviate."""
    worst = max(expected, key=lambda name: deviation(actual[name], expected[name]))
    facts = f"{what}: {show_worst(worst, actual[worst].ravel(), expected[worst].ravel())}"
    return message(facts, likely_mistake(actual, expected, candidates))


def message(facts: str, hint: str) -> str:
    """Join the facts with the likely mistake."""
    return f"{facts}. {LIKELY}{hint}"


def show_worst(name: str, actual: Array, expected: Array) -> str:
    """Show a few values of an array from where it is furthest off, and compare its size."""
    first = min(int(np.argmax(np.abs(actual - expected))), max(0, expected.size - SHOWN))
    part = slice(first, first + SHOWN)
    where = f"{name}, from value {first} on" if first else name
    sizes = compare_sizes(actual, expected)
    return f"{where}: expected {show(expected[part])}, came {show(actual[part])}{sizes}"


def show(values: Array) -> str:
    """Write a few values."""
    return "[" + ", ".join(f"{value:.4g}" for value in values.tolist()) + "]"


def compare_sizes(actual: Array, expected: Array) -> str:
    """Say how many times too large or too small an array is, if it points the right way."""
    norms = float(np.linalg.norm(actual)), float(np.linalg.norm(expected))
    if not np.isfinite(norms[0]) or 0 in norms:
        return ""
    ratio, aligned = norms[0] / norms[1], float(actual @ expected) / (norms[0] * norms[1])
    if aligned < 0.99 or abs(ratio - 1) < 0.01:
        return ""
    return f" ({ratio:.3g} times too large)" if ratio > 1 else f" ({1 / ratio:.3g} times too small)"


def likely_mistake(actual: Named, expected: Named, candidates: Iterable[Candidate]) -> str:
    """Return the hint of the candidate that fits best."""

    def join(arrays: Named) -> Array:
        return np.concatenate([np.ravel(arrays[name]) for name in expected])

    given, right = join(actual), join(expected)
    if not np.isfinite(given).all():
        return NOT_FINITE
    off = float(np.linalg.norm(given - right))
    left, fitting, roundings = UNEXPLAINED, "", []
    for hint, arrays, is_rounding in candidates:
        values = join(arrays)
        if values.shape != given.shape or not np.isfinite(values).all():
            continue
        if is_rounding:
            roundings.append((hint, float(np.linalg.norm(values - right))))
        elif (distance := float(np.linalg.norm(given - values)) / off) < left:
            left, fitting = distance, hint
            if distance < EXACT:
                break
    if not fitting and off < ROUNDING * np.linalg.norm(right):
        fitting = next((h for h, size in roundings if size / ALIKE < off < size * ALIKE), "")
    return fitting or NOTHING_FITS


def losses(what: str, actual: Any, problem: Problem) -> str | None:
    """Check the losses of a training, one for each step, against the reference."""
    return loss_count(what, len(actual), problem) or training(
        what, name_losses(actual), problem, lambda outcome: name_losses(outcome.losses)
    )


def loss_count(what: str, count: int, problem: Problem) -> str | None:
    """Check the number of losses."""
    steps = sum(1 for _ in problem.batches())
    facts = f"{what}: expected {steps} losses, came {count}"
    if count == steps:
        return None
    if count == sum(len(order) // problem.batch_size for order in problem.orders):
        return message(facts, "the last, smaller batch is dropped")
    if count == len(problem.orders):
        return message(facts, "one loss for an epoch, where every step has its own")
    return message(facts, "train_epoch returns the loss of each step, in order")


def gradients(what: str, actual: Sequence[Layer], problem: Problem) -> str | None:
    """Check the gradients of the last step."""
    return structure(what, actual, problem.spec) or training(
        what, name_arrays(actual), problem, lambda outcome: name_arrays(outcome.gradients)
    )


def layers(what: str, actual: Sequence[Layer], problem: Problem) -> str | None:
    """Check the parameters after a training. Their change says most, so that is explained."""
    if text := structure(what, actual, problem.spec):
        return text
    right = RIGHT.train(problem).layers
    if not deviates(name_arrays(actual), name_arrays(right)):
        return None

    def changes(layers: Sequence[Layer]) -> Named:
        before, after = name_arrays(problem.layers), name_arrays(layers)
        return {f"change of {name}": after[name] - before[name] for name in after}

    made = candidates(problem, lambda outcome: changes(outcome.layers))
    return misfit(what, changes(actual), changes(right), made)


def state(what: str, actual: OptimizerState, problem: Problem) -> str | None:
    """Check the state of an optimizer that keeps moments, after a training."""
    right = RIGHT.train(problem)
    if actual.steps != right.state.steps:
        return message(
            f"{what}, steps: expected {right.state.steps}, came {actual.steps}",
            "the count is off by one: t is how many steps there were since load"
            if abs(actual.steps - right.state.steps) == 1
            else "something else is counted: t is how many steps there were since load",
        )
    for part in ("first", "second"):
        moment = f"{what}, {part} moment"
        if text := structure(moment, getattr(actual, part), problem.spec, STATE_TYPES):
            return text

        def named(state: OptimizerState, part: str = part) -> Named:
            return name_arrays(getattr(state, part))

        given, wanted = named(actual), named(right.state)
        if not apart(given, wanted) <= STATE_TOLERANCE:
            wrong = [
                Candidate(hint, named(hand_out(problem.spec.optimizer, right)))
                for hint, hand_out in HANDED_OUT.items()
            ]
            trained = candidates(problem, lambda outcome: named(outcome.state))
            return misfit(moment, given, wanted, [*wrong, *trained])
    return None


def apart(actual: Named, expected: Named) -> float:
    """Return how far some arrays are off together, relative to their norm."""
    off, scale = (
        float(np.linalg.norm([np.linalg.norm(array) for array in arrays]))
        for arrays in ([actual[name] - expected[name] for name in expected], expected.values())
    )
    return off / scale if scale else off


def training(
    what: str, actual: Named, problem: Problem, named: Callable[[Outcome], Named]
) -> str | None:
    """Check a part of what a training gives."""
    return check(what, actual, named(RIGHT.train(problem)), candidates(problem, named))


def candidates(problem: Problem, named: Callable[[Outcome], Named]) -> Iterator[Candidate]:
    """Yield what every known mistake gives, and what half precision does."""
    for mistake in (*MISTAKES, HALF):
        with np.errstate(all="ignore"):  # a mistake may overflow
            outcome = mistake.train(problem)
        yield Candidate(mistake.hint, named(outcome), mistake is HALF)


def structure(
    what: str, actual: Any, spec: NetworkSpec, types: Collection[str] = ("float32",)
) -> str | None:
    """Check the form of parameters, gradients or moments: their number, shapes and dtypes."""
    if len(actual) != len(spec.shapes):
        facts = f"{what}: expected {len(spec.shapes)} layers, came {len(actual)}"
        return message(facts, "one Layer(weight, bias) for each pair of neighbouring sizes")
    for depth, ((weight, bias), shape) in enumerate(zip(actual, spec.shapes, strict=True), start=1):
        if text := form(f"{what}, weight {depth}", weight, shape, types):
            return text
        if bias is not None and not spec.bias:
            facts = f"{what}, bias {depth}: expected None, came {kind(bias)}"
            return message(facts, "the bias is None in a network without biases")
        if spec.bias and (text := form(f"{what}, bias {depth}", bias, shape[1:], types)):
            return text
    return None


def form(
    what: str, actual: Any, shape: tuple[int, ...], types: Collection[str] = ("float32",)
) -> str | None:
    """Check the shape and the dtype of one array."""
    wanted = f"{what}: expected float32 of shape {shape}, came {kind(actual)}"
    if not isinstance(actual, np.ndarray):
        return message(wanted, "not copied to a NumPy array in host memory")
    if actual.shape != shape:
        is_transposed = actual.shape == shape[::-1]
        return message(wanted, "transposed" if is_transposed else "another order of dimensions")
    if actual.dtype.name not in types:
        return message(wanted, "not converted to float32 on the way out")
    return None


def kind(actual: Any) -> str:
    """Name what stands where an array was expected."""
    if isinstance(actual, np.ndarray):
        return f"{actual.dtype} of shape {actual.shape}"
    return "None" if actual is None else f"a {type(actual).__module__}.{type(actual).__name__}"


def name_arrays(layers: Sequence[Layer]) -> Named:
    """Name the arrays of a network, the first layer being layer 1."""
    return {
        f"{part} {depth}": np.asarray(array, np.float64)
        for depth, layer in enumerate(layers, start=1)
        for part, array in zip(("weight", "bias"), layer, strict=True)
        if array is not None
    }


def name_losses(values: Sequence[float]) -> Named:
    """Name losses, so that they are compared as one array."""
    return {"losses": np.asarray(values, np.float64)}
