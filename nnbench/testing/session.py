"""A pytest session of ``nnbench test``: ``python -m nnbench.testing.session ARGUMENTS``."""

from __future__ import annotations

import sys

REGRESSED = 64  #: exit status; pytest itself uses 0 to 5


def main() -> int:
    """Run pytest, and give a regression that pytest-benchmark reports another status than a crash."""
    import pytest
    from pytest_benchmark.session import PerformanceRegression

    from nnbench.worker.__main__ import die_with_parent

    die_with_parent()
    try:
        return pytest.main(sys.argv[1:])
    except PerformanceRegression:  # its table and its reasons are printed already
        return REGRESSED


if __name__ == "__main__":
    sys.exit(main())
