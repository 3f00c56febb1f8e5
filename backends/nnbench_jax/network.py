"""A multilayer perceptron in JAX: pure functions, compiled for the CPU by XLA.

The phases are one function each, and an epoch is a compiled loop over all three. How many steps
it makes is an argument and no shape, so epochs of any length share one compilation.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, monitoring

from nnbench import BackendUnavailableError, Layer, Network, OptimizerState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec, Optimizer

jax.config.update("jax_platforms", "cpu")  # whatever JAX_PLATFORMS says
# XLA reads the size of its pool from NPROC when it makes it; else it takes all CPUs that the
# process may use, not as many threads as the harness asks for.
if threads := os.environ.get("OMP_NUM_THREADS"):
    os.environ["NPROC"] = threads

ROWS = 1 << 16  #: how many examples one call of the compiled loop gets at most, or one batch

Parameters = list[dict[str, Array]]  #: of each layer: "weight" and, if the network has it, "bias"

COMPILED = "/jax/core/compile/backend_compile_duration"

events: Counter[str] = Counter()  #: what JAX reports of this process, in all networks
monitoring.register_event_duration_secs_listener(lambda event, *_, **__: events.update([event]))


class Data(NamedTuple):
    """A split, or a batch of it, as JAX arrays."""

    inputs: Array  #: shape (N, D)
    targets: Array  #: shape (N, K); classes are one-hot


class Moments(NamedTuple):
    """Adam's running means, each like the parameters."""

    first: Any
    second: Any
    step: Any  #: how many updates they have seen, int32, shape ()


class State(NamedTuple):
    """What a step changes."""

    parameters: Parameters
    moments: Moments


class JaxNetwork(Network[Data, Data]):
    """State in buffers that every update donates, so that XLA writes over them."""

    def __init__(self, spec: NetworkSpec) -> None:
        if (platform := jax.default_backend()) != "cpu":
            raise BackendUnavailableError(
                f"jax runs on {platform}, and this backend on the CPU: set JAX_PLATFORMS=cpu"
            )
        self.spec = spec
        self._logits: Any = None
        self._gradients: Parameters = []
        self._state = State([], Moments([], [], 0))

    def load(self, layers: Sequence[Layer]) -> None:
        parameters = [
            {k: v.copy() for k, v in layer._asdict().items() if v is not None} for layer in layers
        ]
        zeros = jax.tree.map(np.zeros_like, parameters)
        moments = Moments(zeros, jax.tree.map(np.copy, zeros), np.zeros((), np.int32))
        self._state = jax.device_put(State(parameters, moments))

    def dump(self) -> list[Layer]:
        return export(self._state.parameters)

    def gradients(self) -> list[Layer]:
        return export(self._gradients)

    def optimizer_state(self) -> OptimizerState | None:
        if not self.spec.optimizer.keeps_moments:
            return None
        first, second, step = self._state.moments
        return OptimizerState(int(step), export(first), export(second))

    def place(self, examples: Examples) -> Data:
        placed = jax.device_put((examples.inputs, examples.one_hot(self.spec.sizes[-1])))
        jax.block_until_ready(placed)
        return Data(*placed)

    def batch(self, data: Data, index: NDArray[np.int64]) -> Data:
        return gather(data, index.astype(np.int32))

    def feedforward(self, batch: Data) -> Array:
        self._logits, self._pull_back = feedforward(self.spec, self._state.parameters, batch.inputs)
        return self._logits

    def backprop(self, batch: Data) -> Array:
        loss, self._gradients = backprop(
            self.spec, self._state.parameters, self._logits, self._pull_back, batch.targets
        )
        return loss

    def update(self) -> None:
        self._state = update(self.spec, self._state, self._gradients)

    def predict(self, batch: Data) -> NDArray[np.float32]:
        return np.array(logits_of(self.spec, self._state.parameters, batch.inputs))

    def synchronize(self) -> None:
        queued = (self._state, self._logits, self._gradients)
        jax.block_until_ready(queued)

    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        whole, steps = len(order) // batch_size, max(1, ROWS // batch_size)
        index = order.astype(np.int32)
        losses = []
        for start in range(0, whole, steps):
            count = min(steps, whole - start)
            some = np.zeros((steps, batch_size), np.int32)
            some[:count] = index[start * batch_size :][: count * batch_size].reshape(count, -1)
            self._state, made = train(self.spec, self._state, data, some, count)
            losses.append((made, count))
        if len(rest := index[whole * batch_size :]):
            self._state, made = train(self.spec, self._state, data, rest[None], 1)
            losses.append((made, 1))
        return np.concatenate([np.asarray(made)[:count] for made, count in losses])

    def compilations(self) -> int:
        return events[COMPILED]


@partial(jax.jit, static_argnums=0)
def logits_of(spec: NetworkSpec, parameters: Parameters, inputs: Array) -> Array:
    """Return the logits, shape (N, K)."""
    activate = spec.choose_activation(relu=jax.nn.relu, sigmoid=jax.nn.sigmoid)
    value = inputs
    for depth, layer in enumerate(parameters):
        if depth > 0:
            value = activate(value)
        value = value @ layer["weight"]
        if spec.bias:
            value = value + layer["bias"]
    return value


@partial(jax.jit, static_argnums=0)
def feedforward(spec: NetworkSpec, parameters: Parameters, inputs: Array) -> tuple[Array, Any]:
    """Return the logits, and the function that carries their derivative back to gradients."""
    logits, pull_back = jax.vjp(lambda p: logits_of(spec, p, inputs), parameters)
    return logits, pull_back


@partial(jax.jit, static_argnums=0)
def backprop(
    spec: NetworkSpec, parameters: Parameters, logits: Array, pull_back: Any, targets: Array
) -> tuple[Array, Parameters]:
    """Return the loss and its gradients."""
    loss, delta = jax.value_and_grad(partial(output_loss, spec))(logits, targets)
    (gradients,) = pull_back(delta)
    if not spec.l2:
        return loss, gradients
    penalty, decay = jax.value_and_grad(partial(weight_penalty, spec))(parameters)
    return loss + penalty, jax.tree.map(jnp.add, gradients, decay)


def output_loss(spec: NetworkSpec, logits: Array, targets: Array) -> Array:
    """Return the mean loss of the outputs."""
    match spec.loss:
        case "cross_entropy":
            return -(jax.nn.log_softmax(logits) * targets).sum() / len(logits)
        case "squared_error":
            return jnp.square(jax.nn.sigmoid(logits) - targets).mean()
        case _:
            assert_never(spec.loss)


def weight_penalty(spec: NetworkSpec, parameters: Parameters) -> Array:
    """Return the L2 term of the loss."""
    squares = (jnp.square(layer["weight"]).sum() for layer in parameters)
    return spec.l2 / 2 * sum(squares, jnp.zeros(()))


@jax.jit
def gather(data: Data, index: Array) -> Data:
    """Return the rows that index names; the harness promises that they are there."""
    return jax.tree.map(lambda array: array.at[index].get(mode="promise_in_bounds"), data)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def update(spec: NetworkSpec, state: State, gradients: Parameters) -> State:
    """Make one step of the optimizer."""
    return State(*make_update(spec.optimizer)(*state, gradients))


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def train(
    spec: NetworkSpec, state: State, data: Data, order: Array, steps: Array
) -> tuple[State, Array]:
    """Make some steps; return the losses, shape (S,), of which only the first ``steps`` count.

    ``order`` has shape (S, N). It may be longer than needed: S is a shape, and another one
    would be compiled anew.
    """

    def step(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
        state, losses = carry
        batch = gather(data, order[i])
        logits, pull_back = feedforward(spec, state.parameters, batch.inputs)
        loss, gradients = backprop(spec, state.parameters, logits, pull_back, batch.targets)
        return update(spec, state, gradients), losses.at[i].set(loss)

    return lax.fori_loop(0, steps, step, (state, jnp.zeros(len(order), jnp.float32)))


def export(parameters: Parameters) -> list[Layer]:
    """Copy parameters, or gradients, to the host."""
    return [
        Layer(np.array(layer["weight"]), np.array(layer["bias"]) if "bias" in layer else None)
        for layer in parameters
    ]


def make_update(spec: Optimizer) -> Callable[[Any, Moments, Any], tuple[Any, Moments]]:
    """Return a function of parameters, moments and gradients: one step of the optimizer."""
    rate, epsilon, tree_map = spec.learning_rate, spec.epsilon, jax.tree.map

    def descend(parameters: Any, moments: Moments, gradients: Any) -> tuple[Any, Moments]:
        return tree_map(lambda p, g: p - rate * g, parameters, gradients), moments

    def adam_fresh(parameters: Any, moments: Moments, gradients: Any) -> tuple[Any, Moments]:
        """Adam's first step: the corrected moments are g and g²."""
        step = tree_map(lambda p, g: p - rate * g / (jnp.abs(g) + epsilon), parameters, gradients)
        return step, moments

    def adam(parameters: Any, moments: Moments, gradients: Any) -> tuple[Any, Moments]:
        first = tree_map(lambda m, g: mix(spec.beta1, m, g), moments.first, gradients)
        second = tree_map(lambda v, g: mix(spec.beta2, v, g * g), moments.second, gradients)
        step = moments.step + 1
        correct1, correct2 = correction(spec.beta1, step), correction(spec.beta2, step)
        parameters = tree_map(
            lambda p, m, v: p - rate * (m / correct1) / (jnp.sqrt(v / correct2) + epsilon),
            parameters,
            first,
            second,
        )
        return parameters, Moments(first, second, step)

    return spec.choose(sgd=descend, adam=adam, adam_fresh=adam_fresh)


def mix(beta: float, mean: Array, value: Array) -> Array:
    """Return the running mean after one more value."""
    return beta * mean + (1 - beta) * value


def correction(beta: float, step: Array) -> Array:
    """Return 1 − βᵗ, without float32's cancellation at the first steps."""
    if beta == 0:
        return jnp.float32(1)
    return -jnp.expm1(step.astype(jnp.float32) * log(beta))
