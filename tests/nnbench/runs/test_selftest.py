"""The selftest finds what was injected, and measures what was not."""

from dataclasses import replace

import numpy as np
import pytest

from nnbench import catalog
from nnbench.cli.selftest import conclude
from nnbench.contract.errors import ExitCode, NnbenchError
from nnbench.execution.machine import TURN_FLOORS
from nnbench.records.cells import Handicap
from nnbench.runs import selftest
from nnbench.runs.run import Run
from nnbench.runs.times import Times
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
    found = selftest.evaluate(cells)
    assert 0.01 <= found.floor < 0.03
    assert found.kept_floor == found.floor


def test_injected_slowdowns_are_found(cells):
    found = selftest.evaluate(cells)
    assert selftest.smallest_found(found.trials) == 0.05
    assert found.false_alarms == []


def test_slowdown_counts_only_with_all_larger_ones(cells):
    missed = [replace_time(c, 1.0) if c.backend.endswith("sleep10") else c for c in cells]
    assert selftest.smallest_found(selftest.evaluate(missed).trials) is None


def test_order_of_the_cells_does_not_matter(cells):
    assert selftest.evaluate(cells[::-1]) == selftest.evaluate(cells)


def test_floor_that_does_not_hold_in_the_other_blocks_is_found_out(cells):
    drifting = [
        replace_time(c, c.train_s * 1.2) if c.round % 2 and c.backend == "numpy@a3" else c
        for c in cells
    ]
    found = selftest.evaluate(drifting)
    assert found.floor == selftest.evaluate(cells).floor  # of the blocks that did not drift
    assert [trial.name for trial in found.false_alarms] == ["a1 and a3", "a2 and a3"]
    assert found.kept_floor == found.other_floor > 0.1


def test_spread_of_a_pair_is_measured(cells):
    assert selftest.evaluate(cells).stdev == pytest.approx(0.01 * 2**0.5, rel=0.3)


def test_too_few_blocks_are_refused(cells):
    few = [cell for cell in cells if cell.round < selftest.FEWEST_BLOCKS - 1]
    with pytest.raises(NnbenchError, match=r"^a selftest needs 6 blocks, and has 5$"):
        selftest.evaluate(few)


def test_no_block_is_begun_that_would_end_late(make_info, clock, monkeypatch):
    monkeypatch.setattr(selftest, "SECONDS", 65.0)
    enough, times, run = selftest.time_is_up(), Times(), Run(make_info(), [])
    while not enough(run, times):
        times.begin(times.given)
        clock.now += 10.0
        times.end(times.given - 1)
    assert times.given == selftest.FEWEST_BLOCKS  # at 60 s, and each takes 10


def test_blocks_that_run_count_among_the_fewest(make_info, clock, monkeypatch):
    monkeypatch.setattr(selftest, "SECONDS", 5.0)
    enough, times, run = selftest.time_is_up(), Times(), Run(make_info(), [])
    for number in range(selftest.FEWEST_BLOCKS):
        assert not enough(run, times)
        times.begin(number)
    clock.now += 4.0  # none is over, but each takes 4 s or longer
    assert enough(run, times)
    times.drop(0)
    assert not enough(run, times)


def test_machines_of_a_kind_share_a_floor(cells, make_info):
    machine = make_info().machine
    other = replace(machine, environment=replace(machine.environment, cpu="another"))
    machines = {"a1": machine, "b1": other, "b2": other, "idle": machine}
    places = ["a1", "b1", "b2"]
    spread = [replace(cell, machine=places[cell.round % 3]) for cell in cells]
    first, second = selftest.by_kind(Run(replace(make_info(), machines=machines), spread))
    assert (first.names, first.environment.cpu, first.blocks) == (["b1", "b2"], "another", 6)
    assert (second.names, second.blocks) == (["a1", "idle"], 4)


@pytest.mark.usefixtures("home")
def test_floors_are_kept_of_each_kind_that_has_enough_blocks(cells, make_info, capsys, tmp_path):
    machine = make_info().machine
    other = replace(machine, environment=replace(machine.environment, cpu="another"))
    info = replace(make_info(turns=True), machines={"a": machine, "b": other})
    spread = [replace(cell, machine="b" if cell.round % 4 else "a") for cell in cells]
    assert conclude(Run(info, spread, tmp_path)) == ExitCode.OK
    assert "nnbench: a: no floor, which takes 6 blocks, and it has 3" in capsys.readouterr().err
    assert TURN_FLOORS.load(other.environment, 0.0) > 0
    assert TURN_FLOORS.load(machine.environment, 0.0) == 0.0


def test_failed_cell_ends_the_selftest(cells, make_failed):
    with pytest.raises(NnbenchError, match="numpy@a1 was not measured: crashed"):
        selftest.evaluate([*cells, make_failed("numpy@a1", round=ROUNDS)])


def test_every_variant_has_a_name_of_its_own():
    asked = {"command": "nnbench selftest", "workload": "toy-sigmoid", "overrides": {}, "rounds": 6}
    limits = {"seed": 0, "threads": 1, "budget": 1.0, "timeout": 60.0}
    info, entries, _ = selftest.plan("numpy", **asked, **limits)
    assert list(info.backends) == [entry.label for entry in entries]
    assert len(info.backends) == 5
    assert info.baseline == "numpy@a1"
    assert [entry.handicap is None for entry in entries] == [True] * 3 + [False] * 2


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
