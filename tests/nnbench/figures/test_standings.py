"""How backends stand while a run goes on: as in its tables, or marked as provisional."""

from dataclasses import replace

import numpy as np
import pytest

from nnbench.figures import frames, statistics
from nnbench.figures.metrics import TRAINING
from nnbench.figures.standings import Standing, UnderWay, standings
from nnbench.records.cells import CellResult, Status
from nnbench.records.events import Failed, Progress, Ready
from tests.cells import make_spec
from tests.nnbench.events import events_of, spec_of

PARTS = [(1.0, 100), (1.1, 100), (1.0, 100), (1.3, 100)]
FASTER = [(0.5, 100), (0.6, 100), (0.45, 100), (0.65, 100)]


@pytest.fixture
def stand(make_info):
    """Give a function that says how things stand: cells that were judged, and those that train."""

    def ask(judged, training=(), **changes):
        info = make_info("numpy", "fast", rounds=3, turns=True, **changes)
        block: dict[str, list[CellResult]] = {}
        for cell in training:
            attempt = UnderWay(spec_of(cell))
            for event in events_of(cell):
                attempt.take_in(event)
            block.setdefault(cell.backend, []).append(attempt.result)
        groups = frames.groups(
            info, [c for c in judged if c.final], [c for c in judged if not c.final]
        )
        return {each.backend: each for each in standings(info, groups, block)}

    return ask


@pytest.fixture
def pair(make_cell, in_turns):
    """Give a function that makes both cells of a round."""

    def make(number=0, base=PARTS, fast=FASTER, **changes):
        return [
            in_turns(make_cell("numpy", round=number, **changes), base),
            in_turns(make_cell("fast", round=number, **changes), fast),
        ]

    return make


def test_ratio_of_turns_is_what_the_table_will_say(stand, pair, make_info):
    cells = pair()
    found = stand([], cells)
    groups = frames.groups(make_info("numpy", "fast"), cells)
    final = frames.compare(make_info("numpy", "fast"), groups["fast"], groups["numpy"])
    assert found["fast"].ratio == pytest.approx(final.ratio, rel=1e-12)
    assert stand(cells)["fast"].ratio == found["fast"].ratio
    assert list(found) == ["fast", "numpy"]
    assert found["numpy"] == Standing("numpy", 1.0)


def test_interval_of_turns_is_wider_by_the_noise_floor(stand, pair):
    cells = pair()
    logs = np.log([0.5, 0.6 / 1.1, 0.45, 0.5])
    plain = statistics.interval(logs)
    found = stand([], cells, turn_floor=0.25)["fast"]
    assert (found.turns, found.rounds) == (4, 0)
    assert found.ratio_low == pytest.approx(plain.low / 1.25)
    assert found.ratio_high == pytest.approx(plain.high * 1.25)
    assert sorted(TRAINING.turn_log_ratios(*cells[::-1])) == pytest.approx(sorted(logs))


def test_one_turn_has_no_interval(stand, pair):
    found = stand([], pair(fast=FASTER[:1]))["fast"]
    assert found == Standing("fast", pytest.approx(0.5), turns=1)


def test_who_has_shared_no_turn_has_no_ratio(stand, make_cell, in_turns):
    cells = [in_turns(make_cell("numpy"), PARTS), in_turns(make_cell("fast"), FASTER, first=9)]
    assert stand([], cells)["fast"] == Standing("fast")
    assert stand([], cells[1:])["fast"] == Standing("fast")


def test_round_with_more_turns_is_shown(stand, pair):
    first = pair()
    assert stand(first, pair(1, fast=[(0.9, 100)]))["fast"].ratio == stand(first)["fast"].ratio
    more = stand(pair(fast=FASTER[:2]), pair(1, fast=[(0.9, 100)] * 4))["fast"]
    assert (more.turns, more.rounds) == (4, 1)
    assert more.ratio == stand([], pair(1, fast=[(0.9, 100)] * 4))["fast"].ratio


def test_two_rounds_or_more_are_those_of_the_table(stand, pair, make_info):
    judged = [*pair(), *pair(1, fast=[(0.7, 100)] * 4)]
    info = make_info("numpy", "fast", turns=True)
    groups = frames.groups(info, judged)
    final = frames.compare(info, groups["fast"], groups["numpy"])
    for found in (stand(judged)["fast"], stand(judged, pair(2, fast=[(5.0, 100)] * 4))["fast"]):
        assert (found.rounds, found.turns) == (2, 0)
        assert found[1:4] == (final.ratio, final.interval.low, final.interval.high)


def test_interval_of_a_run_that_looks_for_a_difference_needs_four_rounds(stand, pair):
    for rounds, has_interval in ((3, False), (4, True)):
        judged = [cell for number in range(rounds) for cell in pair(number)]
        found = stand(judged, detect=0.03)["fast"]
        assert (found.rounds, found.ratio_low is not None) == (rounds, has_interval)


def test_attempt_that_had_its_turns_beside_a_backend_is_its_baseline(stand, make_cell, in_turns):
    first = in_turns(make_cell("numpy"), PARTS)
    again = in_turns(make_cell("numpy", attempt=1, final=False), [(2.0, 100)] * 4, first=9)
    late = in_turns(make_cell("fast"), [(1.0, 100)] * 4, first=9)
    assert stand([], [first, again, late])["fast"].ratio == pytest.approx(0.5)
    assert stand([first, again, late])["fast"].ratio == pytest.approx(0.5)


@pytest.mark.parametrize("who", ["numpy", "fast"])
def test_there_is_no_ratio_with_what_failed(stand, pair, make_failed, who):
    cells = pair()
    bad = make_failed(who, "oom", setup=cells[0].setup)
    training = [bad if cell.backend == who else cell for cell in cells]
    for found in (stand([], training), stand(training)):
        assert found[who] == Standing(who, no_rank="oom")
        assert found["fast"].ratio is None


def test_what_was_judged_to_be_wrong_gets_no_further_ratio(stand, pair):
    base, wrong = pair()
    judged = [base, replace(wrong, status=Status.INVALID)]
    assert stand(judged, pair(1))["fast"] == Standing("fast", no_rank="invalid")


def test_classes_of_precision_are_not_compared(stand, pair):
    base, fast = pair()
    cells = [base, replace(fast, precision="tf32")]
    assert stand([], cells)["fast"] == stand(cells)["fast"] == Standing("fast")


def test_nothing_ranks_where_nothing_is_proved(stand, pair):
    assert stand([], pair(), proof="off")["fast"] == Standing("fast", no_rank="not proved")


def test_cells_that_trained_whole_have_no_interval_in_one_round(stand, make_cell):
    cells = [make_cell("numpy"), make_cell("fast", train_s=0.5)]
    assert stand(cells)["fast"] == Standing("fast", pytest.approx(0.5), rounds=1)


def test_share_is_of_the_images_or_of_the_budget(make_cell):
    attempt = UnderWay(make_spec(label="a", budget_s=8.0))
    shares = [attempt.share]
    for event in (
        Ready(replace(make_cell().setup, epoch_images=100)),
        Progress(1, 30, 1.0, 0.5),  # of 300
        Progress(1, 60, 4.0, 0.5),
        Progress(1, 70, 9.0, 0.5),
        Failed(Status.CRASHED, ""),
    ):
        attempt.take_in(event)
        shares.append(attempt.share)
    assert shares == [0.0, 0.0, pytest.approx(1 / 8), 0.5, 1.0, 1.0]
