"""Tables of numbers: medians, pairs of a round, budgets, statuses, ranks."""

from dataclasses import replace

import pandas as pd
import pytest

from nnbench.figures import frames, metrics
from nnbench.figures.metrics import PHASES as ALL_PHASES

PHASES = [phase.field for phase in ALL_PHASES]
TIMES = ["train_s_per_epoch", "images_per_s", "ratio", "step_us", "gather_us"]


@pytest.fixture(scope="session")
def rounds(make_cell):
    """Give a function that makes a backend's cells, one for each training time."""

    def make(backend, *times, **changes):
        return [make_cell(backend, train_s=s, round=i, **changes) for i, s in enumerate(times)]

    return make


def accuracy(info, cells):
    return frames.accuracy(info, frames.groups(info, cells))


def timing(info, cells):
    return frames.timing(info, frames.groups(info, cells))


def by_backend(frame):
    return frame.set_index("backend")


def test_time_is_the_median_of_the_rounds(make_info, rounds):
    row = timing(make_info(), rounds("numpy", 3.0, 1.0, 10.0)).iloc[0]
    assert row.train_s_per_epoch == 3.0
    assert row.train_s_rounds == "3 1 10"
    assert row.images_per_s == pytest.approx(100 / 3)
    assert row["rounds"] == 3


def test_time_of_several_epochs_is_their_mean(make_info, make_cell):
    row = timing(make_info(), [make_cell(train_s=2.0, accuracies=(0.1, 0.2, 0.3))]).iloc[0]
    assert row.train_s_per_epoch == 2.0


@pytest.mark.parametrize(("images", "train_s", "whole_s"), [(40, 2.0, 5.0), (1, 1.0, 100.0)])
def test_part_of_an_epoch_is_extrapolated(make_info, make_cell, images, train_s, whole_s):
    cell = make_cell(images=images, train_s=train_s, complete=False)
    row = timing(make_info(), [cell]).iloc[0]
    assert row.train_s_per_epoch == pytest.approx(whole_s)
    assert row.images_per_s == pytest.approx(images / train_s)


def test_last_epoch_in_part_counts_with_the_whole_ones(make_cell):
    cell = make_cell(train_s=1.0, accuracies=(0.5, 0.6))
    part = replace(cell.epochs[1], images=50, train_s=2.0)
    cell = replace(cell, epochs=[cell.epochs[0], part], complete=False)
    assert metrics.epoch_s(cell) == pytest.approx(3.0 / 150 * 100)


def test_ratio_is_the_median_of_the_ratios_of_each_round(make_info, rounds):
    cells = [*rounds("numpy", 1.0, 4.0, 2.0), *rounds("other", 4.0, 2.0, 8.0)]
    frame = by_backend(timing(make_info("numpy", "other"), cells))
    assert frame.ratio["other"] == 4.0  # of 4, 0.5 and 4; the medians' ratio is 2
    assert frame.ratio["numpy"] == 1.0


def test_ratio_pairs_the_rounds_whatever_their_order(make_info, rounds):
    cells = [*rounds("numpy", 1.0, 100.0), *reversed(rounds("other", 3.0, 300.0))]
    frame = by_backend(timing(make_info("numpy", "other"), cells))
    assert frame.ratio["other"] == pytest.approx(3.0)


def test_ratio_leaves_out_rounds_without_a_baseline(make_info, rounds, make_failed):
    cells = [*rounds("numpy", 2.0), make_failed("numpy", round=1), *rounds("other", 4.0, 50.0)]
    frame = by_backend(timing(make_info("numpy", "other"), cells))
    assert frame.ratio["other"] == 2.0
    assert pd.isna(frame.ratio["numpy"])


@pytest.mark.parametrize("baseline", ["numpy", "absent"])
def test_ratio_is_missing_without_any_baseline(make_info, make_cell, make_failed, baseline):
    info = make_info("numpy", "other", baseline=baseline)
    frame = by_backend(timing(info, [make_failed("numpy"), make_cell("other")]))
    assert frame.train_s_per_epoch["other"] == 1.0
    assert pd.isna(frame.ratio["other"])


def test_other_parts_are_medians(make_info, make_cell):
    cells = [make_cell(peak_memory_bytes=m, round=i) for i, m in enumerate([10, 90, 20])]
    row = timing(make_info(), cells).iloc[0]
    assert (row.setup_s, row.transfer_s, row.warmup_s) == (0.25, 0.125, 0.5)
    assert row.peak_memory_bytes == 20


def test_phases_are_medians_of_all_their_values(make_info, rounds):
    row = timing(make_info(), rounds("numpy", 1.0, 1.0)).iloc[0]
    assert [row[name] for name in PHASES] == [2.0, 10.0, 20.0, 5.0]
    assert row.phases_us == 37.0


def test_step_is_training_time_by_steps(make_info, make_cell):
    row = timing(make_info(), [make_cell(train_s=1.0, losses=[1.0] * 8)]).iloc[0]
    assert row.step_us == pytest.approx(125_000)


@pytest.mark.parametrize(
    ("field", "columns"),
    [("phases", [*PHASES, "phases_us"]), ("peak_memory_bytes", ["peak_memory_bytes"])],
)
def test_what_a_cell_has_not_measured_is_missing(make_info, make_cell, field, columns):
    row = timing(make_info(), [make_cell(**{field: None})]).iloc[0]
    assert row[columns].isna().all()
    assert row.train_s_per_epoch == 1.0


def test_accuracy_is_the_mean_of_the_last_epochs(make_info, make_cell):
    cells = [make_cell(accuracies=(0.1, 0.8)), make_cell(accuracies=(0.99, 0.9), round=1)]
    row = accuracy(make_info(), cells).iloc[0]
    assert row.accuracy == pytest.approx(0.85)
    assert row.accuracy_stdev == pytest.approx(0.1 / 2**0.5)
    assert row.final_loss == 0.5


def test_single_round_has_no_deviation_of_accuracy(make_info, make_cell):
    row = accuracy(make_info(), [make_cell()]).iloc[0]
    assert row.accuracy == 0.9
    assert row.accuracy_stdev is None


def test_dataset_without_classes_has_no_accuracy(make_info, make_cell):
    row = accuracy(make_info(), [make_cell(accuracies=(None, None))]).iloc[0]
    assert "accuracy" not in row.index
    assert row.final_loss == 0.5


def test_deviation_is_the_largest(make_info, make_cell, make_failed):
    cells = [make_cell(deviation=d, round=i) for i, d in enumerate([1e-8, 1e-6])]
    row = accuracy(make_info(), [*cells, make_failed(round=2)]).iloc[0]
    assert (row.deviation, row.tolerance) == (1e-6, 1e-4)


@pytest.mark.parametrize(
    ("accuracies", "reached", "seconds"),
    [
        ([(0.99, 0.5)], 1, 1.0),  # at the end of the first epoch that did
        ([(0.5, 0.961)], 1, 2.0),
        ([(0.5, 0.9609)], 0, None),
        ([(0.97,), (0.1,), (0.5, 0.5, 0.98)], 2, 2.0),
    ],
)
def test_time_to_target(make_info, make_cell, accuracies, reached, seconds):
    cells = [make_cell(accuracies=a, round=i) for i, a in enumerate(accuracies)]
    row = accuracy(make_info(), cells).iloc[0]
    assert row.target_reached == reached
    assert row.target_s == seconds


def test_workload_without_target_has_no_time_to_it(make_info, make_cell, mnist):
    info = make_info(workload=replace(mnist, target_accuracy=None))
    assert "target_s" not in accuracy(info, [make_cell()]).columns


def test_images_are_those_of_all_epochs(make_info, make_cell):
    cell = make_cell(images=70, accuracies=(0.1, 0.2), complete=False)
    row = accuracy(make_info(), [cell]).iloc[0]
    assert row.images == 140


@pytest.mark.parametrize("table", [accuracy, timing])
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ([{}], "ok"),
        ([{}, {}], "ok"),
        ([{"complete": False}], "budget"),
        ([{}, {"complete": False}], "budget"),
        ([{"status": "invalid"}], "invalid"),
        ([{}, {"status": "crashed"}, {}], "crashed 1/3"),
        ([{"status": "oom"}, {}, {"status": "oom"}], "oom 2/3"),
        ([{"status": "target_missed"}, {}], "target_missed 1/2"),
        ([{"status": "target_missed"}, {"status": "crashed"}], "crashed 1/2"),
        ([{"status": "target_missed"}, {"complete": False}], "target_missed 1/2"),
        ([{"status": "timeout"}, {"status": "crashed"}, {}], "timeout 1/3"),
        ([{"status": "skipped"}], "skipped"),
    ],
)
def test_status_sums_up_the_rounds(make_info, make_cell, table, changes, status):
    cells = [make_cell(round=i, message=c.get("status", ""), **c) for i, c in enumerate(changes)]
    row = table(make_info(), cells).iloc[0]
    assert row.status == status
    budget = "the budget ended training after 100 images; ~ is extrapolated"
    assert row.message == {"ok": "", "budget": budget}.get(status, status.split()[0])


@pytest.mark.parametrize("status", ["invalid", "diverged", "crashed", "timeout", "oom"])
def test_backend_with_a_bad_round_has_no_figures(make_info, rounds, make_cell, status):
    cells = [*rounds("numpy", 1.0, 1.0), make_cell("other"), make_cell("other", status=status)]
    info = make_info("numpy", "other")
    times = by_backend(timing(info, cells))
    qualities = by_backend(accuracy(info, cells))
    assert times.loc["other", TIMES].isna().all()
    assert qualities.loc["other", ["accuracy", "final_loss", "images"]].isna().all()
    assert times.loc["numpy", TIMES].notna().all()


def test_missed_target_still_ranks(make_info, make_cell):
    cell = make_cell(status="target_missed", message="reached 90.00%, not 96.10%")
    row = timing(make_info(), [cell]).iloc[0]
    assert row.train_s_per_epoch == 1.0
    assert row.message == "reached 90.00%, not 96.10%"


@pytest.mark.parametrize("table", [accuracy, timing])
def test_fastest_comes_first_and_failures_last(make_info, rounds, make_failed, table):
    info = make_info("broken", "slow", "fast", unavailable={"absent": "no device"})
    cells = [
        make_failed("absent", "skipped", message="no device"),
        make_failed("broken"),
        *rounds("slow", 9.0, 1.0, 9.0),
        *rounds("fast", 2.0, 20.0, 2.0),
    ]
    assert table(info, cells).backend.tolist() == ["fast", "slow", "broken", "absent"]


def test_partial_epochs_rank_by_the_time_of_a_whole_one(make_info, make_cell):
    cells = [make_cell("part", images=10, complete=False), make_cell("whole", train_s=5.0)]
    assert timing(make_info("part", "whole"), cells).backend.tolist() == ["whole", "part"]


@pytest.mark.parametrize("table", [accuracy, timing])
def test_backend_without_cells_has_no_row(make_info, make_cell, table):
    assert table(make_info("numpy", "later"), [make_cell()]).backend.tolist() == ["numpy"]


@pytest.mark.parametrize("table", [accuracy, timing])
def test_run_without_cells_has_no_rows(make_info, table):
    assert table(make_info(), []).empty


@pytest.mark.parametrize("changes", [{"train_s": 0.0}, {"losses": ()}, {"setup": None}])
def test_cell_that_cannot_be_true_has_no_rank(make_info, make_cell, changes):
    cells = [make_cell("numpy"), make_cell("odd", **changes)]
    frame = by_backend(timing(make_info("numpy", "odd"), cells))
    assert pd.isna(frame.train_s_per_epoch["odd"])
    assert frame.train_s_per_epoch["numpy"] == 1.0


def test_loss_that_is_not_finite_is_missing(make_info, make_cell):
    cell = make_cell()
    cell = replace(cell, epochs=[replace(cell.epochs[0], test_loss=None)])
    assert accuracy(make_info(), [cell]).final_loss[0] is None
