"""The selftest finds what was injected, and measures what was not."""

from dataclasses import replace

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.errors import NnbenchError
from nnbench.records import Handicap
from nnbench.runs import selftest
from nnbench.worker.training import slow_down
from tests.problems import KINDS, make_examples, make_layers, make_spec

ROUNDS = 10


@pytest.fixture
def cells(make_cell):
    """Give the cells of a selftest on a machine with 1% of noise."""
    rng = np.random.default_rng(0)
    names = [*selftest.EQUALS, *selftest.HANDICAPS]
    shares = {name: handicap.share for name, handicap in selftest.HANDICAPS.items()}
    return [
        make_cell(
            f"numpy@{name}",
            train_s=(1 + shares.get(name, 0)) * np.exp(rng.normal(0, 0.01)),
            round=round_,
        )
        for round_ in range(ROUNDS)
        for name in names
    ]


def test_floor_is_near_the_noise(cells):
    floor, _ = selftest.evaluate(cells)
    assert 0.01 <= floor < 0.04


def test_injected_slowdowns_are_found(cells):
    _, trials = selftest.evaluate(cells)
    assert selftest.smallest_found(trials) == 0.05
    assert not {t.comparison.verdict for t in trials if t.share == 0} & {"slower", "faster"}


def test_slowdown_counts_only_with_all_larger_ones(cells):
    missed = [replace_time(c, 1.0) if c.backend.endswith("work20") else c for c in cells]
    _, trials = selftest.evaluate(missed)
    assert selftest.smallest_found(trials) is None


def test_order_of_the_cells_does_not_matter(cells):
    assert selftest.evaluate(cells[::-1])[0] == selftest.evaluate(cells)[0]


def test_failed_cell_ends_the_selftest(cells, make_failed):
    with pytest.raises(NnbenchError, match="numpy@a1 was not measured: crashed"):
        selftest.evaluate([*cells, make_failed("numpy@a1", round=ROUNDS)])


def test_every_variant_has_a_name_of_its_own():
    asked = {"command": "nnbench selftest", "workload": "toy-sigmoid", "overrides": {}, "rounds": 6}
    limits = {"seed": 0, "threads": 1, "budget": 1.0, "timeout": 60.0}
    info, entries, _ = selftest.plan("numpy", **asked, **limits)
    assert list(info.backends) == [entry.label for entry in entries]
    assert len(info.backends) == 7
    assert info.baseline == "numpy@a1"
    assert [entry.handicap is None for entry in entries] == [True] * 3 + [False] * 4


@pytest.mark.parametrize("kind", ["work", "sleep"])
def test_handicap_changes_time_and_nothing_else(kind):
    spec = make_spec((6, 5, 3), KINDS[0])
    examples, order = make_examples(spec, 20), np.arange(20)
    plain, slowed = (catalog.backends()["numpy"].network(spec, 8) for _ in range(2))
    for network in (plain, slowed):
        network.load(make_layers(spec))
    slow_down(slowed, Handicap(kind, 0.5))
    losses = [n.train_epoch(n.place(examples), order, 8) for n in (plain, slowed)]
    assert np.array_equal(*losses)
    assert np.array_equal(plain.dump()[0].weight, slowed.dump()[0].weight)


def replace_time(cell, seconds):
    return replace(cell, epochs=[replace(epoch, train_s=seconds) for epoch in cell.epochs])
