"""Bars in the order of their values."""

import pytest

from nnbench.figures.columns import BARS, sparkline


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        (range(8), BARS),
        ([3.0, 1.0, 2.0], "█▁▅"),
        ([1e-9, 2e-9], "▁█"),
        ([2.0, 2.0, 2.0], "▄▄▄"),
        ([5.0], "▄"),
    ],
)
def test_bars_go_from_the_least_to_the_most(values, bars):
    assert sparkline(list(values)) == bars
