"""Two environments in one run: what each of them has, and pairs from the same round."""

from dataclasses import replace

import pytest

from nnbench import Option
from nnbench.catalog.listings import BackendItem, Listing
from nnbench.contract.errors import BackendUnavailableError, NnbenchError
from nnbench.execution import interpreters
from nnbench.execution.interpreters import Interpreter
from nnbench.figures.metrics import parse_gate
from nnbench.runs import continuous
from nnbench.runs.comparison import compare
from nnbench.runs.planning import Plan
from nnbench.runs.run import Run
from nnbench.runs.times import Times

TRAIN, ACCURACY = parse_gate("train_s_per_epoch:5%"), parse_gate("accuracy:0.5pp")
ASKED = {
    "command": "nnbench continuous",
    "workload": "toy-sigmoid",
    "overrides": {},
    "rounds": 10,
    "seed": 3,
    "threads": 1,
    "budget": 1.0,
    "timeout": 60.0,
}


def item(name, *, unavailable=None, options=()):
    return BackendItem(
        name=name,
        summary=f"the {name}",
        device="cpu",
        unavailable=unavailable,
        options=dict.fromkeys(options, Option(1, "")),
    )


@pytest.fixture
def sides(make_info, monkeypatch):
    """Give a function that makes two environments with some backends."""
    environment = make_info().environment

    def make(base, head):
        made = [
            Interpreter(name, Listing(backends=items, workloads=[], datasets=[]), environment)
            for name, items in (("/base/python", base), ("/head/python", head))
        ]
        monkeypatch.setattr(interpreters, "examine", {each.python: each for each in made}.get)
        return tuple(made)

    return make


def test_each_backend_runs_in_both(sides):
    info, entries, _ = continuous.plan(
        sides([item("one"), item("two")], [item("two"), item("one")]), backends=["all"], **ASKED
    )
    labels = ["one@base", "one@head", "two@base", "two@head"]
    assert [s.label for s in entries] == list(info.backends) == labels
    assert [s.python for s in entries] == ["/base/python", "/head/python"] * 2
    assert info.baseline == "one@base"
    assert (info.rounds, info.seed, info.workload.name) == (10, 3, "toy-sigmoid")


def test_options_are_handed_on(sides):
    tunable = [item("one", options=["x"])]
    info, entries, _ = continuous.plan(
        sides(tunable, tunable), backends=["one[x=2,threads=1]"], **ASKED
    )
    assert list(info.backends) == ["one[threads=1,x=2]@base", "one[threads=1,x=2]@head"]
    assert [(s.options, s.threads) for s in entries] == [({"x": 2}, 1)] * 2


@pytest.mark.parametrize("backends", ["all", "one,fresh"])
def test_backend_of_one_side_is_unavailable_on_the_other(sides, backends):
    info, *_ = continuous.plan(
        sides([item("one")], [item("one"), item("fresh")]), backends=[backends], **ASKED
    )
    assert set(info.backends) == {"one@base", "one@head", "fresh@head"}
    assert info.unavailable == {"fresh@base": "no backend named 'fresh'; known: one"}


def test_option_of_one_side_is_unavailable_on_the_other(sides):
    info, *_ = continuous.plan(
        sides([item("one")], [item("one", options=["x"])]), backends=["one[x=2]"], **ASKED
    )
    reason = "one has no parameter 'x'; known: threads"
    assert info.unavailable == {"one[x=2]@base": reason}


def test_named_backend_must_be_available_somewhere(sides):
    absent = [item("one", unavailable="no device")]
    with pytest.raises(BackendUnavailableError, match=r"^one is unavailable: no device$"):
        continuous.plan(sides(absent, absent), backends=["one"], **ASKED)
    info, *_ = continuous.plan(sides(absent, [item("one")]), backends=["one"], **ASKED)
    assert info.unavailable == {"one@base": "no device"}


def test_unavailable_backend_among_all_is_left_out(sides):
    items = [item("one"), item("two", unavailable="no device")]
    info, *_ = continuous.plan(sides(items, items), backends=["all"], **ASKED)
    assert list(info.backends) == ["one@base", "one@head"]
    assert info.unavailable == {"two@base": "no device", "two@head": "no device"}


def test_backend_of_neither_is_refused(sides):
    with pytest.raises(NnbenchError, match="no backend named 'onne'; did you mean one"):
        continuous.plan(sides([item("one")], [item("two")]), backends=["onne"], **ASKED)


def test_workload_that_is_known_elsewhere_only_is_refused():
    with pytest.raises(NnbenchError, match=r"no workload named 'mine'.*must be installed here too"):
        continuous.check_workload("mine")


def test_versions_that_differ_are_kept_for_each_side(make_info):
    base = make_info().environment
    versions = {"nnbench-harness": "0.1", "numpy": "2.1", "torch": "2.5"}
    head = replace(base, python="CPython 3.12", versions=versions)
    own = {"nnbench-harness": "0.1", "numpy": "2.0"}
    assert continuous.merge(base, base) == {"python": base.python, "versions": own}
    assert continuous.merge(base, head) == {
        "python": "CPython 3.11 and CPython 3.12",
        "versions": {
            "nnbench-harness": "0.1",  # which base calls by its former name
            "numpy@base": "2.0",
            "numpy@head": "2.1",
            "torch@head": "2.5",
        },
    }


@pytest.fixture
def make_run(make_cell, make_info):
    """Give a function that makes a run of one backend from the seconds of both sides."""

    def make(base, head, accuracies=((0.9,), (0.9,))):
        cells = [
            make_cell(f"one@{name}", round=i, train_s=seconds, accuracies=reached)
            for name, times, reached in zip(("base", "head"), (base, head), accuracies, strict=True)
            for i, seconds in enumerate(times)
            if seconds is not None
        ]
        return Run(make_info("one@base", "one@head"), cells)

    return make


DRIFTING = [1.0, 1.5, 2.2, 3.1, 4.5, 6.0, 4.0, 2.0]


def test_pairs_reveal_what_a_drifting_machine_hides(make_run):
    run = make_run(DRIFTING, [1.1 * seconds for seconds in DRIFTING])
    (change,) = continuous.compare(run, [TRAIN], 0.02)
    assert (change.outcome, change.verdict) == ("regression", "slower")
    assert change.interval.ratio == pytest.approx(1.1)
    base, head = continuous.side(run, "base"), continuous.side(run, "head")
    (independent,) = compare(base, head, [TRAIN], 0.02)
    assert independent.outcome == "inconclusive"


def test_equal_times_pass(make_run):
    (change,) = continuous.compare(make_run(DRIFTING, DRIFTING), [TRAIN], 0.02)
    assert (change.outcome, change.verdict) == ("passed", "same")


def test_turns_are_compared_where_both_sides_took_them(make_run, in_turns):
    run = make_run(DRIFTING, DRIFTING)
    slower = {"one@base": 1.0, "one@head": 1.1}
    cells = [in_turns(cell, [(slower[cell.backend], 10)] * 3) for cell in run.cells]
    (change,) = continuous.compare(Run(run.info, cells), [TRAIN], 0.02)
    assert (change.outcome, change.interval.ratio) == ("regression", pytest.approx(1.1))
    assert change.base == change.new  # the whole cells took as long


@pytest.mark.parametrize(
    ("factor", "outcome"), [(1.04, "regression"), (0.9, "passed"), (1.0, "passed")]
)
def test_difference_that_was_looked_for_decides_whatever_the_limit(make_run, factor, outcome):
    run = make_run(DRIFTING, [factor * seconds for seconds in DRIFTING])
    run = Run(replace(run.info, detect=0.06), run.cells)
    (change,) = continuous.compare(run, [TRAIN], 0.02, by_verdict=True)
    assert (change.outcome, continuous.is_over(run)) == (outcome, True)


def test_accuracies_keep_their_limit_where_a_difference_is_looked_for(make_run):
    run = make_run([1.0] * 4, [1.0] * 4, ((0.9,), (0.89,)))
    looking = Run(replace(run.info, detect=0.1), run.cells)
    changes = continuous.compare(looking, [ACCURACY], 0.02, by_verdict=True)
    assert [change.outcome for change in changes] == ["regression"]


def test_looking_goes_on_until_there_is_a_verdict(make_run, make_failed):
    run = make_run(DRIFTING, DRIFTING[::-1])
    looking = replace(run.info, detect=0.06)
    assert not continuous.is_over(Run(looking, run.cells))
    assert not continuous.is_over(Run(looking, []))
    assert not continuous.is_over(Run(looking, [make_failed("one@base", status="skipped")]))


def test_limits_that_are_looked_at_have_intervals_that_always_hold(make_run):
    times = [1.0, 1.02, 0.98, 1.01, 0.99]
    run = make_run(times, [1.03 * seconds for seconds in times[::-1]])
    (ordinary,) = continuous.compare(run, [TRAIN], 0.02)
    (watched,) = continuous.compare(Run(replace(run.info, detect=0.05), run.cells), [TRAIN], 0.02)
    assert watched.interval.low < ordinary.interval.low
    assert watched.interval.high > ordinary.interval.high
    assert watched.outcome == "inconclusive"


@pytest.fixture
def pace(clock, make_run, make_info):
    """Give a function that makes rounds of 10 s until they are enough; it returns how many, and what was told."""

    def make_rounds(head, gates=(TRAIN, ACCURACY), seconds=1000.0, base=1.0, at_once=1):
        plan = Plan(make_info("one@base", "one@head", rounds=30), [], None)
        info = continuous.paced(plan, gates).info
        told: list[continuous.Outlook] = []
        enough, times = continuous.Pace(gates, seconds, told.append), Times()
        times.slots = at_once
        for made in range(0, 31, at_once):
            run = Run(info, make_run([base] * made, head[:made]).cells)
            for number in range(made, made + at_once):
                if enough(run, times):
                    return made, told
                times.begin(number)
            clock.now += 10.0
            for number in range(made, made + at_once):
                times.end(number)
        raise AssertionError("it goes on and on")

    return make_rounds


NOISE = [1.0, 1.01, 0.99, 1.005, 0.995, 1.0] * 6


@pytest.mark.parametrize(
    ("factor", "rounds"), [(1.0, 4), (1.2, 4), (1.05, 30)], ids=["kept", "broken", "near"]
)
def test_rounds_end_when_each_limit_is_known_to_be_kept_or_broken(pace, factor, rounds):
    seconds = 1000.0 if rounds < 30 else 300.0
    made, _ = pace([factor * noise for noise in NOISE], seconds=seconds)
    assert made == rounds


def test_rounds_end_in_time_but_for_the_fewest(pace):
    slower = [1.05 * noise for noise in NOISE]
    assert pace(slower, seconds=95.0)[0] == 9
    assert pace(slower, seconds=1.0)[0] == continuous.FEWEST_ROUNDS


def test_rounds_of_a_limit_on_accuracies_alone_take_the_time(pace):
    assert pace(NOISE, gates=[ACCURACY], seconds=95.0)[0] == 9
    assert continuous.most_rounds([ACCURACY]) == continuous.ROUNDS
    assert continuous.most_rounds([ACCURACY, TRAIN]) == continuous.MOST_ROUNDS


def test_what_is_to_come_is_told_after_the_first_round_and_the_fewest(pace):
    _, (first, second) = pace([1.05 * noise for noise in NOISE], seconds=125.0)
    assert first == (1, 10.0, 12, 1, None)
    assert second[:4] == (4, 10.0, 12, 1)
    assert second.stdev == pytest.approx(0.0085, rel=0.02)


def test_failed_backend_needs_no_further_round(make_run, make_failed):
    run = make_run([1.0], [])
    run = Run(replace(run.info, detect=0.05), [*run.cells, make_failed("one@head")])
    assert continuous.Pace([TRAIN], 100.0, print)(run, Times())


def test_rounds_that_are_made_at_once_take_less_time_and_are_told_of_once(pace):
    made, told = pace([1.05 * noise for noise in NOISE], seconds=65.0, at_once=5)
    assert made == 30
    assert [(each.rounds, each.fits, each.slots) for each in told] == [(5, 30, 5)]


@pytest.mark.parametrize(
    ("gates", "detect"),
    [
        ([TRAIN], 0.05),
        ([ACCURACY], None),
        ([parse_gate("setup_s:0%")], 0.01),
        ([ACCURACY, TRAIN], 0.05),
    ],
)
def test_what_is_looked_for_is_the_limit_or_the_noise(make_info, gates, detect):
    plan = Plan(make_info("one@base", turns=True), [], None)
    assert continuous.paced(plan, gates).info.detect == detect


def test_rounds_that_one_side_lacks_are_left_out(make_run):
    run = make_run([1.0, 9.0, *[1.0] * 6, 9.0], [1.0, None, *[1.0] * 6])
    (change,) = continuous.compare(run, [TRAIN], 0.02)
    assert (change.base, change.new, change.outcome) == (1.0, 1.0, "passed")


def test_no_common_round_is_missing(make_run):
    (change,) = continuous.compare(make_run([1.0], [None, 1.0]), [TRAIN], 0.02)
    assert change.outcome == "missing"


def test_single_pair_is_inconclusive(make_run):
    changes = continuous.compare(make_run([1.0], [2.0]), [TRAIN, ACCURACY], 0.02)
    assert [change.outcome for change in changes] == ["inconclusive"] * 2


def test_accuracies_are_compared_by_their_differences(make_run):
    run = make_run([1.0] * 3, [1.0] * 3, ((0.9,), (0.89,)))
    (change,) = continuous.compare(run, [ACCURACY], 0.02)
    assert change.interval.ratio == pytest.approx(-0.01)
    assert change.outcome == "regression"


def test_accuracies_after_a_different_number_of_images_are_not_compared(make_run):
    run = make_run([1.0] * 3, [1.0] * 3, ((0.9,), (0.1,)))
    cut = [replace(c, epochs=[replace(e, images=50) for e in c.epochs]) for c in run.cells[3:]]
    (change,) = continuous.compare(Run(run.info, run.cells[:3] + cut), [ACCURACY], 0.02)
    assert [change.base, change.new] == pytest.approx([0.9, 0.1])
    assert change.outcome == "inconclusive"


def test_accuracy_is_that_of_every_round_of_a_side(make_run):
    run = make_run([1.0] * 3, [1.0, 1.0, None], ((0.9,), (0.9,)))
    cells = [
        replace(c, epochs=[replace(c.epochs[0], accuracy=0.6)])
        if (c.backend, c.round) == ("one@base", 2)
        else c
        for c in run.cells
    ]
    (change,) = continuous.compare(Run(run.info, cells), [ACCURACY], 0.02)
    assert [change.base, change.new] == pytest.approx([0.8, 0.9])
    assert change.interval.ratio == 0
    assert change.message == "the change of its accuracy is that of 2 pairs of the same seed"


def test_accuracies_without_a_common_round_are_missing(make_run):
    (change,) = continuous.compare(make_run([1.0], [None, 1.0]), [ACCURACY], 0.02)
    assert change.outcome == "missing"


def test_accuracy_of_zero_counts(make_run):
    run = make_run([1.0] * 3, [1.0] * 3, ((0.0,), (0.0,)))
    (change,) = continuous.compare(run, [ACCURACY], 0.02)
    assert (change.base, change.outcome) == (0.0, "passed")


def test_time_of_zero_has_no_ratio(make_run):
    run = make_run([1.0, 0.0, 1.0], [1.0, 1.0, 0.0])
    (change,) = continuous.compare(run, [TRAIN], 0.02)
    assert (change.base, change.new) == (1.0, 1.0)


def test_unavailable_sides_are_new_and_missing(make_cell, make_info):
    info = make_info("one@base", "two@head")
    cells = [make_cell("one@base"), make_cell("two@head")]
    outcomes = {c.backend: c.outcome for c in continuous.compare(Run(info, cells), [TRAIN], 0.02)}
    assert outcomes == {"one": "missing", "two": "new"}


@pytest.mark.parametrize("rounds", [1, 2, 3, 10])
def test_accuracy_that_fell_in_every_round_is_a_regression(make_straying, make_info, rounds):
    sides = {"numpy": "one@base", "a": "one@head"}
    cells = make_straying(rounds, a=-2.4)
    cells = [replace(cell, backend=sides[cell.backend]) for cell in cells]
    (change,) = continuous.compare(Run(make_info(*sides.values()), cells), [ACCURACY], 0.02)
    assert (change.verdict, change.outcome) == ("lower", "regression")
