"""Which stretches of a cell are proved."""

from math import inf, nan
from random import Random

import pytest

from nnbench.proof.sampling import Traits, choose

EPOCHS = [Traits(epoch, steps=10, train_s=1.0, moved=1.0) for epoch in (1, 1, 2, 2, 3, 3, 4, 4)]


def changed(number, **traits):
    """Return the stretches of four epochs, one of them with other traits."""
    return [each._replace(**traits) if i == number else each for i, each in enumerate(EPOCHS)]


def test_all_are_proved_in_full_and_none_without_a_proof():
    assert choose(EPOCHS, "full") == [*range(8)]
    assert choose(EPOCHS, "off") == []


def test_a_sample_is_the_first_epoch_and_three_later_ones():
    chosen = choose(EPOCHS, "sampled")
    assert chosen[:2] == [0, 1]
    assert len(set(chosen)) == 5


@pytest.mark.parametrize("count", range(6))
def test_a_short_training_is_proved_whole(count):
    assert choose(EPOCHS[:count], "sampled") == [*range(count)][:5]


def test_every_later_stretch_may_be_drawn():
    drawn = {n for seed in range(100) for n in choose(EPOCHS, "sampled", Random(seed))}
    assert drawn == {*range(8)}


@pytest.mark.parametrize(
    "traits",
    [
        {"moved": 1.1},
        {"moved": inf},
        {"moved": nan},
        {"train_s": 0.9},
        {"steps": 20, "moved": 1.5},  # in twice the steps, it may move by the root of two
        {"steps": 20, "train_s": 1.9},
    ],
)
@pytest.mark.parametrize("number", [2, 5, 7])
def test_the_most_suspicious_are_always_proved(number, traits):
    stretches = changed(number, **traits)
    assert all(number in choose(stretches, "sampled", Random(seed)) for seed in range(20))


def test_both_kinds_of_suspicion_count():
    stretches = [*changed(5, moved=2.0)[:7], EPOCHS[7]._replace(train_s=0.1)]
    for seed in range(20):
        assert {5, 7} <= {*choose(stretches, "sampled", Random(seed))}


def test_longer_stretches_are_not_suspicious_for_their_length():
    stretches = changed(5, steps=20, moved=1.4, train_s=2.0)
    assert any(5 not in choose(stretches, "sampled", Random(seed)) for seed in range(50))
