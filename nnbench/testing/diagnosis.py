"""Hold what a backend gives against the reference, and name the well-known mistake that gives it.

A mistake fits if it explains nearly all of a deviation; the one that explains most is named, of those
that nothing else speaks against, if there is one. Every function that holds something against the
reference returns a message, or None.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain
from math import prod
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnbench.proof.mistakes import HALF, HANDED_OUT, MISTAKES, RIGHT, optimized
from nnbench.testing.problems import deviation
from nnbench.testing.session import LIKELY, NOTHING_FITS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer, NetworkSpec, OptimizerState
    from nnbench.proof.mistakes import Outcome, Variant
    from nnbench.testing.problems import Problem

    Array = NDArray[np.floating]
    Named = dict[str, Array]  # arrays of one training by name

TOLERANCE = 1e-4  #: relative, of each array, for float32 backends
STATE_TOLERANCE = 2e-5  #: relative, of all arrays of a moment; the proof of a run has the same
UNEXPLAINED = 0.05  #: the share of a deviation that a fitting mistake may leave
EXACT = 1e-3  #: a mistake that leaves less is the one
FEW = 3  #: values; fewer are explained exactly or not at all, as some mistake is near by chance
ALIKE = 10  #: two roundings are alike if their deviations are within this factor
ROUNDING = 0.01  #: a larger relative deviation is no rounding
SHOWN = 3  #: values of an array in a message
STATE_TYPES = ("float32", "float64")  #: of moments
SMALL, PROBLEMS = 200, 64  #: parameters of a network, and problems, of which trainings are kept
REFINEMENTS = 6  #: of a learning rate that is estimated from what came
MISSING_RETURN = "nothing is returned: is a return missing?"
ONE_LOSS = "one loss for an epoch, where every step has its own"
CLASSES = "classes are returned, where the logits are wanted"
NOT_FINITE = "a division by zero, an overflow, or memory that was never set"


class Candidate(NamedTuple):
    """What would have come, had a mistake been made."""

    hint: str
    values: Named
    is_rounding: bool = False  #: only the size of the deviation can be compared
    is_refuted: bool = False  #: something else that came speaks against it
    left: float = UNEXPLAINED  #: the share of the deviation that it may leave


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
    fitting: list[tuple[bool, float, str]] = []
    roundings: list[tuple[str, float]] = []
    for hint, arrays, is_rounding, is_refuted, left in candidates:
        values = join(arrays)
        if values.shape != given.shape or not np.isfinite(values).all():
            continue
        if is_rounding:
            roundings.append((hint, float(np.linalg.norm(values - right))))
            continue
        distance = float(np.linalg.norm(given - values)) / off
        if distance < (left if len(given) >= FEW else EXACT):
            fitting.append((is_refuted, distance, hint))
            if distance < EXACT and not is_refuted:
                break
    if not fitting and len(given) >= FEW and off < ROUNDING * np.linalg.norm(right):
        alike = (h for h, size in roundings if size / ALIKE < off < size * ALIKE)
        return next(alike, NOTHING_FITS)
    return min(fitting, key=itemgetter(0, 1), default=(False, 0.0, NOTHING_FITS))[2]


def losses(what: str, actual: Any, problem: Problem) -> str | None:
    """Check the losses of a training, one for each step, against the reference."""
    return loss_count(what, len(actual), problem) or training(
        what, name_losses(actual), problem, lambda outcome: name_losses(outcome.losses)
    )


def logits_form(actual: Any, spec: NetworkSpec, rows: int) -> str | None:
    """Check the form of what ``predict`` returns for so many rows."""
    return form("predict", actual, (rows, spec.sizes[-1]), taken_for={(rows,): CLASSES})


def loss_form(what: str, actual: Any) -> str | None:
    """Check that losses are an array of some length."""
    shape = getattr(actual, "shape", None)
    is_array = isinstance(actual, np.ndarray) and len(actual.shape) == 1
    if is_array and actual.dtype == np.float32:
        return None
    facts = f"{what}: expected float32 of shape (steps,), came {kind(actual)}"
    if actual is None:
        return message(facts, "nothing is returned: return the loss of each step")
    if shape == () or isinstance(actual, float):
        return message(facts, ONE_LOSS)
    if is_array:
        return message(facts, "not converted to float32 on the way out")
    return message(facts, "return the loss of each step in one array: losses_to_host makes it")


def loss_count(what: str, count: int, problem: Problem) -> str | None:
    """Check the number of losses."""
    steps = sum(1 for _ in problem.batches())
    facts = f"{what}: expected {steps} losses, came {count}"
    if count == steps:
        return None
    if count == sum(len(order) // problem.batch_size for order in problem.orders):
        return message(facts, "the last, smaller batch is dropped")
    if count == len(problem.orders):
        return message(facts, ONE_LOSS)
    return message(facts, "train_epoch returns the loss of each step, in order")


def gradients(what: str, actual: Sequence[Layer], problem: Problem) -> str | None:
    """Check the gradients of the last step."""
    return structure(what, actual, problem.spec) or training(
        what, name_arrays(actual), problem, lambda outcome: name_arrays(outcome.gradients)
    )


def layers(
    what: str,
    actual: Sequence[Layer],
    problem: Problem,
    gradients: Sequence[Layer] | None = None,
) -> str | None:
    """Check the parameters after a training. Their change says most, so that is explained.

    The gradients of the last step, if they are known, speak against mistakes that have others.
    """
    if text := structure(what, actual, problem.spec):
        return text
    right = outcome_of(RIGHT, problem).layers
    if not deviates(name_arrays(actual), name_arrays(right)):
        return None

    def changes(layers: Sequence[Layer]) -> Named:
        before, after = name_arrays(problem.layers), name_arrays(layers)
        return {f"change of {name}": after[name] - before[name] for name in after}

    def trained(outcome: Outcome) -> Named:
        return changes(outcome.layers)

    if structure("gradients", gradients, problem.spec):
        gradients = None  # they say nothing, and another check says that
    given = changes(actual)
    made = chain(
        candidates(problem, trained, gradients),
        other_rate(problem, given, trained),
    )
    return misfit(what, given, changes(right), made)


def other_rate(
    problem: Problem, given: Named, named: Callable[[Outcome], Named]
) -> Iterator[Candidate]:
    """Yield what the learning rate gives that explains a change of the parameters best."""
    own = rate = problem.spec.optimizer.learning_rate
    with np.errstate(all="ignore"):  # with a wrong rate a training may overflow
        for _ in range(REFINEMENTS):
            other = optimized(partial(replace, learning_rate=rate))
            values = named(other.train(problem))
            size = sum(float(np.vdot(array, array)) for array in values.values())
            step = sum(float(np.vdot(given[name], values[name])) for name in values)
            if not (np.isfinite(size) and step > 0):
                return
            found, rate = rate, rate * step / size
    hint = f"a learning rate of about {found:.3g}, where the specification has {own:g}"
    yield Candidate(hint, values, left=EXACT)


def state(what: str, actual: OptimizerState, problem: Problem) -> str | None:
    """Check the state of an optimizer that keeps moments, after a training."""
    right = outcome_of(RIGHT, problem)
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
    return check(what, actual, named(outcome_of(RIGHT, problem)), candidates(problem, named))


def candidates(
    problem: Problem,
    named: Callable[[Outcome], Named],
    gradients: Sequence[Layer] | None = None,
) -> Iterator[Candidate]:
    """Yield what every known mistake gives, and what half precision does."""
    seen = None if gradients is None else name_arrays(gradients)
    for mistake in (*MISTAKES, HALF):
        with np.errstate(all="ignore"):  # a mistake may overflow
            outcome = outcome_of(mistake, problem)
        is_refuted = seen is not None and deviates(seen, name_arrays(outcome.gradients))
        yield Candidate(mistake.hint, named(outcome), mistake is HALF, is_refuted)


def outcome_of(variant: Variant, problem: Problem) -> Outcome:
    """Train a problem, a small one no more than once: many checks may fail alike."""
    if problem.spec.parameter_count > SMALL:
        return variant.train(problem)
    made = _made(pickle.dumps(problem))
    if variant not in made:
        made[variant] = variant.train(problem)
    return made[variant]


@lru_cache(maxsize=PROBLEMS)
def _made(_content: bytes) -> dict[Variant, Outcome]:
    """Return the place for what is made of a problem."""
    return {}


def why_loaded_otherwise(actual: Named, loaded: Named) -> str:
    """Return why the parameters right after ``load`` may be others than those that were loaded."""
    off = [name for name in loaded if not np.array_equal(actual[name], loaded[name])]
    if all(np.array_equal(actual[name], loaded[name].T) for name in off):
        return "square weights are transposed: load and dump do not agree"
    if max(deviation(actual[name], loaded[name]) for name in off) < ROUNDING:
        return "the parameters are kept as float16 or the like, or something changes them"
    return (
        "load does not take the parameters: the network keeps others, such as its own initial ones"
    )


def structure(
    what: str, actual: Any, spec: NetworkSpec, types: Collection[str] = ("float32",)
) -> str | None:
    """Check the form of parameters, gradients or moments: their number, shapes and dtypes."""
    if actual is None:
        return message(f"{what}: expected {len(spec.shapes)} layers, came None", MISSING_RETURN)
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
    what: str,
    actual: Any,
    shape: tuple[int, ...],
    types: Collection[str] = ("float32",),
    taken_for: Mapping[tuple[int, ...], str] = MappingProxyType({}),
) -> str | None:
    """Check the shape and the dtype of one array; ``taken_for`` has what other shapes may be."""
    wanted = f"{what}: expected float32 of shape {shape}, came {kind(actual)}"
    if actual is None:
        return message(wanted, MISSING_RETURN)
    if not isinstance(actual, np.ndarray | np.generic):
        return message(wanted, "not copied to a NumPy array in host memory")
    if actual.shape != shape:
        return message(wanted, taken_for.get(actual.shape) or misshapen(actual.shape, shape))
    if actual.dtype.name not in types:
        return message(wanted, "not converted to float32 on the way out")
    return None


def misshapen(actual: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Say what may have made one shape of another."""
    if actual == expected[::-1]:
        return "transposed"
    if sorted(actual) == sorted(expected):
        return "another order of dimensions"
    if prod(actual) == prod(expected):
        return f"the right number of values in another shape: reshape them to {expected}"
    return f"another number of values: {prod(actual)}, where there are {prod(expected)}"


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
