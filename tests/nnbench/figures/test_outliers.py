"""Odd machines: those whose blocks lie apart from those of their equals."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnbench.figures import frames, outliers
from tests.studies import coverage, odd_machines

FLOOR, ALPHA = 0.01, 0.01
NAMES = [f"b{i}" for i in range(odd_machines.BACKENDS)]


def drawn(machines, blocks, seed=0):
    rng = np.random.default_rng(seed)
    return odd_machines.ratios(rng, machines, blocks, coverage.normal)


def called(given, floor=FLOOR):
    return [odd.machine for odd in outliers.among(given, NAMES, floor, ALPHA)]


def test_equals_are_not_odd():
    assert called(drawn(4, 10)) == []


def test_machine_is_found_with_the_backend_that_differs_and_by_how_much():
    given = drawn(4, 10)
    given["m2"][:, 3] += math.log(1.1)
    [odd] = outliers.among(given, NAMES, FLOOR, ALPHA)
    assert (odd.machine, odd.equals, odd.backend, odd.blocks) == (
        "m2",
        ["m0", "m1", "m3"],
        "b3",
        10,
    )
    assert odd.ratio == pytest.approx(1.1, abs=0.02)
    assert odd.p_value <= ALPHA


def test_machine_that_is_far_off_does_not_make_its_equals_odd():
    given = drawn(3, 10)
    given["m1"] += math.log(2)
    assert called(given) == ["m1"]


def test_two_that_are_odd_are_both_found():
    given = drawn(8, 10)
    given["m1"][:, 0] += math.log(1.2)
    given["m5"][:, 1] -= math.log(1.2)
    assert sorted(called(given)) == ["m1", "m5"]


def test_difference_below_the_noise_floor_is_none():
    given = drawn(4, 10)
    given["m2"][:, 3] += math.log(1.1)
    assert called(given, floor=0.15) == []


def test_values_that_are_all_equal_are_no_order():
    assert called({name: np.zeros((9, len(NAMES))) for name in ("a", "b", "c")}) == []


def test_study_calls_few_odd_and_finds_most():
    equal, odd = (odd_machines.trials(4, 10, coverage.heavy, s, 30) for s in (0.0, 0.1))
    assert equal.other <= 2
    assert odd.odd >= 27


@pytest.fixture
def make_groups(make_info, make_cell):
    """Give a function that makes a run on some machines: b takes twice as long, on the last of them more."""

    def make(blocks, last=2.4, **cpus):
        here = make_info().machine
        machines = {
            name: replace(here, environment=replace(here.environment, cpu=cpu))
            for name, cpu in cpus.items()
        }
        cells = [
            make_cell(backend, train_s=s * (1 + 0.001 * number), round=number, machine=name)
            for number, name in enumerate([*cpus] * blocks)
            for backend, s in (("numpy", 1.0), ("b", last if name == [*cpus][-1] else 2.0))
        ]
        info = replace(make_info("numpy", "b"), machines=machines)
        return info, frames.groups(info, cells)

    return make


def test_machines_of_a_run_are_held_against_those_of_their_kind(make_groups):
    [odd] = outliers.find(*make_groups(6, n1="A", n2="A", n3="A", n4="A"))
    assert (odd.machine, odd.backend) == ("n4", "b")
    assert odd.ratio == pytest.approx(1.2)
    assert outliers.find(*make_groups(6, n1="A", n2="A", n3="A", n4="B")) == []


def test_few_blocks_say_nothing(make_groups):
    assert outliers.find(*make_groups(4, n1="A", n2="A", n3="A", n4="A")) == []


def test_run_without_a_baseline_has_no_odd_machine(make_groups):
    info, groups = make_groups(6, n1="A", n2="A")
    assert outliers.find(info, {"b": groups["b"]}) == []
    assert outliers.find(info, {"numpy": groups["numpy"]}) == []
    assert outliers.find(info, {}) == []
