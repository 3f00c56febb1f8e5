"""What a network shares, holds and leaves behind: other networks, threads, processes, memory, time."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import psutil

from nnbench import catalog
from nnbench.execution import gpu
from nnbench.testing.checks.base import Checks, fail, losses_of, train_epoch
from nnbench.testing.problems import make_short_task, make_task_problem, same_bits

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from nnbench.contract.backend import OptionValue
    from nnbench.contract.spec import Layer
    from nnbench.testing.problems import Problem

LARGER = "mnist"  #: a workload whose arrays are large enough to be seen in the process's memory
#: Of what is drawn where it is not supported.
LARGER_INPUTS, LARGER_HIDDEN, LARGER_BATCHES = 784, 50, 10
SETTLING_EPOCHS, HALF_EPOCHS = 6, 7  #: until memory is settled, and twice after that: 20
GROWTH_BYTES = 4 << 20  #: in half of the time; a leak of a batch in each step is more
EPOCH_S = 0.1  #: that an epoch of these checks should take
ATTEMPTS = 4  #: a machine may be disturbed; a mistake is there every time
PROCESS = "the process"
LEAK = "something of every step is kept: a list that grows, or a loss that holds its graph"
NO_WAIT = "asynchronous return: synchronize does not wait for the work"
FRESH_S = 120.0  #: for a process that imports the backend's library and trains one epoch


class IsolationChecks(Checks):
    """A network depends on nothing but what it was given."""

    def test_two_networks_share_nothing(self) -> None:
        """Two networks that train in turns do as each does alone."""
        one, other = (self.problem(seed=seed, epochs=2) for seed in (0, 1))
        expected = [self.train(problem)[0].dump() for problem in (one, other)]
        pairs = [self.start(problem, number) for number, problem in enumerate((one, other))]
        for orders in zip(one.orders, other.orders, strict=True):
            for (network, data), order in zip(pairs, orders, strict=True):
                losses_of(network, data, order, one.batch_size)
        for (network, _), alone in zip(pairs, expected, strict=True):
            network.synchronize()
            hint = "state shared between networks: of a module or a class, not of the instance"
            self.verify_same("two networks in turns", network.dump(), alone, hint)

    def test_another_thread_can_train(self) -> None:
        """A network is used from any thread, by one at a time."""
        problem = self.problem()
        expected = self.train(problem)[0].dump()
        network, data = self.start(problem)
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(train_epoch, network, data, problem.orders[0], problem.batch_size).result()
        hint = "something is kept for the thread that created the network (threading.local)"
        self.verify_same("an epoch in another thread", network.dump(), expected, hint)

    def test_a_fresh_process_trains_alike(self) -> None:
        """A process started afresh while this one has a network; nothing is promised of fork."""
        if not self.subject.is_registered:
            self.subject.skip("not an installed plugin, so another process does not find it")
        problem = self.problem()
        expected = self.train(problem)[0].dump()
        hint = "something depends on the process: random numbers, hashes, the order of a set"
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            chosen = self.subject.chosen
            future = pool.submit(train_afresh, chosen.backend.name, chosen.options, problem)
            try:
                actual = future.result(FRESH_S)
            except BrokenProcessPool:
                fail("a fresh process: expected parameters, came its death", hint)
        self.verify_same("an epoch in a fresh process", actual, expected, hint)


def train_afresh(name: str, options: dict[str, OptionValue], problem: Problem) -> list[Layer]:
    """Train one epoch, in the process that calls this."""
    network = catalog.backends()[name].network(problem.spec, problem.batch_size, **options)
    network.load(problem.layers)
    train_epoch(network, network.place(problem.examples), problem.orders[0], problem.batch_size)
    return network.dump()


class ResourceChecks(Checks):
    """Training leaves nothing behind, and what is timed is all of it."""

    def test_memory_does_not_grow(self) -> None:
        """The process, and what a GPU has in use, is as large after 20 epochs as when it had settled.

        A leak goes on: it is one if both halves of the time after settling have it. Others may use the GPU, so it is looked at again.
        """
        network, data, order, problem = self._start_larger()
        train = partial(losses_of, network, data, order, problem.batch_size)
        grown = self._grown(train, network)
        if grown and PROCESS not in grown:
            grown = self._grown(train, network)
        for what, growth in grown.items():
            facts = f"expected a steady size, came {growth / 2**20:.0f} MiB more"
            fail(f"memory of {what} over {2 * HALF_EPOCHS} epochs: {facts}", LEAK)

    def _grown(self, train: Callable[[], object], network: Any) -> dict[str, int]:
        """Return what grows in epochs that ``train`` trains, and by how many bytes."""
        sizes = []
        for epochs in (SETTLING_EPOCHS, HALF_EPOCHS, HALF_EPOCHS):
            for _ in range(epochs):
                train()
            network.synchronize()
            gc.collect()
            sizes.append(self._in_use())
        growth = {
            what: [after[what] - before[what] for before, after in pairwise(sizes)]
            for what in sizes[0]
            if all(what in size for size in sizes)
        }
        return {what: sum(each) for what, each in growth.items() if min(each) > GROWTH_BYTES}

    def _in_use(self) -> dict[str, int]:
        """Return the bytes of the process, and those that its device has in use, if it is one that says so."""
        found = {PROCESS: psutil.Process().memory_info().rss}
        is_on_gpu = self.subject.backend.device == "cuda"
        used = gpu.used_bytes() if is_on_gpu else None
        return found if used is None else {**found, "the GPU": used}

    def test_synchronize_waits(self) -> None:
        """Once ``synchronize`` has returned, nothing is going on any more."""
        network, data, order, problem = self._start_larger()
        for _ in range(ATTEMPTS):
            network.load(problem.layers)
            network.synchronize()
            trained_s, _ = timed(train_epoch, network, data, order, problem.batch_size)
            at_once_s, at_once = timed(copy_out, network)
            time.sleep(max(2 * EPOCH_S, trained_s))
            later_s, later = timed(copy_out, network)
            if not same_bits(at_once, later):
                fail("after synchronize: expected steady parameters, came changing ones", NO_WAIT)
            hidden_s = at_once_s - later_s
            if hidden_s < trained_s / 2:
                return
        facts = f"expected an idle device, came {hidden_s:.2g} s of work before a dump"
        fail(f"after synchronize: {facts}, where training took {trained_s:.2g} s", NO_WAIT)

    def test_only_a_device_has_a_clock(self) -> None:
        """``device_seconds`` is None on the CPU; elsewhere, it is no longer than the host's."""
        problem = self.problem()
        self.train(problem)  # the first may compile
        elapsed, (network, _) = timed(self.train, problem)
        actual = network.device_seconds()
        if self.subject.backend.device == "cpu":
            if actual is not None:
                fail(f"device_seconds: expected None, came {actual}", "a backend times itself")
        elif actual is None or not 0 < actual <= elapsed:
            facts = f"device_seconds: expected 0 to {elapsed:.3g}, came {actual}"
            fail(facts, "events of another stream, in milliseconds, or not of the last train_epoch")

    def test_nothing_compiles_after_the_first_epoch(self) -> None:
        """``compilations`` stays as it is when an epoch is repeated."""
        for name, spec in self.subject.supported():
            problem = self.problem(spec)
            before = self.train(problem)[0].compilations()
            after = self.train(problem)[0].compilations()
            if before != after:
                facts = f"compilations after a second epoch: expected {before}, came {after}"
                fail(
                    f"{facts} [{name}]",
                    "compiled anew in each step or epoch, or for another length of its order",
                )

    def _start_larger(self) -> tuple[Any, Any, NDArray[np.int64], Problem]:
        """Start on a workload, with as much of an epoch as takes about a tenth of a second."""
        problem = make_task_problem(make_short_task(LARGER))
        if self.subject.why_unsupported(problem.spec, problem.batch_size):
            problem = self._draw_larger()
        network, data = self.start(problem)
        for _ in range(2):  # the first step may compile
            pace_s, _ = timed(train_epoch, network, data, problem.index, problem.batch_size)
        steps = max(1, int(EPOCH_S / pace_s))
        return network, data, problem.orders[0][: steps * problem.batch_size], problem

    def _draw_larger(self) -> Problem:
        """Draw a problem of that size of a network that is supported, or skip the running check."""
        spec = self.subject.spec
        hidden = (LARGER_HIDDEN,) * (len(spec.sizes) - 2)
        larger = replace(spec, sizes=(LARGER_INPUTS, *hidden, spec.sizes[-1]))
        return self.problem(
            larger, batches=LARGER_BATCHES, batch_size=self.subject.batch_size(spec)
        )


def copy_out(network: Any) -> list[Layer]:
    """Ask for all that a cut of an epoch asks for."""
    network.optimizer_state()
    layers: list[Layer] = network.dump()
    return layers


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the seconds that a call took, and what it returned."""
    start = time.perf_counter()
    result = call(*arguments)
    return time.perf_counter() - start, result
