"""Hold what a backend gives against the reference; every function returns a message, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench.testing import mistakes
from nnbench.testing.diagnosis import Candidate, check, deviates, message, report
from nnbench.testing.mistakes import HALF, RIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.testing.diagnosis import Named
    from nnbench.testing.mistakes import Outcome
    from nnbench.testing.problems import Problem


def losses(what: str, found: Any, problem: Problem) -> str | None:
    """Judge the losses of a training, one for each step."""
    return loss_count(what, len(found), problem) or training(
        what, name_losses(found), problem, lambda outcome: name_losses(outcome.losses)
    )


def loss_count(what: str, count: int, problem: Problem) -> str | None:
    """Judge the number of losses."""
    steps = sum(1 for _ in problem.batches())
    facts = f"{what}: expected {steps} losses, came {count}"
    return None if count == steps else message(facts, guess_count(count, problem))


def guess_count(count: int, problem: Problem) -> str:
    """Guess why there are so many losses."""
    if count == sum(len(order) // problem.batch_size for order in problem.orders):
        return "the last, smaller batch is dropped"
    if count == len(problem.orders):
        return "one loss for an epoch, where every step has its own"
    return "train_epoch returns the loss of each step, in order"


def gradients(what: str, found: Sequence[Layer], problem: Problem) -> str | None:
    """Judge the gradients of the last step."""
    return structure(what, found, problem.spec) or training(
        what, name_arrays(found), problem, lambda outcome: name_arrays(outcome.gradients)
    )


def layers(what: str, found: Sequence[Layer], problem: Problem) -> str | None:
    """Judge the parameters after a training. Their change says most, so that is explained."""
    if text := structure(what, found, problem.spec):
        return text
    if not deviates(name_arrays(found), name_arrays(RIGHT.train(problem).layers)):
        return None

    def changes(layers: Sequence[Layer]) -> Named:
        before, after = name_arrays(problem.layers), name_arrays(layers)
        return {f"change of {name}": after[name] - before[name] for name in after}

    expected = changes(RIGHT.train(problem).layers)
    return report(what, changes(found), expected, candidates(problem, lambda o: changes(o.layers)))


def training(
    what: str, found: Named, problem: Problem, named: Callable[[Outcome], Named]
) -> str | None:
    """Judge a part of what a training gives."""
    return check(what, found, named(RIGHT.train(problem)), candidates(problem, named))


def candidates(problem: Problem, named: Callable[[Outcome], Named]) -> Iterator[Candidate]:
    """Yield what every known mistake gives, and what half precision does."""
    for mistake in (*mistakes.known(problem), HALF):
        with np.errstate(all="ignore"):  # a mistake may overflow
            outcome = mistake.train(problem)
        yield Candidate(mistake.hint, named(outcome), mistake is HALF)


def structure(what: str, found: Any, spec: NetworkSpec) -> str | None:
    """Judge the form of parameters or gradients: their number, shapes and dtypes."""
    if len(found) != len(spec.shapes):
        facts = f"{what}: expected {len(spec.shapes)} layers, came {len(found)}"
        return message(facts, "one Layer(weight, bias) for each pair of neighbouring sizes")
    for depth, ((weight, bias), shape) in enumerate(zip(found, spec.shapes, strict=True), start=1):
        if text := form(f"{what}, weight {depth}", weight, shape):
            return text
        if bias is not None and not spec.bias:
            facts = f"{what}, bias {depth}: expected None, came {kind(bias)}"
            return message(facts, "the bias is None in a network without biases")
        if spec.bias and (text := form(f"{what}, bias {depth}", bias, shape[1:])):
            return text
    return None


def form(what: str, found: Any, shape: tuple[int, ...]) -> str | None:
    """Judge the shape and the dtype of one array."""
    wanted = f"{what}: expected float32 of shape {shape}, came {kind(found)}"
    if not isinstance(found, np.ndarray):
        return message(wanted, "not copied to a NumPy array in host memory")
    if found.shape != shape:
        is_transposed = found.shape == shape[::-1]
        return message(wanted, "transposed" if is_transposed else "another order of dimensions")
    if found.dtype != np.float32:
        return message(wanted, "not converted to float32 on the way out")
    return None


def kind(found: Any) -> str:
    """Describe what came where an array was expected."""
    if isinstance(found, np.ndarray):
        return f"{found.dtype} of shape {found.shape}"
    return "None" if found is None else f"a {type(found).__module__}.{type(found).__name__}"


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
