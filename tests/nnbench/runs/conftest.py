"""Fixtures for runs, and for what is kept between them."""

from contextlib import contextmanager

import pytest

from nnbench import catalog
from nnbench.execution import process
from nnbench.execution.executor import LocalExecutor
from nnbench.records import Entry
from nnbench.runs import planning
from nnbench.runs.planning import Plan


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Keep what is kept of a machine in a folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def machine(make_info):
    """Give a machine."""
    return make_info().environment


@pytest.fixture
def plan_toy():
    """Give a function that plans one round of the toy, on the backends that a user named."""

    def plan(*backends):
        return planning.plan(
            command="nnbench run",
            backends=backends,
            workload="toy-sigmoid",
            overrides={},
            rounds=1,
            seed=0,
            threads=1,
            budget=1.0,
            timeout=60.0,
            baseline=None,
        ).info

    return plan


@pytest.fixture
def make_plan():
    """Give a function that plans a run on this machine; its backends need not exist."""

    def make(info, entries=None):
        labels = [*info.backends, *info.unavailable]
        made = [Entry(label=label, backend=label) for label in labels]
        return Plan(info, made if entries is None else entries, LocalExecutor())

    return make


@pytest.fixture
def answer(monkeypatch):
    """Give a function that takes the outcomes of workers from another, given their specs."""

    def replace_workers(outcome_of):
        @contextmanager
        def run_worker(spec):
            yield iter(()), outcome_of(spec)

        monkeypatch.setattr(process, "run_worker", run_worker)

    return replace_workers


@pytest.fixture
def observe():
    """Give a function that registers an observer for the test."""
    registered = []

    def register(observer):
        catalog.manager().register(observer)
        registered.append(observer)
        return observer

    yield register
    for observer in registered:
        catalog.manager().unregister(observer)
