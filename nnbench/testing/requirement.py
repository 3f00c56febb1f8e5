"""Backends that must not be missing: ``NNBENCH_REQUIRE=python,numpy``, for CI."""

from __future__ import annotations

import os

REQUIRE = "NNBENCH_REQUIRE"


def required() -> set[str]:
    """Return the names of the backends that must not be missing."""
    return set(filter(None, os.environ.get(REQUIRE, "").split(",")))
