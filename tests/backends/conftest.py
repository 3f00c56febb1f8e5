"""Fixtures for blocks that run elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugins.helpers import environment, survivors, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """Mark all processes that come of this test, and hold that none is left."""
    yield tmp_path
    try:
        wait_until(lambda: not survivors(tmp_path))
    finally:
        for process in survivors(tmp_path):
            process.kill()


@pytest.fixture
def env(mark: Path) -> dict[str, str]:
    """Give an environment for processes that know of backends with faults."""
    return environment("faulty", mark=mark, NNBENCH_FAULTY_FOLDER=str(mark))
