"""Fixtures for all tests: every registered backend, and problems drawn from a seed."""

from __future__ import annotations

import gc
import os
import signal
import sys
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from nnbench import BackendUnavailableError, catalog
from nnbench.execution.variables import THREAD_VARIABLES
from nnbench.testing.subject import required

if TYPE_CHECKING:
    from nnbench import Backend, Model, NetworkSpec

BATCH_SIZE = 8  #: of most tests

# Small arrays: a second thread costs more than it brings. NumPy is not imported yet.
os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))

os.environ["PYTHONWARNINGS"] = "ignore:machine"  # about whatever machine the tests run on

# A shell that starts the tests in the background has SIGINT ignored, nohup has SIGHUP, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("nnbench", deadline=None, derandomize=True, max_examples=15)
settings.load_profile("nnbench")


@cache
def freeze(_: int) -> None:
    """Have the collector not look at what there is by now; it does so once for each number."""
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Spare thousands of tests that the collector looks through all modules, whenever there are more of them."""
    freeze(len(sys.modules))


def variants() -> dict[str, Backend]:
    """Return each registered backend as it is, and with each other choice of its options."""
    found = dict(catalog.backends())
    for name, backend in catalog.backends().items():
        for key, option in backend.options.items():
            for choice in set(option.choices) - {option.default}:
                made = partial(create, backend, **{key: choice})
                found[f"{name}[{key}={choice}]"] = replace(backend, create=made)
    return found


def give(name: str) -> Backend:
    """Return a backend that can run here; NNBENCH_REQUIRE names those that must not be missing."""
    found = variants()[name]
    if reason := catalog.why_unavailable(found):
        if found.name in required():
            pytest.fail(f"{name} is required: {reason}")
        pytest.skip(f"{name}: {reason}")
    return replace(found, create=partial(create, found), supports=lambda *_: None)


def create(backend: Backend, spec: NetworkSpec, **options: Any) -> Model[Any, Any]:
    """Create a network; skip the test if it is one that the backend says it cannot train."""
    try:
        return backend.network(spec, BATCH_SIZE, **options)
    except BackendUnavailableError as error:
        pytest.skip(f"{backend.name}: {error}")


def is_quick(backend: Backend) -> bool:
    """Tell whether tests may make any number of its networks."""
    return not (backend.compiles or backend.named_only)


@pytest.fixture(params=sorted(name for name, each in variants().items() if is_quick(each)))
def backend(request: Any) -> Backend:
    """Give each backend that makes a network at once; tests make hundreds."""
    return give(request.param)
