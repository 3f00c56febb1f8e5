"""Fixtures for runs."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from nnbench import catalog
from nnbench.execution import cell, executor, loading
from nnbench.execution.executor import LocalExecutor
from nnbench.records.cells import Status
from nnbench.records.runs import Entry
from nnbench.runs.planning import Plan
from tests.cells import Lenient, load_again


@pytest.fixture
def make_plan():
    """Give a function that plans a run on this machine; its backends need not exist."""

    def make(info, entries=None):
        labels = [*info.backends, *info.unavailable]
        made = [Entry(label=label, backend=label) for label in labels]
        return Plan(info, made if entries is None else entries, LocalExecutor())

    return make


WRONG = 666.0  #: a loss that tells these judges that a cell is invalid


class Canned:
    """A cell that has only its outcome."""

    def __init__(self, values):
        self.values = {"epochs": [], "started": "", "wall_s": 0.0, **values}

    def case(self, result, mode):
        """Return what the judges below need."""
        return SimpleNamespace(result=result, mode=mode)


class Judges(Lenient):
    """Find every cell right that is not marked as wrong."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def judge(self, cells):
        """Give the results in the order of the cells."""
        for each in cells:
            result = each.result
            if result.status is Status.OK:
                status = Status.INVALID if WRONG in result.losses else Status.BUDGET
                right = status is Status.BUDGET and result.complete
                result = replace(result, status=Status.OK if right else status)
            yield result


@pytest.fixture
def answer(monkeypatch):
    """Give a function that takes the outcomes of cells from another, given their specs."""

    def replace_cells(outcome_of):
        @contextmanager
        def run(spec, *_):
            yield iter(()), Canned(outcome_of(spec))

        monkeypatch.setattr(cell, "run", run)
        monkeypatch.setattr(executor, "Judges", Judges)
        monkeypatch.setattr(executor, "_backend", lambda entry: entry)
        monkeypatch.setattr(loading, "load", load_again)

    return replace_cells


@pytest.fixture
def clock(monkeypatch):
    """Give the clock by which runs are paced; its time is set by hand."""
    set_by_hand = SimpleNamespace(now=0.0)
    for module in ("schedule", "times"):
        monkeypatch.setattr(f"nnbench.runs.{module}.monotonic", lambda: set_by_hand.now)
    return set_by_hand


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
