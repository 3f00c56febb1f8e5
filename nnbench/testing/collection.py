"""Items of the suite in a pytest session that has no test file for them."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.testing import benchmarks, conformance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def collect(
    session: pytest.Session, names: Sequence[str], *, benchmark: bool
) -> Iterator[pytest.Item]:
    """Yield the items of some backends: checks, or benchmarks."""
    make, what = (benchmarks, "benchmark") if benchmark else (conformance, "conformance")
    # A file that is not there: it gives the items short names, ``conformance::numpy::…``.
    module = pytest.Module.from_parent(session, path=session.config.rootpath / what)
    module.obj = ModuleType(what)
    for name in dict.fromkeys(names):
        try:
            checks = make(name)
        except NnbenchError as error:
            raise pytest.UsageError(str(error)) from error
        yield from session.genitems(named(module, name, checks))


def named(module: pytest.Module, name: str, checks: type) -> pytest.Class:
    """Return the node of a class, under a backend's name."""
    node: pytest.Class = pytest.Class.from_parent(module, name=name, obj=checks)
    node.obj = checks
    return node
