"""The work of a block is divided so that several judges can share it."""

import pytest

from nnbench.proof import inquest
from nnbench.records import Chosen


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100, 1000])
def test_a_cell_is_divided_into_few_units_of_like_size(count):
    chosen = Chosen(units=[[n] for n in range(count)], steps=[10] * count)
    units = inquest._joined(chosen)
    assert [n for unit in units for n in unit] == [*range(count)]
    assert len(units) == min(count, 32)
    assert max(map(len, units), default=0) <= -(-count // 32)


def test_long_stretches_stand_alone():
    chosen = Chosen(units=[[n] for n in range(64)], steps=[1000, *[1] * 63])
    first, *_ = inquest._joined(chosen)
    assert first == [0]


def test_what_must_be_followed_in_turn_stays_together():
    chosen = Chosen(units=[[*range(100)]], steps=[10] * 100)
    assert inquest._joined(chosen) == [[*range(100)]]
