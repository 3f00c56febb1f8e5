"""Fixtures for runs."""

from contextlib import contextmanager

import pytest

from nnbench import catalog
from nnbench.execution import process
from nnbench.execution.executor import LocalExecutor
from nnbench.records import Entry
from nnbench.runs.planning import Plan


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
