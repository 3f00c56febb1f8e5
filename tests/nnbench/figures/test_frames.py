"""Tables of numbers: medians, pairs of a round, budgets, statuses, ranks."""

from dataclasses import replace

import pandas as pd
import pytest

from nnbench.figures import frames, metrics, statistics
from nnbench.figures.columns import COLUMNS
from nnbench.figures.metrics import LOST
from nnbench.figures.metrics import PHASES as ALL_PHASES
from nnbench.records.cells import Deviations, Part, Status
from nnbench.records.runs import Meter

PHASES = [phase.field for phase in ALL_PHASES]
TIMES = ["train_s_per_epoch", "images_per_s", "ratio", "step_us", "gather_us"]


@pytest.fixture(scope="session")
def rounds(make_cell):
    """Give a function that makes a backend's cells, one for each training time."""

    def make(backend, *times, **changes):
        return [make_cell(backend, train_s=s, round=i, **changes) for i, s in enumerate(times)]

    return make


def in_pandas(frame):
    """Return a frame as pandas has it, to be looked at column by column."""
    return pd.DataFrame(map(vars, frame))


def accuracy(info, cells):
    return in_pandas(frames.accuracy(info, frames.groups(info, cells)))


def timing(info, cells):
    return in_pandas(frames.timing(info, frames.groups(info, cells)))


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


def test_block_in_turns_is_one_pair(make_info, rounds, in_turns):
    base, other = (
        [in_turns(c, [(1.0, 10), (1.0, 10), (share, 10)]) for c in rounds(name, 1.0, 1.0, 1.0)]
        for name, share in (("numpy", 9.0), ("other", 1.0))
    )
    frame = by_backend(timing(make_info("numpy", "other"), [*base, *other]))
    ratios = frame.ratio["other"], frame.ratio_low["other"]
    assert ratios == pytest.approx((1.0, 1.0), abs=1e-3)  # the slow part of one hardly counts
    assert frame["rounds"]["other"] == 3
    assert frame.train_s_per_epoch["numpy"] == 1.0  # that of whole cells


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


def test_ratio_across_devices_says_so(make_info, make_cell):
    info = make_info("numpy", "gpu", "other")
    cells = [make_cell("numpy", train_s=2.0), make_cell("gpu"), make_cell("other", train_s=3.0)]
    cells[1] = replace(cells[1], setup=replace(cells[1].setup, device="cuda"))
    groups = frames.groups(info, cells)
    frame = {row.backend: row for row in frames.timing(info, groups)}
    assert [frame[name].device for name in ("numpy", "gpu", "other")] == ["cpu", "cuda", "cpu"]
    assert [frame[name].ratio_devices for name in ("numpy", "gpu", "other")] == [
        *(None, "cuda against cpu", None)
    ]
    assert COLUMNS["ratio"].text(frame["gpu"]) == "0.500 (cuda against cpu)"
    assert COLUMNS["speedup"].text(frame["gpu"]) == "2.00 (cuda against cpu)"
    assert COLUMNS["ratio"].text(frame["other"]) == "1.50"
    pairs = {(row.backend, row.over): row.ratio_devices for row in frames.pairs(info, groups)}
    assert pairs == {
        ("numpy", "gpu"): "cpu against cuda",
        ("other", "gpu"): "cpu against cuda",
        ("other", "numpy"): None,
    }


def test_other_parts_are_medians(make_info, make_cell):
    cells = [
        make_cell(peak_memory_bytes=m, training_memory_bytes=m - 5, round=i)
        for i, m in enumerate([10, 90, 20])
    ]
    row = timing(make_info(), cells).iloc[0]
    assert (row.setup_s, row.transfer_s, row.warmup_s) == (0.25, 0.125, 0.5)
    assert (row.peak_memory_bytes, row.training_memory_bytes) == (20, 15)
    assert row.device_memory_bytes is None


METERS = [
    Meter(name="package-0", idle_w=20.0),
    Meter(name="package-1", idle_w=30.0),
    Meter(name="GPU", problem="no driver"),
]


def used(cell, joules, **changes):
    """Return a cell whose only part used so much."""
    [epoch] = cell.epochs
    part = Part(images=epoch.images, train_s=epoch.train_s, wall_s=epoch.train_s, cpu_j=joules)
    return replace(cell, epochs=[replace(epoch, parts=[part])], **changes)


def test_energy_is_a_median_beside_the_idle_power_of_what_was_counted(make_info, rounds):
    cells = [
        used(cell, joules, meters=["package-1"])
        for cell, joules in zip(rounds("numpy", 1.0, 1.0, 1.0), (50.0, 70.0, 40.0), strict=True)
    ]
    row = timing(make_info(meters=METERS), cells).iloc[0]
    assert (row.energy_j_per_epoch, row.images_per_j, row.idle_w) == (50.0, 2.0, 30.0)
    assert row.gpu_j_per_epoch is row.energy_missing is None


@pytest.mark.parametrize(
    ("meters", "device", "reason"),
    [
        ([], "cpu", "not looked for when the run was made"),
        ([Meter(name="CPU", problem="hidden")], "cpu", "CPU: hidden"),
        (METERS, "cuda", "GPU: no driver"),
        (METERS, "cpu", "a counter could not be read all the time"),
        (METERS[:2], "cuda", "GPU: too little was trained while it was counted"),
    ],
)
def test_reason_stands_where_energy_is_not_known(make_info, make_cell, meters, device, reason):
    cell = make_cell()
    cell = used(replace(cell, setup=replace(cell.setup, device=device)), None)
    row = timing(make_info(meters=meters), [cell]).iloc[0]
    assert row.energy_missing == reason
    assert row[["energy_j_per_epoch", "images_per_j", "gpu_j_per_epoch", "idle_w"]].isna().all()


def test_phases_are_medians_of_all_their_values(make_info, rounds):
    row = timing(make_info(), rounds("numpy", 1.0, 1.0)).iloc[0]
    assert [row[name] for name in PHASES] == [2.0, 10.0, 20.0, 5.0]
    assert row.phases_us == 37.0


@pytest.mark.parametrize("backprop_us", [[0.0], [0.0, 0.0, 7.0]])
def test_a_phase_that_is_lost_in_noise_is_missing_and_said(make_info, make_cell, backprop_us):
    phases = replace(make_cell().phases, backprop_us=backprop_us)
    row = timing(make_info(), [make_cell(phases=phases)]).iloc[0]
    assert row[["backprop_us", "phases_us"]].isna().all()
    assert row.feedforward_us == 10.0
    assert row.remarks == LOST.format("backprop")


def test_a_phase_that_is_lost_less_than_half_of_the_times_has_its_median(make_info, make_cell):
    phases = replace(make_cell().phases, backprop_us=[0.0, 6.0, 7.0])
    row = timing(make_info(), [make_cell(phases=phases)]).iloc[0]
    assert (row.backprop_us, row.phases_us, row.remarks) == (6.0, 23.0, "")


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
        ([(0.97,), (0.1,), (0.5, 0.5, 0.98)], 2, 3.0),  # who has not is later than all who have
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
    budget = "the budget ended training after 100 images; ~ is extrapolated; a larger --budget lets it rank"
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


LISTED = {
    "target_missed": {"status": "target_missed", "message": "reached 90.00%, not 96.10%"},
    "budget": {"complete": False},
    "not proved": {"proof": None},
    "other optimizer": {"other_optimizer": "it rounds up"},
}


@pytest.fixture(params=[*LISTED, "off", "nothing proved", "not in one round"])
def listed(request, make_proof):
    """Give what makes a cell one that is listed, and why it has no rank."""
    match request.param:
        case "off" | "nothing proved" as kind:
            mode = "off" if kind == "off" else "full"
            return {"proof": make_proof(mode, proved=0 if kind != "off" else 10)}, "not proved"
        case "not in one round":
            return [{}, {"proof": None}], "not proved"
        case known:
            return LISTED[known], known


def test_what_missed_its_goal_is_listed_below_the_ranking(make_info, make_cell, listed):
    changes, reason = listed
    changes = changes if isinstance(changes, list) else [changes, changes]
    cells = [make_cell("numpy", train_s=2.0, round=i) for i in range(2)]
    cells += [make_cell("other", train_s=1.0, round=i, **each) for i, each in enumerate(changes)]
    frame = timing(make_info("numpy", "other"), cells)
    assert frame.backend.tolist() == ["numpy", "other"]
    row = by_backend(frame).loc["other"]
    assert row.train_s_per_epoch == 1.0
    assert row[["rank", "ratio", "ratio_low", "ratio_high", "p_value", "verdict"]].isna().all()
    assert row.no_rank == reason
    assert row.message
    assert by_backend(frame).no_rank["numpy"] == ""
    assert by_backend(frame)["rank"]["numpy"] == 1


def test_another_optimizer_need_not_come_to_the_same_accuracy(make_info, make_cell):
    cells = [
        make_cell(name, round=number, accuracies=[reached], test_images=1000, **changes)
        for number in range(4)
        for name, reached, changes in (
            ("numpy", 0.9, {}),
            ("low", 0.7, {}),
            ("other", 0.7, LISTED["other optimizer"]),
        )
    ]
    frame = by_backend(accuracy(make_info("numpy", "low", "other"), cells))
    assert frame.accuracy_verdict["low"] == "lower"
    assert pd.isna(frame.accuracy_verdict["other"])
    assert frame.difference["other"] == pytest.approx(-0.2)
    assert "asked for: it rounds up" in frame.message["other"]


def test_nothing_is_compared_with_a_baseline_that_has_no_rank(make_info, make_cell, listed):
    changes, _ = listed
    changes = changes[1] if isinstance(changes, list) else changes
    cells = [make_cell("numpy", **changes), make_cell("other", train_s=2.0)]
    frame = by_backend(timing(make_info("numpy", "other"), cells))
    assert frame.ratio.isna().all()
    assert frame["rank"]["other"] == 1


def test_rounds_of_the_baseline_that_rank_are_compared_with(make_info, rounds, make_cell):
    cells = [*rounds("numpy", 1.0), make_cell("numpy", round=1, complete=False)]
    frame = by_backend(timing(make_info("numpy", "b"), [*cells, *rounds("b", 2.0, 9.0)]))
    assert frame.ratio["b"] == 2.0


@pytest.mark.parametrize("mode", ["full", "sampled"])
def test_sample_is_enough_for_a_rank(make_info, make_cell, make_proof, mode):
    cell = make_cell(proof=make_proof(mode, proved=1))
    row = timing(make_info(proof=mode), [cell]).iloc[0]
    assert (row["rank"], row.no_rank, row.message, row.ratio) == (1, "", "", 1.0)
    assert (row.proof, row.steps_proved, row.steps_trained) == (mode, 1, 10)


def test_run_made_before_proofs_keeps_its_ranks(make_info, make_cell):
    cells = [
        make_cell("numpy", train_s=2.0, proof=None),
        make_cell("part", train_s=1.0, complete=False, proof=None),
        make_cell("bad", train_s=0.5, status="target_missed", proof=None),
    ]
    frame = by_backend(timing(make_info("numpy", "part", "bad", proof=None), cells))
    assert frame.index.tolist() == ["part", "numpy", "bad"]
    assert frame["rank"].dropna().tolist() == [1, 2]
    assert frame.ratio.dropna().tolist() == [0.5, 1.0]
    assert frame[["proof", "steps_proved"]].isna().all(axis=None)


def test_run_in_which_nothing_was_to_be_proved_has_no_ranks(make_info, rounds):
    cells = rounds("numpy", 1.0, 2.0, proof=None)
    row = timing(make_info(proof="off"), cells).iloc[0]
    assert pd.isna(row["rank"])
    assert row.train_s_per_epoch == 1.5
    assert row.message == "no rank, because none of its steps was proved"


def test_each_class_of_precision_has_its_own_ranking(make_info, make_cell):
    cells = [
        make_cell("fast", train_s=0.5, precision="bf16"),
        make_cell("slow", train_s=0.7, precision="bf16"),
        make_cell("tf32", train_s=0.1, precision="tf32"),
        make_cell("numpy", train_s=2.0),
        make_cell("other", train_s=4.0),
    ]
    info = make_info("fast", "slow", "tf32", "numpy", "other")
    frame = by_backend(timing(info, cells))
    assert frame["rank"].to_dict() == {"numpy": 1, "other": 2, "tf32": 1, "fast": 1, "slow": 2}
    assert frame.index.tolist() == ["numpy", "other", "tf32", "fast", "slow"]
    assert frame.ratio.dropna().to_dict() == {"numpy": 1.0, "other": 2.0}
    frame = by_backend(timing(replace(info, baseline="fast"), cells))
    assert frame.ratio.dropna().to_dict() == {"fast": 1.0, "slow": pytest.approx(1.4)}


def test_backend_that_changes_its_class_has_no_rank(make_info, rounds, make_cell):
    cells = [*rounds("numpy", 1.0), make_cell("numpy", round=1, precision="bf16")]
    row = timing(make_info(), cells).iloc[0]
    assert row.no_rank == "several classes"
    assert row.message == "no rank, because its rounds differ in the precision of its products"


def test_proof_of_a_backend_is_that_of_all_its_rounds(make_info, make_cell, make_proof):
    proofs = [
        make_proof("sampled", proved=3, flips=1),
        make_proof(
            "sampled", proved=10, flips=2, deviations=Deviations(loss=3e-6, displacement=None)
        ),
    ]
    cells = [make_cell(round=i, proof=proof) for i, proof in enumerate(proofs)]
    row = accuracy(make_info(), cells).iloc[0]
    assert (row.steps_proved, row.steps_trained, row.flips) == (13, 20, 3)
    assert (row.loss_deviation, row.loss_tolerance) == (3e-6, 5e-6)
    assert (row.displacement_deviation, row.displacement_tolerance) == (float("inf"), 1e-4)
    assert (row.first_deviation, row.second_deviation) == (2e-7, 3e-7)


def test_remarks_of_several_rounds_that_differ_in_a_share_are_one(make_info, make_cell):
    flags = [["disturbed: 9% of it", "slow"], ["disturbed: 40% of it"], ["slow", "5% of all"]]
    cells = [make_cell(round=n, flags=each) for n, each in enumerate(flags)]
    row = timing(make_info(), cells).iloc[0]
    assert row.remarks == "disturbed: up to 40% of it, slow, 5% of all"


def test_remarks_say_what_a_proof_could_not_check(make_info, make_cell, make_proof):
    proof = make_proof(from_parameters=True, remarks=["no gradients are shown"])
    cells = [make_cell(round=i, flags=["compiled once"], proof=proof) for i in range(2)]
    row = timing(make_info(), cells).iloc[0]
    assert row.remarks == (
        "compiled once, followed from its parameters alone, with wider tolerances, "
        "no gradients are shown"
    )


def test_remark_that_is_made_of_every_backend_stands_apart(make_info, make_cell, make_failed):
    cells = [
        make_cell("numpy", flags=["slow", "no clock"]),
        make_cell("b", flags=["no clock"]),
        make_failed("broken"),
    ]
    frame = by_backend(timing(make_info("numpy", "b", "broken"), cells))
    assert frame.remarks[["numpy", "b"]].tolist() == ["slow", ""]
    assert frame.shared_remarks[["numpy", "b"]].tolist() == ["no clock"] * 2
    alone = timing(make_info(), cells[:1]).iloc[0]
    assert (alone.remarks, alone.shared_remarks) == ("slow, no clock", "")


def test_load_is_shown_apart(make_info, make_cell):
    cells = [make_cell(round=i, load_s=s) for i, s in enumerate([0.1, None, 0.3])]
    row = timing(make_info(), cells).iloc[0]
    assert row.load_s == pytest.approx(0.2)
    assert row.train_s_per_epoch == 1.0


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


def test_partial_epochs_stand_by_the_time_of_a_whole_one(make_info, make_cell):
    cells = [
        make_cell("part", images=10, complete=False),
        make_cell("half", images=50, complete=False),
        make_cell("whole", train_s=50.0),
    ]
    found = timing(make_info("part", "half", "whole"), cells).backend.tolist()
    assert found == ["whole", "half", "part"]


@pytest.mark.parametrize("table", [accuracy, timing])
def test_backend_without_cells_has_no_row(make_info, make_cell, table):
    assert table(make_info("numpy", "later"), [make_cell()]).backend.tolist() == ["numpy"]


@pytest.mark.parametrize("table", [accuracy, timing])
def test_run_without_cells_has_no_rows(make_info, table):
    assert table(make_info(), []).empty


@pytest.mark.parametrize("table", [frames.accuracy, frames.timing])
def test_every_row_has_all_columns_and_counts_stay_whole(
    make_info, make_cell, make_failed, make_proof, table
):
    info = make_info("numpy", "bad", proof="full")
    cells = [make_cell("numpy", proof=make_proof()), make_failed("bad")]
    good, bad = table(info, frames.groups(info, cells))
    assert list(vars(good)) == list(vars(bad))
    assert (good.rank, good.steps_proved, bad.rank, bad.steps_proved) == (1, 10, None, None)
    assert {type(each) for each in vars(good).values()} <= {str, int, float, bool, type(None)}


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


def compared(info, cells):
    """Return what the accuracy table says of each backend against the baseline."""
    return by_backend(accuracy(info, cells)).accuracy_verdict.fillna("").to_dict()


@pytest.mark.parametrize("rounds_", [1, 2, 3, 10])
def test_accuracies_are_compared_with_the_baseline(make_info, make_straying, rounds_):
    info = make_info("numpy", "near", "low", "high")
    cells = make_straying(rounds_, near=0.02, low=-2.4, high=2.4)
    verdicts = {"numpy": "", "near": "same", "low": "lower", "high": "higher"}
    assert compared(info, cells) == verdicts
    row = by_backend(accuracy(info, cells)).loc["low"]
    assert row.difference == pytest.approx(-0.024)
    assert row.difference_low < -0.024 < row.difference_high < 0
    assert row.difference_rounds == rounds_


def test_accuracies_are_compared_whatever_the_rank(make_info, make_straying):
    cells = [
        replace(cell, proof=None, status=Status.TARGET_MISSED) if cell.backend == "low" else cell
        for cell in make_straying(low=-2.4)
    ]
    assert compared(make_info("numpy", "low"), cells) == {"numpy": "", "low": "lower"}


def test_more_backends_take_more_to_be_a_finding(make_info, make_straying):
    few, many = (
        by_backend(accuracy(make_info("numpy", *more), make_straying(**more))).loc["a"]
        for more in ({"a": -0.5}, dict.fromkeys("abcdefgh", -0.5))
    )
    assert many.difference_low < few.difference_low < few.difference_high < many.difference_high


def test_accuracies_of_a_wrong_baseline_accuse_nobody(make_info, make_straying):
    cells = make_straying(low=-2.4, numpy={"status": "invalid"})
    assert compared(make_info("numpy", "low"), cells) == {"numpy": "", "low": ""}
    cells = [cell for cell in cells if cell.backend == "low"]
    assert compared(make_info("numpy", "low"), cells) == {"low": ""}


def test_class_of_precision_has_a_difference_and_no_verdict(make_info, make_straying):
    cells = [
        replace(cell, precision="bf16") if cell.backend == "low" else cell
        for cell in make_straying(low=-2.4)
    ]
    frame = by_backend(accuracy(make_info("numpy", "low"), cells))
    assert frame.difference["low"] == pytest.approx(-0.024)
    assert pd.isna(frame.accuracy_verdict["low"])


def test_training_that_the_budget_ended_is_not_compared(make_info, make_straying):
    cells = [
        replace(c, complete=False, status=Status.BUDGET, epochs=[replace(c.epochs[0], images=9)])
        if c.backend == "low"
        else c
        for c in make_straying(low=-2.4)
    ]
    row = by_backend(accuracy(make_info("numpy", "low"), cells)).loc["low"]
    assert row[["difference", "accuracy_verdict"]].isna().all()


def test_accuracies_without_classes_or_their_number_have_no_verdict(make_info, make_cell):
    info = make_info("numpy", "other")
    for changes in ({"accuracies": (None,), "test_images": 30}, {}):
        cells = [make_cell(name, **changes) for name in ("numpy", "other")]
        assert compared(info, cells) == {"numpy": "", "other": ""}


def test_pairs_share_what_may_go_wrong(make_info, rounds):
    cells = [
        cell
        for name, base in (("numpy", 2.0), ("a", 1.0), ("b", 3.0))
        for cell in rounds(name, *(base + 0.1 * (n % 3 + n) for n in range(6)))
    ]
    info = make_info("numpy", "a", "b")
    groups = frames.groups(info, cells)
    rows = frames.pairs(info, groups)
    compared = [frames.compare(info, groups[row.backend], groups[row.over]) for row in rows]
    alone = [each.p_value for each in compared if each]
    assert [row.p_value for row in rows] == statistics.holm(alone) != alone


def test_half_without_the_target_have_no_median_time_to_it(make_info, make_cell):
    cells = [make_cell(round=n, accuracies=(0.9, 0.98 if n < 2 else 0.9)) for n in range(4)]
    row = accuracy(make_info(), cells).iloc[0]
    assert (row.target_reached, row.target_s) == (2, None)
    row = accuracy(make_info(), cells[:3]).iloc[0]
    assert (row.target_reached, row.target_s) == (2, cells[0].train_s)


def test_attempt_of_a_block_that_ran_again_is_nobodys_baseline(make_info, make_cell, in_turns):
    late = in_turns(make_cell("late", block_attempt=1), [(1.0, 100)], first=9)
    base = in_turns(make_cell("numpy", block_attempt=1), [(2.0, 100)])
    before, again = (
        in_turns(make_cell("numpy", attempt=1, final=False, block_attempt=n), [(s, 100)], first=9)
        for n, s in ((0, 50.0), (1, 4.0))
    )
    info = make_info("numpy", "late")
    groups = frames.groups(info, [base, late], [before, again])
    assert groups["numpy"].further == [again]
    for pair in (
        frames.paired(groups["late"], groups["numpy"]),
        frames.paired(groups["numpy"], groups["late"]),
    ):
        assert sorted(map(id, pair[0])) == sorted(map(id, (late, again)))
