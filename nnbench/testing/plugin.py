"""The pytest plugin. pytest loads it in every session, so it imports next to nothing.

``pytest --nnbench-backend NAME`` adds the conformance suite to the session; with
``--nnbench-benchmark``, the benchmarks instead. The fixture ``nnbench_benchmark`` times a phase.
"""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nnbench.testing.benchmarks import PhaseBenchmark

pytest.register_assert_rewrite("nnbench.testing.checks", "nnbench.testing.benchmarks")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("nnbench", "conformance of nnbench's backends")
    group.addoption(
        "--nnbench-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="Check a backend, as in torch-cpu[fused=false]. May be repeated.",
    )
    group.addoption(
        "--nnbench-benchmark",
        action="store_true",
        help="Time the backends of --nnbench-backend with pytest-benchmark instead.",
    )
    group.addoption("--nnbench-report", help=argparse.SUPPRESS)  # for nnbench test


def pytest_configure(config: pytest.Config) -> None:
    """Report to ``nnbench test``, if it has started this session."""
    if path := config.getoption("nnbench_report"):
        from nnbench.testing.session import Reporter

        config.pluginmanager.register(Reporter(path))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the suite's items, before -k and its kin choose among all."""
    names = session.config.getoption("nnbench_backend")
    if not names:
        return
    from nnbench.contract.errors import NnbenchError
    from nnbench.testing import benchmarks, conformance

    is_benchmark = session.config.getoption("nnbench_benchmark")
    make, what = (benchmarks, "benchmark") if is_benchmark else (conformance, "conformance")
    # A file that is not there: it gives the items short names, ``conformance::numpy::…``.
    module = pytest.Module.from_parent(session, path=session.config.rootpath / what)
    module.obj = ModuleType(what)
    for name in dict.fromkeys(names):
        try:
            checks = make(name)
        except NnbenchError as error:
            raise pytest.UsageError(str(error)) from error
        node = pytest.Class.from_parent(module, name=name, obj=checks)
        node.obj = checks
        items += session.genitems(node)


@pytest.fixture
def nnbench_benchmark(request: pytest.FixtureRequest) -> PhaseBenchmark:
    """Time a phase of a backend: ``nnbench_benchmark("mybackend", "backprop")``.

    See :class:`nnbench.testing.benchmarks.PhaseBenchmark`. It needs pytest-benchmark, whose options
    ``--benchmark-max-time`` and ``--benchmark-min-rounds`` say how long it measures.
    """
    max_time = request.config.getoption("benchmark_max_time", None)
    if max_time is None:
        from nnbench.contract.errors import install_hint

        pytest.fail(f"pytest-benchmark is missing: {install_hint('test')}", pytrace=False)
    from nnbench.testing.benchmarks import PhaseBenchmark

    return PhaseBenchmark(
        request.getfixturevalue("benchmark"),
        max_time_s=float(max_time),
        min_rounds=int(request.config.getoption("benchmark_min_rounds")),
    )
