"""Every test that docs/robustness.md names is there, and every row names one."""

import re

import pytest

from tests.documents import ROOT

CELL = re.compile(r"(?<!\\)\|")
NAME = re.compile(r"`(test_\w+)`")
LINES = [
    line
    for line in (ROOT / "docs" / "robustness.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| situation ")
]


@pytest.fixture(scope="module")
def names():
    """Give the names of all tests, and of their files."""
    functions = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
    files = [*(ROOT / "tests").rglob("test_*.py")]
    found = (name for path in files for name in functions.findall(path.read_text("utf-8")))
    return {*found, *(path.stem for path in files)}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:50])
def test_row_names_tests_that_are_there(line, names):
    _, situation, ending, tests, _ = map(str.strip, CELL.split(line))
    assert situation
    assert ending
    named = NAME.findall(tests)
    assert named
    assert ", ".join(f"`{name}`" for name in named) == tests
    assert set(named) - names == set()


def test_there_are_rows():
    assert len(LINES) > 20
