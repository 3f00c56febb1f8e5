"""What is made of a run takes time and memory by its length, and not by its square.

Times would depend on the machine: Python's own calls are counted. A run of 10,000 cells and more is what
``tests/studies/large_results.py`` looks at.
"""

import sys
import tracemalloc
from collections.abc import Callable
from functools import cache, partial

import pytest

from nnbench.figures import statistics
from nnbench.figures.metrics import parse_gates
from nnbench.runs import comparison
from nnbench.runs.run import Run
from nnbench.show import page
from nnbench.show.charts import base
from nnbench.show.exports import convert
from tests.cells import whole

SHORT = 201  #: rounds; from 201 pairs on intervals are a bootstrap's
MOST_BYTES = 1 << 22


def export(run: Run, name: str) -> bytes:
    """Return a run as another tool reads it."""
    return convert(whole(run), name)


USES: dict[str, Callable[[Run], object]] = {
    "show": lambda run: run.frame,
    "compare": lambda run: comparison.compare(run, run, parse_gates([]), 0.02),
    "report": lambda run: page.section(run, base.colors(run.labels)),
    **{f"export --to {name}": partial(export, name=name) for name in ("csv", "junit", "parquet")},
}


@pytest.fixture(scope="module")
def make_long(make_cell, in_turns, info_of_two):
    """Give a function that makes a run of two backends, each cell in three turns."""

    @cache
    def cells(number):
        parts = [(0.3 + number % 5 / 1000, 30), (0.3, 30), (0.4, 40)]
        given = {"train_s": 1 + number % 7 / 100, "round": number, "seed": number}
        return [in_turns(make_cell(name, **given), parts) for name in ("numpy", "other")]

    def make(rounds):
        return Run(info_of_two, [each for number in range(rounds) for each in cells(number)])

    return make


@pytest.fixture(scope="module")
def info_of_two(make_info):
    """Give what two backends were asked."""
    return make_info("numpy", "other", rounds=1000)


def count_calls(action):
    """Return how many functions of Python are called."""
    count = 0

    def note(_, event, __):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("use", USES)
def test_work_grows_with_the_rounds_and_not_with_their_square(make_long, use):
    action = USES[use]
    action(make_long(SHORT))  # imports what it needs
    once, twice = (count_calls(partial(action, make_long(rounds))) for rounds in (SHORT, 2 * SHORT))
    assert once > SHORT
    assert twice < 2.2 * once


def peak_bytes(action):
    """Return how much memory was taken beyond what was there."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("use", ["show", "compare"])
def test_memory_is_bounded_whatever_the_rounds(make_long, use):
    USES[use](make_long(SHORT))
    run = make_long(600)
    assert peak_bytes(lambda: USES[use](run)) < MOST_BYTES


@pytest.mark.parametrize("count", [statistics.MANY, 2000])
def test_bootstrap_needs_no_more_memory_for_more_values(count):
    times = [1 + number % 7 / 100 for number in range(count)]
    resamples = 3 * 8 * statistics.RESAMPLES * statistics.MANY
    assert peak_bytes(lambda: statistics.ratio_of_medians(times, times)) < 1.1 * resamples
