"""Networks beside each other, in another thread, in another process."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from nnbench import catalog
from nnbench.testing.checks.base import Checks, fail
from nnbench.testing.checks.training import verify_same
from nnbench.testing.problems import BATCH_SIZE, make_problem

if TYPE_CHECKING:
    from nnbench.contract.backend import Model, OptionValue
    from nnbench.contract.spec import Layer
    from nnbench.testing.problems import Problem

FRESH_S = 120.0  #: for a process that imports the backend's library and trains one epoch


class IsolationChecks(Checks):
    """A network depends on nothing but what it was given."""

    def test_two_networks_share_nothing(self) -> None:
        """Two networks that train in turns do as each does alone."""
        one, other = (make_problem(self.subject.spec, seed=seed, epochs=2) for seed in (0, 1))
        expected = [self.train(problem)[0].dump() for problem in (one, other)]
        pairs = [self.start(problem, number) for number, problem in enumerate((one, other))]
        for orders in zip(one.orders, other.orders, strict=True):
            for (network, data), order in zip(pairs, orders, strict=True):
                network.train_epoch(data, order, BATCH_SIZE)
        for (network, _), alone in zip(pairs, expected, strict=True):
            network.synchronize()
            hint = "state shared between networks: of a module or a class, not of the instance"
            verify_same("two networks in turns", network.dump(), alone, hint)

    def test_another_thread_can_train(self) -> None:
        """A network is used from any thread, by one at a time."""
        problem = make_problem(self.subject.spec)
        expected = self.train(problem)[0].dump()
        network, data = self.start(problem)
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(train_there, network, data, problem).result()
        hint = "something is kept for the thread that created the network (threading.local)"
        verify_same("an epoch in another thread", network.dump(), expected, hint)

    def test_a_fresh_process_trains_alike(self) -> None:
        """A process started afresh while this one has a network; nothing is promised of fork."""
        if not self.subject.is_registered:
            self.subject.skip("not an installed plugin, so another process does not find it")
        problem = make_problem(self.subject.spec)
        expected = self.train(problem)[0].dump()
        hint = "something depends on the process: random numbers, hashes, the order of a set"
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            chosen = self.subject.chosen
            future = pool.submit(train_afresh, chosen.backend.name, chosen.options, problem)
            try:
                found = future.result(FRESH_S)
            except BrokenProcessPool:
                fail("a fresh process: expected parameters, came its death", hint)
        verify_same("an epoch in a fresh process", found, expected, hint)


def train_there(network: Model[Any, Any], data: Any, problem: Problem) -> None:
    """Train one epoch, in the thread that calls this."""
    network.train_epoch(data, problem.orders[0], BATCH_SIZE)
    network.synchronize()


def train_afresh(name: str, options: dict[str, OptionValue], problem: Problem) -> list[Layer]:
    """Train one epoch, in the process that calls this."""
    network = catalog.backends()[name].network(problem.spec, problem.batch_size, **options)
    network.load(problem.layers)
    train_there(network, network.place(problem.examples), problem)
    return network.dump()
