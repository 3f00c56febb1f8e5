"""Two runs: what counts as a regression, and what nnbench ends with."""

import re
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest

from nnbench.contract.errors import ExitCode, IncomparableError
from nnbench.figures.metrics import parse_gate
from nnbench.figures.statistics import Interval
from nnbench.records.cells import Status
from nnbench.runs import comparison
from nnbench.runs.comparison import Samples, Terms
from nnbench.runs.run import Run

FLOOR = 0.02
MEMORY = parse_gate("peak_memory_bytes:5%")
TIME, ACCURACY = parse_gate("train_s_per_epoch:5%"), parse_gate("accuracy:0.5pp")


@pytest.fixture
def make_run(make_cell, make_info):
    """Give a function that makes a run: 10 rounds of backends with 1% of noise."""

    def make(seconds, accuracy=0.95, rounds=10, noise=0.01, seed=0, **changes):
        rng = np.random.default_rng(seed)
        luck = np.random.default_rng(99).normal(0, 0.002, rounds)  # a seed's, in every run
        cells = [
            make_cell(
                name,
                train_s=s * np.exp(rng.normal(0, noise)),
                accuracies=(accuracy + luck[i],),
                round=i,
                seed=i,
            )
            for i in range(rounds)
            for name, s in seconds.items()
        ]
        return Run(make_info(*seconds, **changes), cells)

    return make


def outcomes(base, new, *gates):
    changes = comparison.compare(base, new, gates or (TIME,), FLOOR)
    return {change.backend: change.outcome for change in changes}


def code(base, new, *gates, strict=False):
    changes = comparison.compare(base, new, gates or (TIME, ACCURACY), FLOOR)
    return comparison.exit_code(changes, strict=strict)


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [(0.5, "passed"), (1.0, "passed"), (1.02, "passed"), (1.1, "regression"), (2, "regression")],
)
def test_time_is_held_against_its_limit(make_run, factor, outcome):
    assert outcomes(make_run({"a": 1.0}), make_run({"a": factor}, seed=1)) == {"a": outcome}


def test_effect_within_the_noise_is_inconclusive(make_run):
    base, new = make_run({"a": 1.0}, noise=0.2), make_run({"a": 1.1}, noise=0.2, seed=1)
    assert outcomes(base, new) == {"a": "inconclusive"}
    assert code(base, new) == ExitCode.OK
    assert code(base, new, strict=True) == ExitCode.INCONCLUSIVE


def test_no_limit_is_below_the_floor(make_run):
    base, new = make_run({"a": 1.0}, noise=0), make_run({"a": 1.015}, noise=0)
    assert outcomes(base, new, parse_gate("train_s_per_epoch:1%")) == {"a": "passed"}


def test_single_round_is_inconclusive(make_run):
    base, new = make_run({"a": 1.0}, rounds=1), make_run({"a": 3.0}, rounds=1)
    assert outcomes(base, new) == {"a": "inconclusive"}


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [(0.96, ExitCode.OK), (0.948, ExitCode.OK), (0.94, ExitCode.ACCURACY)],
)
def test_accuracy_is_compared_seed_by_seed(make_run, accuracy, expected):
    base, new = make_run({"a": 1.0}), make_run({"a": 1.0}, accuracy)
    assert code(base, new, ACCURACY, strict=True) == expected


def test_accuracies_of_other_seeds_are_compared_too(make_run):
    base, new = make_run({"a": 1.0}), make_run({"a": 1.0}, 0.9)
    other = Run(new.info, [replace(cell, seed=cell.seed + 100) for cell in new.cells])
    assert code(base, other, ACCURACY) == ExitCode.ACCURACY


@pytest.mark.parametrize("slower", [1.0, 3.0])
def test_other_machine_is_compared_by_ratios_to_the_baseline(make_run, make_info, slower):
    environment = replace(make_info().environment, cpu="a slower one")
    base = make_run({"numpy": 1.0, "a": 2.0})
    new = make_run({"numpy": slower, "a": 2.0 * slower}, seed=1, environment=environment)
    assert outcomes(base, new) == {"numpy": "not comparable", "a": "passed"}
    worse = make_run({"numpy": slower, "a": 3.0 * slower}, seed=1, environment=environment)
    assert outcomes(base, worse) == {"numpy": "not comparable", "a": "regression"}


OTHER_HARDWARE = {
    "cpu": ("another", "CPU (A CPU, another)"),
    "physical_cores": (4, "cores (none, 4)"),
    "logical_cores": (64, "logical cores (2, 64)"),
    "memory_bytes": (2**40, "GiB of memory (1, 1024)"),
    "gpus": (["one", "two"], "GPUs (A GPU, one, two)"),
}
OTHER_SOFTWARE = {
    "system": ("Windows", "system (Linux, Windows)"),
    "python": ("CPython 3.13", "Python (CPython 3.11, CPython 3.13)"),
    "versions": ({"nnbench-harness": "0.2", "numpy": "2.0.1", "torch": "2"}, None),
}


@pytest.mark.parametrize("name", OTHER_HARDWARE)
def test_other_hardware_is_named_and_makes_ratios(make_run, make_info, name):
    value, text = OTHER_HARDWARE[name]
    there = replace(make_info().environment, **{name: value})
    times = {"numpy": 1.0, "a": 2.0}
    found = comparison.terms(make_run(times), make_run(times, environment=there))
    assert found == Terms([text], [], "numpy")
    assert (found.unit(TIME.metric), found.unit(ACCURACY.metric)) == ("× numpy", "%")


@pytest.mark.parametrize("name", OTHER_SOFTWARE)
def test_other_software_is_named_and_times_are_compared(make_run, make_info, name):
    value, text = OTHER_SOFTWARE[name]
    after = replace(make_info().environment, **{name: value})
    base, new = make_run({"numpy": 1.0}), make_run({"numpy": 1.2}, environment=after)
    versions = ["nnbench-harness (0.1, 0.2)", "numpy (2.0, 2.0.1)", "torch (none, 2)"]
    assert comparison.terms(base, new) == Terms([], [text] if text else versions)
    assert outcomes(base, new) == {"numpy": "regression"}


def test_what_does_not_change_a_time_makes_no_difference(make_run, make_info):
    here = make_info().environment
    later = replace(here, git="another", memory_bytes=here.memory_bytes + 9, usable_cores=1)
    assert comparison.terms(make_run({"a": 1}), make_run({"a": 1}, environment=later)) == Terms(
        [], []
    )


@pytest.mark.parametrize(
    ("status", "outcome", "expected"),
    [
        ("crashed", "failed", ExitCode.BACKEND_FAILED),
        ("timeout", "failed", ExitCode.BACKEND_FAILED),
        ("invalid", "wrong", ExitCode.ACCURACY),
        ("diverged", "wrong", ExitCode.ACCURACY),
        ("skipped", "missing", ExitCode.NOTHING_MEASURED),
    ],
)
def test_backend_without_figures_is_never_a_pass(make_run, make_failed, status, outcome, expected):
    base, new = make_run({"a": 1.0, "b": 1.0}), make_run({"a": 1.0})
    bad = make_failed("b", status, message="why")
    new = Run(base.info, [*new.cells, bad])
    [change] = [c for c in comparison.compare(base, new, [TIME], FLOOR) if c.backend == "b"]
    assert (change.outcome, change.message.split(": ")[-1]) == (outcome, "why")
    assert code(base, new) == expected


def test_backend_that_is_gone_is_missing(make_run):
    base, new = make_run({"a": 1.0, "b": 1.0}), make_run({"a": 1.0})
    assert outcomes(base, new) == {"a": "passed", "b": "missing"}
    assert comparison.compare(base, new, [TIME], FLOOR)[1].message == "not part of the new run"


def test_backend_that_is_new_is_no_regression(make_run):
    base, new = make_run({"a": 1.0}), make_run({"a": 1.0, "b": 1.0})
    assert outcomes(base, new) == {"a": "passed", "b": "new"}
    assert comparison.compare(base, new, [TIME], FLOOR)[1].message == "not measured in the base run"
    assert code(base, new) == ExitCode.OK


def test_nothing_in_common_is_an_error(make_run):
    assert code(make_run({"a": 1.0}), make_run({"b": 1.0})) == ExitCode.NOTHING_MEASURED


def test_empty_runs_are_an_error(make_info):
    empty = Run(make_info("a"), [])
    assert code(empty, empty) == ExitCode.NOTHING_MEASURED


def test_different_workloads_are_refused(make_run, mnist):
    other = make_run({"a": 1.0}, workload=replace(mnist, name="other"))
    with pytest.raises(
        IncomparableError, match=r"^the runs trained .*workloads \(mnist and other\)$"
    ):
        comparison.compare(make_run({"a": 1.0}), other, [TIME], FLOOR)
    other = make_run({"a": 1.0}, workload=replace(mnist, epochs=99, l2=0.5))
    names = rf"mnist: {', '.join(mnist.differences(other.info.workload))}"
    assert ", " in names
    with pytest.raises(IncomparableError, match=f"workloads .{re.escape(names)}.$"):
        comparison.compare(make_run({"a": 1.0}), other, [TIME], FLOOR)


@pytest.mark.parametrize(
    ("baselines", "divisor"), [("ab", "a"), ("xb", "b"), ("ax", "a"), ("xx", None), ("xy", None)]
)
def test_other_hardware_needs_a_baseline_of_either_run(make_run, make_info, baselines, divisor):
    environment = replace(make_info().environment, cpu="another")
    times, (one, other) = {"a": 1.0, "b": 1.0}, baselines
    base = make_run(times, baseline=one)
    new = make_run(times, baseline=other, environment=environment)
    assert comparison.terms(base, new).divisor == divisor
    found = outcomes(base, new)
    if divisor:
        assert found.pop(divisor) == "not comparable"
        assert set(found.values()) == {"passed"}
    else:
        assert set(found.values()) == {"unmatched"}
        assert code(base, new) == ExitCode.INCOMPARABLE
        assert set(outcomes(base, new, ACCURACY).values()) == {"passed"}


@pytest.mark.parametrize("others", ["", "b"])
def test_backend_without_another_in_both_runs_is_no_baseline(make_run, make_info, others):
    environment = replace(make_info().environment, cpu="another")
    base = make_run({"a": 1.0, **dict.fromkeys(others, 1.0)}, baseline="a")
    new = make_run({"a": 9.0}, baseline="a", environment=environment)
    assert outcomes(base, new)["a"] == "unmatched"
    assert code(base, new) == ExitCode.INCOMPARABLE


def test_baseline_that_failed_divides_nothing_and_decides(make_run, make_info, make_failed):
    environment = replace(make_info().environment, cpu="another")
    base = make_run({"numpy": 1.0, "a": 1.0})
    new = make_run({"a": 1.0}, environment=environment)
    new = Run(replace(base.info, machines=new.info.machines), [*new.cells, make_failed("numpy")])
    assert outcomes(base, new) == {"numpy": "failed", "a": "unmatched"}
    assert code(base, new) == ExitCode.BACKEND_FAILED


#: Verdicts that an outcome bears out; one that is worse may yet be within its limit.
ALLOWED = {
    "passed": {"same", "faster", "slower", "higher", "lower", "no worse"},
    "regression": {"slower", "lower"},
    "different": {"higher"},
    "inconclusive": {"inconclusive"},
}


@pytest.mark.parametrize("limit", ["train_s_per_epoch:0%", "train_s_per_epoch:5%", "setup_s:40%"])
def test_verdict_and_outcome_of_a_time_never_contradict_each_other(make_run, limit):
    run, gate, seen = make_run({"a": 1.0}), parse_gate(limit), set()
    ends = [0.5, 0.94, 0.97, 0.99, 1.0, 1.01, 1.03, 1.06, 1.2, 1.5]
    for low, middle, high in combinations_with_replacement(ends, 3):
        samples = Samples([1.0], [middle], Interval(middle, low, high))
        [change] = comparison.find_changes(
            run, run, [gate], FLOOR, lambda *_, s=samples: s, Terms([], [])
        )
        assert change.verdict in ALLOWED[change.outcome]
        if change.outcome == "passed":
            assert change.verdict != "slower" or high - 1 <= gate.threshold
        seen.add((change.verdict, change.outcome))
    assert {("no worse", "passed"), ("slower", "regression")} < seen


@pytest.mark.parametrize("rounds", [1, 3, 10])
@pytest.mark.parametrize("seed", [0, None])
def test_verdict_and_outcome_of_an_accuracy_never_do(make_straying, make_info, rounds, seed):
    seen = set()
    for points in (-3, -1, -0.7, -0.4, -0.2, 0, 0.2, 0.4, 0.7, 1, 3):
        verdict, outcome, _ = moved(make_straying, make_info, points, rounds=rounds, seed=seed)
        assert verdict in ALLOWED[outcome]
        seen.add((verdict, outcome))
    assert ("inconclusive", "inconclusive") in seen


def test_other_machine_is_compared_by_its_turns(make_run, make_info, in_turns):
    environment = replace(make_info().environment, cpu="another")
    times = {"a": 1.0, "numpy": 1.0}
    base, new = make_run(times), make_run(times, environment=environment)
    cells = [in_turns(c, [(1.3 if c.backend == "a" else 1.0, 10)]) for c in new.cells]
    changes = comparison.compare(base, Run(new.info, cells), [TIME], FLOOR)
    [change] = [change for change in changes if change.backend == "a"]
    assert change.outcome == "regression"
    assert change.new == pytest.approx(1.3)


def test_gravest_finding_decides(make_run, make_failed):
    base = make_run({"a": 1.0, "b": 1.0, "c": 1.0})
    new = make_run({"a": 2.0, "b": 1.0}, seed=1)
    assert code(base, Run(base.info, [*new.cells, make_failed("c")])) == ExitCode.BACKEND_FAILED
    assert code(base, make_run({"a": 2.0, "b": 1.0, "c": 1.0}, seed=1)) == ExitCode.REGRESSION


def constant(make_run, *, rounds=6, **figures):
    """Make a run whose rounds are all alike: a time, and an accuracy in halves."""
    run = make_run({"a": figures.get("time", 1.0)}, rounds=rounds, noise=0)
    accuracy = figures.get("accuracy", 0.5)
    epochs = [replace(run.cells[0].epochs[0], accuracy=accuracy)]
    return Run(run.info, [replace(cell, epochs=epochs) for cell in run.cells])


def spoiled(run, **changes):
    """Change the first cell of a run."""
    return Run(run.info, [replace(run.cells[0], **changes), *run.cells[1:]])


def test_change_has_the_medians_of_both_runs_and_what_they_say(make_run):
    base, new = constant(make_run, time=2.0), constant(make_run, time=3.0)
    [change] = comparison.compare(base, new, [TIME], FLOOR)
    assert (change.backend, change.gate, change.base, change.new) == ("a", TIME, 2.0, 3.0)
    assert (change.interval.ratio, change.verdict) == (pytest.approx(1.5), "slower")
    [change] = comparison.compare(base, constant(make_run, accuracy=0.25), [ACCURACY], FLOOR)
    assert (change.gate, change.base, change.new) == (ACCURACY, 0.5, 0.25)
    assert (change.interval.ratio, change.verdict) == (-0.25, None)


@pytest.mark.parametrize("which", [0, 1])
def test_figure_of_one_run_alone_is_missing(make_run, which):
    runs = [constant(make_run), constant(make_run)]
    cells = [replace(cell, peak_memory_bytes=None) for cell in runs[which].cells]
    runs[which] = Run(runs[which].info, cells)
    base, new = runs
    [change] = comparison.compare(base, new, [MEMORY], FLOOR)
    assert (change.backend, change.gate, change.outcome) == ("a", MEMORY, "missing")
    assert change.message == "peak_memory_bytes was not measured in both runs"


@pytest.mark.parametrize("which", [0, 1])
def test_accuracy_of_one_run_alone_is_missing(make_run, which):
    runs = [constant(make_run), constant(make_run)]
    runs[which] = constant(make_run, accuracy=None)
    assert outcomes(runs[0], runs[1], ACCURACY) == {"a": "missing"}


def test_problem_of_a_backend_is_that_of_each_figure(make_run, make_failed):
    base = constant(make_run)
    new = Run(base.info, [make_failed("a", message="why")])
    changes = comparison.compare(base, new, [TIME, ACCURACY], FLOOR)
    assert [(c.backend, c.gate, c.outcome) for c in changes] == [
        ("a", TIME, "failed"),
        ("a", ACCURACY, "failed"),
    ]


def test_cells_without_the_figure_are_left_out(make_run):
    base, new = constant(make_run), spoiled(constant(make_run), peak_memory_bytes=None)
    [change] = comparison.compare(base, new, [MEMORY], FLOOR)
    assert (change.base, change.new, change.outcome) == (5e7, 5e7, "passed")


def test_cells_that_do_not_count_are_left_out(make_run):
    base = constant(make_run, rounds=1)
    wrong = replace(base.cells[0], status=Status.INVALID, round=1, seed=1, peak_memory_bytes=1)
    base = Run(base.info, [*base.cells, wrong])
    [change] = comparison.compare(base, constant(make_run), [MEMORY], FLOOR)
    assert change.base == 5e7


@pytest.mark.parametrize("status", [Status.INVALID, Status.CRASHED, Status.DIVERGED])
def test_bad_accuracy_of_the_base_hides_no_regression(make_run, status):
    base, new = constant(make_run), constant(make_run, accuracy=0.25)
    epochs = [replace(base.cells[0].epochs[0], accuracy=0.0)]
    cells = [replace(cell, status=status, epochs=epochs) for cell in base.cells[2:]]
    base = Run(base.info, [*base.cells[:2], *cells])
    [change] = comparison.compare(base, new, [ACCURACY], FLOOR)
    assert (change.base, change.outcome) == (0.5, "regression")


def test_two_seeds_are_enough_to_compare_them_in_pairs(make_run):
    luck = [0.25, 0.75]  # far more than the change
    base = constant(make_run, rounds=2)
    cells = [
        replace(cell, epochs=[replace(cell.epochs[0], accuracy=accuracy)])
        for cell, accuracy in zip(base.cells, luck, strict=True)
    ]
    base = Run(base.info, cells)
    [change] = comparison.compare(base, base, [ACCURACY], FLOOR)
    assert (change.interval.low, change.interval.high, change.outcome) == (0, 0, "passed")


@pytest.mark.parametrize(
    ("gate", "figures", "outcome"),
    [
        ("train_s_per_epoch:50%", {"time": 1.5}, "passed"),  # at the limit, not beyond
        ("accuracy:25pp", {"accuracy": 0.25}, "passed"),
        ("accuracy:24.9pp", {"accuracy": 0.25}, "regression"),
        ("train_s_per_epoch:49.9%", {"time": 1.5}, "regression"),
    ],
)
def test_limit_itself_is_allowed(make_run, gate, figures, outcome):
    base, new = constant(make_run), constant(make_run, **figures)
    assert outcomes(base, new, parse_gate(gate)) == {"a": outcome}


def test_seeds_that_were_drawn_make_no_pairs(make_run):
    base, new = make_run({"a": 1.0}), make_run({"a": 1.0}, accuracy=0.948, seed=1)
    drawn = Run(replace(new.info, seed=None), new.cells)
    widths = []
    for run in (new, drawn):
        [change] = comparison.compare(base, run, [ACCURACY], FLOOR)
        widths.append(change.interval.high - change.interval.low)
    assert widths[0] < widths[1] / 100


def test_classes_of_precision_are_not_compared(make_run):
    base, new = make_run({"a": 1.0, "b": 1.0}), make_run({"a": 0.5, "b": 1.0}, seed=1)
    faster = [replace(c, precision="tf32") if c.backend == "a" else c for c in new.cells]
    new = Run(new.info, faster)
    assert outcomes(base, new) == {"a": "unmatched", "b": "passed"}
    [change, _] = comparison.compare(base, new, [TIME], FLOOR)
    assert change.message == "products in tf32, and in float32 in the base run"
    assert (change.base, change.interval) == (None, None)
    assert code(base, new, TIME) == ExitCode.INCOMPARABLE
    assert outcomes(new, new)["a"] == "passed"


@pytest.mark.parametrize(("proof", "told"), [("full", True), ("off", True), (None, False)])
def test_figures_that_nobody_proved_are_said_to_be_so(make_run, proof, told):
    base, new = make_run({"a": 1.0}), make_run({"a": 1.0}, seed=1, proof=proof)
    new = Run(new.info, [replace(cell, proof=None) for cell in new.cells])
    [change] = comparison.compare(base, new, [TIME], FLOOR)
    assert change.outcome == "passed"
    assert change.message == ("not proved, so its figures are its own word" if told else "")


def moved(make_straying, make_info, points, *, rounds=3, limit=ACCURACY, proof=None, **changes):
    """Return what is said of a backend whose accuracy moved by some points between two runs."""
    base, new = (
        Run(make_info("a", **changes), [replace(cell, proof=proof) for cell in cells[1::2]])
        for cells in (make_straying(rounds, a=more) for more in (0, points))
    )
    [change] = comparison.compare(base, new, [limit], FLOOR)
    return change.verdict, change.outcome, change.code(strict=True)


@pytest.mark.parametrize("rounds", [1, 2, 3, 10])
def test_lower_accuracy_is_found_in_any_number_of_rounds(make_straying, make_info, rounds):
    found = moved(make_straying, make_info, -2.4, rounds=rounds)
    assert found == ("lower", "regression", ExitCode.ACCURACY)


@pytest.mark.parametrize("rounds", [1, 2, 3, 10])
def test_lower_accuracy_of_drawn_seeds_takes_two_rounds(make_straying, make_info, rounds):
    found = moved(make_straying, make_info, -2.4, rounds=rounds, seed=None)
    lower = ("lower", "regression", ExitCode.ACCURACY)
    assert found == (
        ("inconclusive", "inconclusive", ExitCode.INCONCLUSIVE) if rounds == 1 else lower
    )


def test_equal_accuracies_pass_even_strictly(make_straying, make_info):
    found = moved(make_straying, make_info, 0, rounds=1)
    assert found == ("same", "passed", ExitCode.OK)


def test_higher_accuracy_must_be_proved(make_straying, make_info, make_proof):
    proofs = {"none": None, "some": make_proof(proved=9), "whole": make_proof()}
    found = {
        name: moved(make_straying, make_info, 2.4, proof=proof) for name, proof in proofs.items()
    }
    different = ("higher", "different", ExitCode.ACCURACY)
    assert found == {
        "none": different,
        "some": different,
        "whole": ("higher", "passed", ExitCode.OK),
    }
    within = moved(make_straying, make_info, 0.3, rounds=10)
    assert within == ("higher", "passed", ExitCode.OK)  # the limit is half a point


def test_no_limit_on_an_accuracy_is_below_what_rounding_does(make_straying, make_info):
    limit = parse_gate("accuracy:0pp")
    found = moved(make_straying, make_info, -0.05, rounds=10, limit=limit)
    assert found == ("same", "passed", ExitCode.OK)
    assert moved(make_straying, make_info, -0.35, rounds=10, limit=limit)[1] == "regression"


def test_accuracies_of_other_lengths_are_not_compared(make_run):
    base, new = constant(make_run), constant(make_run, accuracy=0.25)
    epochs = [replace(new.cells[0].epochs[0], images=50)]
    new = Run(new.info, [replace(cell, epochs=epochs) for cell in new.cells])
    [change] = comparison.compare(base, new, [ACCURACY], FLOOR)
    assert (change.base, change.new, change.interval) == (0.5, 0.25, None)
    assert change.outcome == "inconclusive"


@pytest.fixture
def spread(make_run, make_info):
    """Give a function that makes a run on machines: what each is changed in, and how much slower it is."""

    def make(times, machines, seed=0, **changes):
        run, here = make_run(times, seed=seed, **changes), make_info().machine
        names = [*machines]
        found = {
            name: replace(here, environment=replace(here.environment, **own))
            for name, (own, _) in machines.items()
        }
        cells = [
            scaled(replace(c, machine=names[c.round % len(names)]), machines) for c in run.cells
        ]
        return Run(replace(run.info, machines=found), cells)

    def scaled(cell, machines):
        factor = machines[cell.machine][1]
        return replace(cell, epochs=[replace(e, train_s=e.train_s * factor) for e in cell.epochs])

    return make


HERE, THERE, BEYOND = ({"cpu": cpu} for cpu in ("Here", "There", "Beyond"))
TIMES = {"numpy": 1.0, "a": 2.0}


def test_one_machine_is_compared_with_twenty_of_its_kind(spread):
    base = spread(TIMES, {"m": (HERE, 1)})
    twenty = {f"m{i}": (HERE, 1) for i in range(20)}
    assert comparison.terms(base, spread(TIMES, twenty, rounds=40)) == Terms([], [])
    assert outcomes(base, spread(TIMES, twenty, seed=1, rounds=40)) == {
        "numpy": "passed",
        "a": "passed",
    }
    slower = spread({"numpy": 1.0, "a": 2.5}, twenty, seed=1, rounds=40)
    assert outcomes(base, slower) == {"numpy": "passed", "a": "regression"}


def test_absolute_times_are_compared_where_both_have_the_hardware(spread):
    base = spread(TIMES, {"m": (HERE, 1)})
    new = spread(TIMES, {"x": (HERE, 1), "y": (THERE, 50)}, seed=1, rounds=20)
    changes = comparison.compare(base, new, [TIME, ACCURACY], FLOOR)
    assert [(c.kind, c.outcome) for c in changes if c.gate is TIME] == [("Here", "passed")] * 2
    assert all(c.new < 3 and c.unit == "s" for c in changes if c.gate is TIME)
    assert [(c.kind, c.outcome) for c in changes if c.gate is ACCURACY] == [("", "passed")] * 2
    text = comparison.terms(base, new).text
    assert text == (
        "The same hardware: times are compared as they are, each kind of machine by itself (Here). "
        "Times on what only one of the runs has are left out: There."
    )


def test_kind_that_got_slower_is_no_average_of_all(spread):
    machines = {"x": (HERE, 1), "y": (THERE, 50)}
    base = spread(TIMES, machines, rounds=20)
    new = spread(TIMES, {"y2": (THERE, 60), "x2": (HERE, 1)}, seed=1, rounds=20)
    changes = comparison.compare(base, new, [TIME], FLOOR)
    assert [(c.backend, c.kind, c.outcome) for c in changes] == [
        (name, kind, outcome)
        for name in ("numpy", "a")
        for kind, outcome in (("Here", "passed"), ("There", "regression"))
    ]


def test_software_of_a_kind_is_matched_before_all_of_its_hardware(spread):
    newer = {**HERE, "versions": {"nnbench": "0.1", "numpy": "2.1"}}
    base = spread(TIMES, {"x": (HERE, 1), "y": (newer, 3)}, rounds=20)
    same = spread(TIMES, {"z": (newer, 3)}, seed=1)
    assert outcomes(base, same) == {"numpy": "passed", "a": "passed"}
    assert comparison.terms(base, same).software == []
    newest = {**HERE, "versions": {"nnbench": "0.1", "numpy": "2.2"}}
    after = spread(TIMES, {"z": (newest, 1)}, seed=1)
    assert comparison.terms(base, after) == Terms([], ["numpy (2.0, 2.2)"])


def test_other_machines_leave_ratios(spread):
    base = spread(TIMES, {"x": (HERE, 1), "y": (THERE, 50)}, rounds=20)
    new = spread(TIMES, {"z": (BEYOND, 7)}, seed=1)
    assert outcomes(base, new) == {"numpy": "not comparable", "a": "passed"}
    text = "Other hardware, Here and There against Beyond: times are relative to numpy."
    assert comparison.terms(base, new).text == text


def test_backend_that_ran_on_no_hardware_of_both_is_unmatched(spread):
    machines = {"x": (HERE, 1), "y": (THERE, 50)}
    base, new = (spread(TIMES, machines, seed=i, rounds=20) for i in range(2))
    ours, theirs = (
        Run(run.info, [c for c in run.cells if c.backend == "numpy" or c.machine == name])
        for run, name in ((base, "x"), (new, "y"))
    )
    changes = comparison.compare(ours, theirs, [TIME], FLOOR)
    last = changes[-1]
    assert (last.backend, last.outcome) == ("a", "unmatched")
    assert last.message == "its times are of no hardware that both runs have"


def test_backend_of_which_all_is_lost_is_missing_and_says_so(make_run, make_failed):
    base, new = make_run({"a": 1.0, "b": 1.0}), make_run({"a": 1.0})
    lost = [make_failed("b", "lost", round=i, message="gone", machine="unknown") for i in range(3)]
    [change] = [
        c
        for c in comparison.compare(base, Run(base.info, [*new.cells, *lost]), [TIME], FLOOR)
        if c.backend == "b"
    ]
    assert (change.outcome, change.message) == ("missing", "lost: gone")
