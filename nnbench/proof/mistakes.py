"""Well-known mistakes, made on purpose: the float64 reference with one piece replaced.

What a backend got wrong is named by the mistake that gives its numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import numpy as np

from nnbench import reference
from nnbench.contract.spec import (
    Activation,
    Examples,
    Layer,
    Optimizer,
    OptimizerKind,
    OptimizerState,
    flatten,
    map_arrays,
    minibatches,
    require_all,
)
from nnbench.reference import Update

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import NetworkSpec
    from nnbench.reference import Array, Moments

    Index = NDArray[np.int64]
    Layers = Sequence[Layer]


BATCH_SIZE = 8  #: of problems that do not say another


@dataclass(frozen=True)
class Problem:
    """What a network is trained on: M examples, in an order for each epoch."""

    spec: NetworkSpec
    layers: list[Layer]  #: the initial parameters
    examples: Examples
    orders: list[NDArray[np.int64]]  #: one for each epoch, shape (M,) or less
    batch_size: int = BATCH_SIZE
    earlier: Problem | None = None  #: trained before the parameters were loaded
    optimizer: OptimizerState | None = None  #: that training goes on from; None is a fresh one

    def epoch_starts(self) -> list[int]:
        """Return the number of steps before each epoch."""
        steps = [-(-len(order) // self.batch_size) for order in self.orders]
        return [0, *accumulate(steps[:-1])]

    @property
    def index(self) -> NDArray[np.int64]:
        """The rows of the first batch."""
        return self.orders[0][: self.batch_size]

    def first_step(self, count: int | None = None, *, skip: int = 0) -> Problem:
        """Return the problem of one step alone, on the next ``count`` examples, or a batch of them."""
        end = skip + (self.batch_size if count is None else count)
        return replace(self, orders=[self.orders[0][skip:end]])

    def batches(self) -> Iterator[Examples]:
        """Yield the examples of each step."""
        for order in self.orders:
            for index in minibatches(order, self.batch_size):
                yield self.examples.rows(index)


class Outcome(NamedTuple):
    """What a training gives."""

    losses: list[float]
    gradients: list[Layer]  #: of the last step
    layers: list[Layer]
    state: OptimizerState  #: also where the optimizer's kind makes nothing of it


class Weights(NamedTuple):
    """What a mistake multiplies each part of the loss and of its gradients by."""

    loss: float = 1.0  #: without its L2 term
    penalty: float = 1.0  #: the L2 term of the loss
    gradient: float = 1.0  #: without its L2 part
    decay: float = 1.0  #: the L2 part of the weights' gradient
    biases: float = 1.0  #: the biases' gradient, besides the factor of all gradients
    biases_decay: float = 0.0  #: an L2 part of the biases' gradient


class Sizes(NamedTuple):
    """What a factor may depend on."""

    n: int  #: of this batch
    full: int  #: of a batch that is not the last
    outputs: int
    is_squared: bool  #: whether the loss is the squared error, and not the cross-entropy


def unchanged(value: Any, *_: object) -> Any:
    """Return what the reference has."""
    return value


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The reference in pieces; a mistake is one with another piece, and a hint that names it."""

    hint: str = ""
    #: the network and the optimizer that are trained
    spec: Callable[[NetworkSpec], NetworkSpec] = unchanged
    #: the parameters as the network reads them, and likewise from its gradients theirs
    read: Callable[[Layers], Layers] = unchanged
    #: the batch of each step
    batches: Callable[[Problem], Iterator[Examples]] = Problem.batches
    #: the loss of the logits, and its derivative by them
    output: Callable[[NetworkSpec, Array, Examples], tuple[float, Array]] = reference.output_loss
    #: the slope of the hidden activations: of all values and a depth
    slope: Callable[[NetworkSpec, list[Array], int], Array] = reference.activation_slope
    #: the factors of the loss's parts, and of the gradient's
    weights: Callable[[Sizes], Weights] | None = None
    #: from the gradients of all steps so far: those that the update uses
    kept: Callable[[list[list[Layer]]], list[Layer]] = itemgetter(-1)
    #: the arrays that an update changes, or their gradients
    moved: Callable[[Layers], list[Array]] = flatten
    #: the optimizer
    update: Callable[[Optimizer, list[Array]], Update] = Update
    #: whether the loss is evaluated after the update
    is_late: bool = False
    #: the losses of an epoch as they are reported
    reported: Callable[[Array], Array] = unchanged
    #: whether the optimizer is cleared in each epoch
    restarts: bool = False
    #: "parameters", "moments", "steps": what ``load`` leaves as it was after an earlier training
    survives: Collection[str] = ()
    #: the arithmetic
    dtype: type[np.floating] = np.float64

    def train(self, problem: Problem) -> Outcome:
        """Train from the problem's parameters."""
        first = problem.earlier or problem
        layers = [reference.cast(layer, self.dtype) for layer in first.layers]
        update = self.update(self.spec(problem.spec).optimizer, self.moved(layers))
        if problem.optimizer:
            self._resume(problem.optimizer, update)
        if problem.earlier:
            self._go_on(problem.earlier, layers, update)
            self._load(problem.layers, layers, update)
        return self._go_on(problem, layers, update)

    def _resume(self, state: OptimizerState, update: Update) -> None:
        kinds = ([reference.cast(one, self.dtype) for one in kind] for kind in state[1:])
        update.step += state.steps
        update.moments = list(zip(*map(self.moved, kinds), strict=True))

    def _load(self, values: Layers, layers: Layers, update: Update) -> None:
        if "parameters" not in self.survives:
            for array, value in zip(flatten(layers), flatten(values), strict=True):
                array[...] = value
        step, moments = update.step, update.moments
        update.restart()
        if "steps" in self.survives:
            update.step = step
        if "moments" in self.survives:
            update.moments = moments

    def _go_on(self, problem: Problem, layers: list[Layer], update: Update) -> Outcome:
        losses: list[float] = []
        history: list[list[Layer]] = []
        used: list[list[Layer]] = []  # by the update
        starts = problem.epoch_starts()
        for step, batch in enumerate(self.batches(problem)):
            if self.restarts and step in starts:
                update.restart()
            loss, gradients = self._backprop(problem, layers, batch)
            history.append(gradients)
            used.append(self.kept(history))
            update(self.moved(used[-1]))
            losses.append(self._backprop(problem, layers, batch)[0] if self.is_late else loss)
        gradients = history[-1] if history else layerwise(np.zeros_like, layers)
        epochs = map(self.reported, np.split(np.array(losses), starts[1:]))
        reported = [float(x) for epoch in epochs for x in epoch]
        return Outcome(reported, gradients, layers, state_of(update, layers, used))

    def _backprop(
        self, problem: Problem, layers: list[Layer], batch: Examples
    ) -> tuple[float, list[Layer]]:
        spec = self.spec(problem.spec)
        cast = reference.cast(batch, self.dtype)
        loss, slopes = reference.backprop(spec, self.read(layers), cast, self.output, self.slope)
        gradients = list(self.read(slopes))
        if self.weights is None:
            return loss, gradients
        sizes = Sizes(len(batch.inputs), problem.batch_size, spec.sizes[-1], is_squared(spec))
        by = self.weights(sizes)
        penalty = reference.penalty(spec, layers)
        factors = (by.gradient, by.decay - by.gradient), (by.gradient * by.biases, by.biases_decay)
        return by.loss * (loss - penalty) + by.penalty * penalty, [
            Layer._make(
                None if slope is None or array is None else factor * slope + decay * spec.l2 * array
                for (factor, decay), slope, array in zip(factors, *pair, strict=True)
            )
            for pair in zip(gradients, layers, strict=True)
        ]


def state_of(update: Update, layers: Layers, used: Sequence[Layers]) -> OptimizerState:
    """Return an optimizer's state, given the gradients of all its steps."""
    if len(update.parameters) < len(flatten(layers)):  # it keeps moments of what it does not move
        update = type(update)(update.optimizer, [array.copy() for array in flatten(layers)])
        for gradients in used:
            update(flatten(gradients))
    first, second = (iter(moments) for moments in zip(*update.moments, strict=True))
    return OptimizerState(
        update.step,
        layerwise(lambda _: next(first), layers),
        layerwise(lambda _: next(second), layers),
    )


def layerwise(function: Callable[..., Any], *networks: Layers) -> list[Layer]:
    """Apply a function to the arrays at the same place of networks, or of their gradients."""
    return [map_arrays(function, *layers) for layers in zip(*networks, strict=True)]


def added(*networks: Layers) -> list[Layer]:
    """Add up parameters or gradients."""
    return layerwise(lambda *arrays: sum(arrays), *networks)


def scaled_by(factor: float, layers: Layers) -> list[Layer]:
    """Multiply all arrays."""
    return layerwise(lambda array: factor * array, layers)


def momentum(decay: float, history: Sequence[Layers]) -> list[Layer]:
    """Add up the gradients of all steps, the less the longer ago they were."""
    total, *later = history
    for latest in later:
        total = added(scaled_by(decay, total), latest)
    return list(total)


def is_squared(spec: NetworkSpec) -> bool:
    """Return whether the loss is the squared error, and not the cross-entropy."""
    match spec.loss:
        case "squared_error":
            return True
        case "cross_entropy":
            return False
        case _:
            assert_never(spec.loss)


# The network, and its optimizer


#: What each may be taken for.
OTHER_ACTIVATION: dict[Activation, Activation] = {"relu": "sigmoid", "sigmoid": "relu"}
OTHER_KIND: dict[OptimizerKind, OptimizerKind] = {
    "sgd": "sgd",
    "adam": "adam-fresh",
    "adam-fresh": "adam",
}
require_all(OTHER_ACTIVATION, Activation, "OTHER_ACTIVATION")
require_all(OTHER_KIND, OptimizerKind, "OTHER_KIND")


def optimized(change: Callable[[Optimizer], Optimizer]) -> Variant:
    """Take other hyper-parameters."""
    return Variant(spec=lambda spec: replace(spec, optimizer=change(spec.optimizer)))


class CountsFromTwo(Update):
    """Counts a step too many."""

    def restart(self) -> None:
        """Forget all earlier steps."""
        super().restart()
        self.step = 1


def adam(formula: Callable[[Array, Array, float, float, float], Array]) -> Variant:
    """Take another formula of Adam's direction: of m, v, what corrects each, and ε."""

    class Adam(Update):
        def direction(self, gradient: Array, moments: Moments) -> Array:
            right, o = super().direction(gradient, moments), self.optimizer
            match o.kind:
                case "sgd":
                    return right
                case "adam" | "adam-fresh":
                    corrections = 1 - o.beta1**self.step, 1 - o.beta2**self.step
                    return formula(*moments, *corrections, o.epsilon)
                case _:
                    assert_never(o.kind)

    return Variant(update=Adam)


def transposed(layers: Layers) -> list[Layer]:
    """Transpose square weights, of which no shape tells."""
    return layerwise(lambda array: array.T if array.shape == array.shape[:1] * 2 else array, layers)


# The loss, its gradient, and what backprop makes of it


def weighed(**factors: float | Callable[[Sizes], float]) -> Variant:
    """Multiply the parts that ``Weights`` names by other factors."""
    return Variant(
        weights=lambda sizes: Weights(
            **{part: f(sizes) if callable(f) else f for part, f in factors.items()}
        )
    )


def slope_of(offset: int) -> Variant:
    """Take the slope of another layer, where it has as many units."""

    def slope(spec: NetworkSpec, values: list[Array], depth: int) -> Array:
        other = min(depth + offset, len(values) - 1)
        if depth == 0 or other < 0 or values[other].shape != values[depth].shape:
            other = depth
        return reference.activation_slope(spec, values, other)

    return Variant(slope=slope)


def slope_of_slope(spec: NetworkSpec, values: list[Array], depth: int) -> Array:
    """Take the slope at the activation's output, as if that were its input."""
    return reference.activation_slope(spec, [reference.activate(spec, values[depth])], 0)


def softmax(logits: Array) -> Array:
    """Return the probabilities of the classes."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result


def softmax_twice(
    spec: NetworkSpec, logits: Array, batch: Examples, *, in_backprop: bool
) -> tuple[float, Array]:
    """Apply softmax before a loss that does so itself; sigmoid likewise."""
    p = reference.sigmoid(logits) if is_squared(spec) else softmax(logits)
    loss, delta = reference.output_loss(spec, p, batch)
    if not in_backprop:
        return loss, delta
    if is_squared(spec):
        return loss, delta * p * (1 - p)
    return loss, p * (delta - (delta * p).sum(axis=1, keepdims=True))


def no_output_slope(
    spec: NetworkSpec, logits: Array, batch: Examples, y: Callable[[Array], Array]
) -> tuple[float, Array]:
    """Compare ``y`` of the logits with the targets, as if it had no slope."""
    if batch.targets is None:
        return reference.output_loss(spec, logits, batch)
    error = y(logits) - batch.targets
    return float((error**2).mean()), 2 * error / error.size


# The optimizer's state, handed out wrongly after a right training


def corrected(optimizer: Optimizer, outcome: Outcome) -> OptimizerState:
    """Divide the moments by what corrects their start at zero."""
    steps, first, second = outcome.state
    corrections = 1 - optimizer.beta1**steps, 1 - optimizer.beta2**steps
    return OptimizerState(
        steps, scaled_by(1 / corrections[0], first), scaled_by(1 / corrections[1], second)
    )


def scaled(optimizer: Optimizer, outcome: Outcome) -> OptimizerState:
    """Leave the factors of the gradients out."""
    steps, first, second = outcome.state
    factors = 1 - optimizer.beta1, 1 - optimizer.beta2
    return OptimizerState(
        steps, scaled_by(1 / factors[0], first), scaled_by(1 / factors[1], second)
    )


# What is trained on


def reordered(change: Callable[[Index, Problem], Index]) -> Variant:
    """Change the order of each epoch."""
    return Variant(
        batches=lambda problem: replace(
            problem, orders=[change(order, problem) for order in problem.orders]
        ).batches()
    )


def zero_padded(problem: Problem) -> Iterator[Examples]:
    """Fill the last batch up with zeros."""
    for batch in problem.batches():
        pads = (0, problem.batch_size - len(batch.inputs)), (0, 0)
        yield map_arrays(lambda part, pads=pads: np.pad(part, pads[: part.ndim]), batch)


def relabelled(shift: int) -> Variant:
    """Take the labels, or the targets, of a neighbouring class."""

    def batches(problem: Problem) -> Iterator[Examples]:
        for inputs, labels, targets in problem.batches():
            yield Examples(
                inputs,
                None if labels is None else (labels + shift) % problem.spec.sizes[-1],
                None if targets is None else np.roll(targets, shift, axis=1),
            )

    return Variant(batches=batches)


def whole(order: Index, round_to: Callable[[float], int], size: int) -> Index:
    """Cut an order down to whole batches, or repeat it up to them."""
    return np.resize(order, round_to(len(order) / size) * size)


RIGHT = Variant()
HALF = Variant(
    hint="float16 inside (or bfloat16, or TF32), where float32 is promised", dtype=np.float16
)
#: Of those that give the same numbers the first is named, so the narrower ones come first.
TABLE = {
    "the parameters did not change: update does nothing": [Variant(moved=lambda _: [])],
    "biases did not change: update skips them": [Variant(moved=lambda ls: [w for w, _ in ls])],
    "the last layer did not change: update skips it": [Variant(moved=lambda ls: flatten(ls[:-1]))],
    # Adam: m, v, what corrects the one and the other, ε
    "Adam's bias correction missing": [adam(lambda m, v, _, __, e: m / (v**0.5 + e))],
    "Adam's second moment not corrected for its bias": [
        adam(lambda m, v, b, _, e: m / b / (v**0.5 + e))
    ],
    "Adam's first moment not corrected for its bias": [
        adam(lambda m, v, _, c, e: m / ((v / c) ** 0.5 + e))
    ],
    "Adam counts its steps from 2, or twice each": [Variant(update=CountsFromTwo)],
    "epsilon inside the root": [adam(lambda m, v, b, c, e: m / b / (v / c + e) ** 0.5)],
    "epsilon added before the bias correction": [
        adam(lambda m, v, b, c, e: m / b / (v**0.5 + e) * c**0.5)
    ],
    "Adam's root missing": [adam(lambda m, v, b, c, e: m / b / (v / c + e))],
    "the spec's beta1, beta2 and epsilon ignored": [
        optimized(lambda o: Optimizer(kind=o.kind, learning_rate=o.learning_rate))
    ],
    "beta1 and beta2 swapped": [optimized(lambda o: replace(o, beta1=o.beta2, beta2=o.beta1))],
    "adam and adam-fresh confused: only the moments of adam-fresh restart in every step": [
        optimized(lambda o: replace(o, kind=OTHER_KIND[o.kind]))
    ],
    "stale gradients: the update uses those of the backprop before": [
        Variant(kept=lambda history: history[-2:][0]),  # the first step has its own, or none
        Variant(kept=lambda history: [layerwise(np.zeros_like, history[-1]), *history][-2]),
    ],
    "gradients add up over the steps: they are not cleared": [Variant(kept=lambda h: added(*h))],
    "momentum: the steps of before go on, where sgd has none": [
        *(Variant(kept=partial(momentum, decay)) for decay in (0.9, 0.5, 0.99)),
        Variant(kept=lambda h: added(h[-1], scaled_by(0.9, momentum(0.9, h)))),  # Nesterov's
        Variant(kept=lambda h: scaled_by(0.1, momentum(0.9, h))),  # of a running mean
    ],
    "Adam's moments survive load": [
        Variant(survives=("moments", "steps")),
        Variant(survives=("moments",)),
    ],
    "Adam's count of steps survives load": [Variant(survives=("steps",))],
    "a second load does not set the parameters": [Variant(survives=("parameters",))],
    # The gradient
    "the gradient has the opposite sign, or the step goes uphill": [weighed(gradient=-1, decay=-1)],
    "mean over the batch missing in the gradient": [
        weighed(gradient=lambda s: s.n),
        weighed(gradient=lambda s: s.n, decay=lambda s: s.n),
    ],
    "gradient divided by the batch size twice": [
        weighed(gradient=lambda s: 1 / s.n),
        weighed(gradient=lambda s: 1 / s.n, decay=lambda s: 1 / s.n),
    ],
    "squared error summed over the outputs, or cross-entropy averaged over them": [
        weighed(gradient=lambda s: s.outputs if s.is_squared else 1 / s.outputs)
    ],
    "squared error summed over batch and outputs": [
        weighed(gradient=lambda s: s.n * s.outputs if s.is_squared else 1)
    ],
    "factor 2 of the squared error's derivative missing": [
        weighed(gradient=lambda s: 1 / 2 if s.is_squared else 1)
    ],
    "labels off by one": [relabelled(1), relabelled(-1)],
    "L2 acts on biases": [weighed(biases_decay=1)],
    "L2 term missing in the gradient": [weighed(decay=0)],
    "L2 term's gradient twice: λ·w is the derivative of λ/2·w²": [weighed(decay=2)],
    "L2 term's gradient divided by the batch size": [weighed(decay=lambda s: 1 / s.n)],
    "gradients of the biases are zero": [weighed(biases=0)],
    "square weights are transposed: rows are inputs, columns are outputs": [
        Variant(read=transposed)
    ],
    "slope of the activation taken from the output of the wrong layer": [slope_of(1), slope_of(-1)],
    "slope of the hidden activation missing in backprop": [
        Variant(slope=lambda _, values, depth: np.ones_like(values[depth]))
    ],
    "slope of the sigmoid taken at its output; given its value a, it is a·(1 − a)": [
        Variant(slope=slope_of_slope)
    ],
    "the other activation in the hidden layers": [
        Variant(spec=lambda s: replace(s, activation=OTHER_ACTIVATION[s.activation]))
    ],
    "softmax (or the output's sigmoid) applied twice": [
        Variant(output=partial(softmax_twice, in_backprop=True)),
        Variant(output=partial(softmax_twice, in_backprop=False)),
    ],
    "sigmoid of the output missing": [Variant(output=partial(no_output_slope, y=np.asarray))],
    "slope of the output's sigmoid missing in backprop": [
        Variant(output=partial(no_output_slope, y=reference.sigmoid))
    ],
    # The loss
    "the loss is the sum over the batch, not its mean": [weighed(loss=lambda s: s.n)],
    "the loss is divided by the batch size twice": [
        weighed(loss=lambda s: 1 / s.n),
        weighed(loss=lambda s: 1 / s.n, penalty=lambda s: 1 / s.n),
    ],
    "the loss is summed over the outputs": [
        weighed(loss=lambda s: s.outputs if s.is_squared else 1)
    ],
    "the loss is half the squared error": [weighed(loss=1 / 2)],
    "the loss is in bits, not in nats": [weighed(loss=1 / math.log(2))],
    "the loss, L2 term included, is multiplied by the batch size": [
        weighed(loss=lambda s: s.n, penalty=lambda s: s.n)
    ],
    "L2 term missing in the loss": [weighed(penalty=0)],
    "L2 term of the loss without its half": [weighed(penalty=2)],
    # Batches and epochs
    "the last, smaller batch is dropped": [
        reordered(lambda order, p: whole(order, math.floor, p.batch_size))
    ],
    "the last, smaller batch is padded": [
        reordered(lambda order, p: whole(order, math.ceil, p.batch_size)),
        Variant(batches=zero_padded),
    ],
    "the last, smaller batch is divided by the size of a full one": [
        weighed(**dict.fromkeys(Weights._fields[:4], lambda s: s.n / s.full))
    ],
    "the order of the examples is ignored": [
        # a part may go on over the end of an epoch
        reordered(lambda order, p: np.arange(len(order)) % len(p.examples.inputs))
    ],
    "the order of the examples is ignored: every epoch has that of the first": [
        reordered(lambda _, problem: problem.orders[0])
    ],
    "every step trains on the first batch": [
        reordered(lambda order, p: np.resize(order[: p.batch_size], len(order)))
    ],
    "the optimizer restarts in every epoch": [Variant(restarts=True)],
    "the losses are those after the update: each is wanted before it": [Variant(is_late=True)],
    "the losses are means of the epoch so far": [
        Variant(reported=lambda losses: np.cumsum(losses) / np.arange(1, len(losses) + 1))
    ],
    "all losses are the epoch's last one: they share a buffer": [
        Variant(reported=lambda losses: np.full_like(losses, losses[-1]))
    ],
}
#: How a right state may be handed out wrongly: what is given, of an optimizer and what it trained.
HANDED_OUT: dict[str, Callable[[Optimizer, Outcome], OptimizerState]] = {
    "the moments are corrected: hand them out as they are before that": corrected,
    "the moments are scaled: OptimizerState.unscaled undoes that": scaled,
    "the moments are swapped: the first is of the gradients, the second of their squares": (
        lambda _, outcome: outcome.state._replace(
            first=outcome.state.second, second=outcome.state.first
        )
    ),
    "the root of the second moment": lambda _, outcome: outcome.state._replace(
        second=layerwise(np.sqrt, outcome.state.second)
    ),
    "the last gradients, or their squares, in place of the moments": lambda _, outcome: (
        OptimizerState(
            outcome.state.steps,
            outcome.gradients,
            layerwise(np.square, outcome.gradients),
        )
    ),
}
MISTAKES = [replace(training, hint=hint) for hint, made in TABLE.items() for training in made]
