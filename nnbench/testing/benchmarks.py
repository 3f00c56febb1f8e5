"""The phases of a step and a whole epoch, timed by pytest-benchmark.

pytest-benchmark keeps the clock and the statistics; this module says what is called. The device
is idle before and after each timed call.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, assert_never, get_args

import pytest

from nnbench import catalog, distributions
from nnbench.contract import DISTRIBUTION
from nnbench.contract.backend import Network
from nnbench.contract.errors import NnbenchError
from nnbench.data.task import load_splits, make_task
from nnbench.testing import diagnosis
from nnbench.testing.checks.base import verify
from nnbench.testing.problems import Problem
from nnbench.testing.subject import Subject, make_subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.contract.backend import Backend

Phase = Literal["feedforward", "backprop", "update", "epoch"]
PHASES: tuple[Phase, ...] = get_args(Phase)
WORKLOAD, EPOCH_IMAGES = "mnist", 640
CHECKED_STEPS = 3  #: whose losses are held against the reference before anything is timed
MAX_ROUNDS = 1000


class Benchmarks:
    """Benchmarks of one backend: one for each phase, and one for an epoch."""

    subject: ClassVar[Subject]

    @pytest.mark.parametrize("phase", PHASES)
    def test_phase(self, nnbench_benchmark: PhaseBenchmark, phase: Phase) -> None:
        """Time a phase on the default workload."""
        nnbench_benchmark(self.subject, phase)


class PhaseBenchmark:
    """What the fixture ``nnbench_benchmark`` gives; one call is one benchmark."""

    def __init__(self, benchmark: Any, max_time_s: float, min_rounds: int) -> None:
        self.benchmark = benchmark
        self.max_time_s, self.min_rounds = max_time_s, min_rounds

    def __call__(
        self,
        backend: str | Backend | Subject,
        phase: Phase,
        *,
        workload: str = WORKLOAD,
        batch_size: int | None = None,
        epoch_images: int = EPOCH_IMAGES,
    ) -> None:
        """Time one phase of a backend's step, or an epoch.

        Nothing is timed before the losses of three steps have matched the reference.

        Parameters
        ----------
        backend
            As for :func:`nnbench.testing.conformance`.
        phase
            ``feedforward``, ``backprop``, ``update`` (each of one batch), or ``epoch``.
        workload
            The name of a registered workload.
        batch_size
            Another one than the workload's.
        epoch_images
            The examples of the timed epoch.

        Raises
        ------
        NnbenchError
            If the backend, the workload or the phase is unknown.
        """
        if phase not in PHASES:
            raise NnbenchError(f"no phase {phase!r}; known: {', '.join(PHASES)}")
        subject = backend if isinstance(backend, Subject) else make_subject(backend)
        subject.require()
        problem = make_epoch(workload, batch_size, epoch_images)
        calls = prepare(subject, problem)
        if phase not in calls:
            subject.skip("no phases to time: it is a Model, not a Network")
        self.benchmark.group = phase
        self.benchmark.name = f"{subject.label} {phase} {workload}"
        self.benchmark.extra_info.update(extra_info(subject, workload, problem))
        match phase:
            case "feedforward" | "update":  # they can be repeated in a loop
                self.benchmark(calls[phase])
            case "backprop":  # autograd frees its graph, so each needs a new one
                self._time_rounds(calls[phase], calls["feedforward"])
            case "epoch":  # each from the same parameters
                self._time_rounds(calls[phase], calls["load"])
            case unknown:
                assert_never(unknown)

    def _time_rounds(self, target: Callable[[], None], setup: Callable[[], None]) -> None:
        """Time single calls, each after an untimed one of ``setup``."""
        setup()
        start = perf_counter()
        target()
        rounds = int(self.max_time_s / (perf_counter() - start))
        rounds = min(max(rounds, self.min_rounds), MAX_ROUNDS)
        self.benchmark.pedantic(target, setup=setup, rounds=rounds)


def prepare(subject: Subject, problem: Problem) -> dict[str, Callable[[], None]]:
    """Return what is called, by its name, of a network whose first losses have been right."""
    network: Any = subject.network(problem.spec, problem.layers, batch_size=problem.batch_size)
    data = network.place(problem.examples)
    [order], size = problem.orders, problem.batch_size
    first = replace(problem, orders=[order[: CHECKED_STEPS * size]])
    losses = network.train_epoch(data, first.orders[0], size).tolist()
    if not subject.why_other(problem.spec):
        verify(diagnosis.losses("not timed: first losses", losses, first))

    def waiting(call: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
        def waits() -> None:
            call(*arguments)
            network.synchronize()

        return waits

    calls = {
        "load": waiting(network.load, problem.layers),
        "epoch": waiting(network.train_epoch, data, order, size),
    }
    if isinstance(network, Network):
        batch = network.batch(data, problem.index)
        calls |= {
            "feedforward": waiting(network.feedforward, batch),
            "backprop": waiting(network.backprop, batch),
            "update": waiting(network.update),
        }
        calls["feedforward"]()
        calls["backprop"]()  # so that update has gradients
    return calls


def make_epoch(name: str, batch_size: int | None, images: int) -> Problem:
    """Return one epoch of a workload, on so many of its examples, or all if it has fewer."""
    workload = catalog.find("workload", name, catalog.workloads())
    splits = load_splits(workload)
    train = splits.train.rows(slice(-images - workload.validation, None))
    workload = replace(workload, batch_size=batch_size or workload.batch_size)
    task = make_task(workload, splits._replace(train=train), seed=0)
    return Problem(task.network, task.layers, task.train, [next(task.orders())], task.batch_size)


def extra_info(subject: Subject, workload: str, problem: Problem) -> dict[str, object]:
    """Return what a reader of the JSON needs to know."""
    libraries = sorted({DISTRIBUTION, "numpy", *subject.backend.libraries})
    return {
        "backend": subject.label,
        "workload": workload,
        "batch_size": problem.batch_size,
        "epoch_images": len(problem.orders[0]),
        "threads": subject.threads,
        "versions": {**dict.fromkeys(libraries), **distributions.versions(libraries)},
    }
