"""The conformance suite and the benchmarks, for whoever writes a backend.

One line in a test file checks a backend, and one more times it:

>>> TestMyBackend = nnbench.testing.conformance("mybackend")  # doctest: +SKIP
>>> TestMySpeed = nnbench.testing.benchmarks("mybackend")  # doctest: +SKIP

So does ``pytest --nnbench-backend mybackend``, without any test file. All of it needs pytest
(``pip install 'nnbench-harness[test]'``); importing this package does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnbench.contract.backend import Backend, OptionValue
    from nnbench.testing.benchmarks import Benchmarks
    from nnbench.testing.checks import Conformance

__all__ = ["benchmarks", "conformance"]


def conformance(backend: str | Backend, **options: OptionValue) -> type[Conformance]:
    """Return a test class whose methods are the checks of the conformance suite.

    Parameters
    ----------
    backend
        A name as for ``nnbench run --backends`` (``"torch-cpu[fused=false]"``), or the record of
        a backend that need not be installed.
    **options
        Parameters of a backend that is given as a record.

    Returns
    -------
    type[Conformance]
        To be assigned to a name that pytest collects, such as ``TestMyBackend``. Where the backend
        can't run, its tests are skipped, or fail if ``NNBENCH_REQUIRE`` names it.

    Raises
    ------
    NnbenchError
        If the name or an option is unknown.
    """
    from nnbench.testing.checks import Conformance
    from nnbench.testing.subject import make_subject

    return type("Conformance", (Conformance,), {"subject": make_subject(backend, **options)})


def benchmarks(backend: str | Backend, **options: OptionValue) -> type[Benchmarks]:
    """Return a test class that times the phases of a step and an epoch with pytest-benchmark.

    Parameters, returned value and errors are as for :func:`conformance`.
    """
    from nnbench.testing.benchmarks import Benchmarks
    from nnbench.testing.subject import make_subject

    return type("Benchmarks", (Benchmarks,), {"subject": make_subject(backend, **options)})
