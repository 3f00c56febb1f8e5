"""Fixtures for the tests of commands that start processes."""

import pytest

from tests.plugins.helpers import survivors


@pytest.fixture
def mark(tmp_path):
    """Give a mark for the environment of processes, and kill what carries it in the end."""
    yield tmp_path
    for process in survivors(tmp_path):
        process.kill()
