"""What crosses the border between the harness and a backend: forms, and who owns which array."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench.contract.spec import flatten
from nnbench.proof.mistakes import layerwise
from nnbench.testing import diagnosis
from nnbench.testing.checks.base import Checks, backprop, fail, losses_of, train_epoch
from nnbench.testing.problems import deviation, same_bits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nnbench.contract.backend import Model
    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.testing.problems import Problem

SCRIBBLE = 7.0  #: written over arrays that nobody else should hold


class ContractChecks(Checks):
    """Arrays have the promised form, and each side owns its own."""

    def test_dump_returns_what_was_loaded(self, spec: NetworkSpec) -> None:
        """``dump`` returns what ``load`` took: the same bits, float32, in the same shapes."""
        problem = self.problem(spec)
        actual = self.start(problem)[0].dump()
        self.verify(diagnosis.structure("dump", actual, spec))
        given, loaded = map(diagnosis.name_arrays, (actual, problem.layers))
        if off := [name for name in loaded if not np.array_equal(given[name], loaded[name])]:
            worst = max(off, key=lambda name: deviation(given[name], loaded[name]))
            apart = np.abs(given[worst] - loaded[worst]).max()
            fail(
                f"dump after load, {worst}: expected the same bits, came up to {apart:.2g} beside",
                diagnosis.why_loaded_otherwise(given, loaded),
            )

    def test_gradients_have_the_form_of_parameters(self, spec: NetworkSpec) -> None:
        """``gradients`` returns float32 arrays of the parameters' shapes; a loss is what ``float`` converts."""
        problem = self.problem(spec)
        network, data = self.start(problem)
        loss = backprop(network, data, problem.index)
        try:
            float(loss)
        except (TypeError, ValueError):
            is_scalar = getattr(loss, "shape", None) == ()
            fail(
                f"backprop: expected what float() can convert, came {diagnosis.kind(loss)}",
                "float() cannot convert this scalar: return its item()"
                if is_scalar
                else "the loss of each example is returned, without their mean",
            )
        self.verify(diagnosis.structure("gradients", network.gradients(), spec))

    def test_predict_has_the_form_of_logits(self) -> None:
        """``predict`` returns float32 of shape (N, K), in host memory."""
        problem = self.problem()
        network, data = self.start(problem)
        actual = network.predict(network.batch(data, problem.index))
        self.verify(diagnosis.logits_form(actual, problem.spec, problem.batch_size))

    def test_train_epoch_returns_losses(self) -> None:
        """``train_epoch`` returns float32 of shape (steps,), in host memory."""
        problem = self.problem()
        network, data = self.start(problem)
        actual = losses_of(network, data, problem.orders[0], problem.batch_size)
        self.verify(diagnosis.loss_count("train_epoch", len(actual), problem))

    def test_the_callers_arrays_stay(self) -> None:
        """Parameters, examples and the order that were handed in are as they were."""
        problem, copy = (self.problem() for _ in range(2))
        self.train(problem)
        given: dict[str, Callable[[Problem], list[NDArray[Any]]]] = {
            "parameters": lambda problem: flatten(problem.layers),
            "examples": lambda problem: [part for part in problem.examples if part is not None],
            "order": lambda problem: problem.orders,
        }
        for what, arrays in given.items():
            if not all(map(np.array_equal, arrays(problem), arrays(copy))):
                fail(
                    f"the caller's {what}: expected to stay, came changed",
                    f"the caller's {what} changed in place: work on a copy",
                )

    def test_loaded_arrays_are_copied(self) -> None:
        """What happens to the given arrays after ``load`` is nothing to the network."""
        problem = self.problem()
        given = layerwise(np.copy, problem.layers)
        network, _ = self.start(replace(problem, layers=given))
        self._verify_apart("given to load", network, given)

    def test_dumped_arrays_are_copies(self) -> None:
        """Dumped arrays do not change as training goes on, nor the network with them."""
        problem = self.problem()
        network, data = self.start(problem)
        dumped = network.dump()
        before = layerwise(np.copy, dumped)
        train_epoch(network, data, problem.orders[0], problem.batch_size)
        if not same_bits(dumped, before):
            fail(
                "parameters dumped before an epoch: expected to stay, came changed by training",
                "parameters aliased: dump returns the network's own arrays, not copies",
            )
        self._verify_apart("returned by dump", network, network.dump())

    def test_gradients_are_copies(self) -> None:
        """Gradients that were copied out stay as they are in the next backprop."""
        problem = self.problem()
        network, data = self.start(problem)
        backprop(network, data, problem.index)
        first = network.gradients()
        before = layerwise(np.copy, first)
        backprop(network, data, problem.first_step(skip=problem.batch_size).index)
        if not same_bits(first, before):
            fail(
                "gradients of a first backprop: expected to stay, came changed by a second",
                "gradients aliased: gradients returns the network's own arrays, not copies",
            )

    def _verify_apart(self, what: str, network: Model[Any, Any], arrays: list[Layer]) -> None:
        """Write over arrays that a network must not share."""
        before = layerwise(np.copy, network.dump())
        for array in flatten(arrays):
            if array.flags.writeable:
                array[...] = SCRIBBLE
        if not same_bits(network.dump(), before):
            facts = f"parameters after the caller wrote into the arrays {what}"
            hint = "parameters aliased: the network shares them with its caller"
            fail(f"{facts}: expected no change, came changed", hint)
