"""The figures that can be gated, and what users type for a limit."""

from dataclasses import replace
from math import log

import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.figures import metrics
from nnbench.figures.columns import COLUMNS
from nnbench.figures.metrics import METRICS, measurable, parse_gate, parse_gates
from nnbench.records.cells import GpuEnergy, Part
from nnbench.records.runs import Roof
from nnbench.runs.run import Run
from nnbench.show import text

ROOF = Roof(device="cpu", threads=1, gflops=100.0, gb_per_s=20.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_s_per_epoch", 2.0),  # two of a second for 100 images, of which 50 were trained
        ("accuracy", 0.9),
        ("peak_memory_bytes", 50_000_000),
        ("training_memory_bytes", 20_000_000),
        ("device_memory_bytes", 30_000_000),
        ("energy_j_per_epoch", 24.0),
        ("gather_us", 2.0),
        ("update_us", 5.0),
        ("setup_s", 0.25),
        ("transfer_s", 0.125),
        ("warmup_s", 0.5),
    ],
)
def test_value_of_a_cell(make_cell, name, expected):
    memory = {"training_memory_bytes": 20_000_000, "device_memory_bytes": 30_000_000}
    cell = counted(make_cell(accuracies=(0.8, 0.9), images=50, **memory), cpu_j=12.0)
    assert METRICS[name].value(cell) == expected


def counted(cell, device="cpu", **more):
    """Return a cell each of whose epochs is a part in which so much was counted."""
    epochs = [
        replace(e, parts=[Part(images=e.images, train_s=e.train_s, wall_s=e.train_s, **more)])
        for e in cell.epochs
    ]
    return replace(cell, epochs=epochs, setup=replace(cell.setup, device=device))


GPU = GpuEnergy(images=200, train_s=1.5, joules=90.0, counted_s=2.0, rest_w=20.0)


def test_energy_is_of_all_that_a_backend_runs_on(make_cell):
    cell = counted(make_cell(images=50, gpu_energy=GPU), "cuda", cpu_j=12.0)
    assert (metrics.joules(cell), metrics.gpu_joules(cell)) == (24.0 + 40.0, 40.0)
    assert metrics.joules(replace(cell, gpu_energy=None)) is None
    lacks = counted(cell, "cuda")
    assert (metrics.joules(lacks), metrics.gpu_joules(lacks)) == (None, 40.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"counted_s": 1.4}, 45.0),  # clocks may differ
        ({"counted_s": 2.1}, None),
        ({"joules": 10.0}, None),
        ({"rest_w": 200.0}, None),
    ],
)
def test_rest_is_none_of_the_training_of_a_gpu_and_may_not_be_much(make_cell, changes, expected):
    cell = make_cell(gpu_energy=replace(GPU, **changes))
    assert metrics.gpu_joules(cell) == expected


@pytest.mark.parametrize("joules", [0.0, 5e-324])
def test_no_training_takes_no_energy(make_cell, joules):
    assert metrics.joules(counted(make_cell(), cpu_j=joules)) is None


def test_energy_is_unknown_if_it_is_of_one_part(make_cell):
    cell = counted(make_cell(accuracies=(0.8, 0.9)), cpu_j=12.0)
    [part] = cell.epochs[1].parts
    last = replace(cell.epochs[1], parts=[replace(part, cpu_j=None)])
    assert metrics.joules(replace(cell, epochs=[cell.epochs[0], last])) is None
    assert metrics.joules(make_cell()) is None


def test_epoch_that_was_not_measured_has_no_time(make_cell):
    assert metrics.epoch_s(make_cell(setup=None)) is None
    assert metrics.epoch_s(make_cell(accuracies=())) is None


def test_parts_of_a_turn_count_together(make_cell, in_turns):
    cell = in_turns(make_cell(accuracies=(0.8, 0.9)), [(1.0, 10), (2.0, 20), (8.0, 40)])
    first, second = cell.epochs
    parts = [replace(part, turn=0) for part in first.parts]
    cell = replace(cell, epochs=[replace(first, parts=parts), second])
    assert metrics.image_s(cell) == pytest.approx({0: 12.0 / 80, 1: 2.0 / 20, 2: 8.0 / 40})
    assert metrics.image_s(make_cell()) == {}


def test_lead_ins_are_in_no_rate_but_the_load_is(make_cell, in_turns):
    cell = in_turns(make_cell(load_s=0.5, images=100), [(2.0, 60), (1.0, 40)])
    [epoch] = cell.epochs
    parts = [
        replace(p, lead_images=20, lead_s=s) for p, s in zip(epoch.parts, (1.0, 0.5), strict=True)
    ]
    led = replace(cell, epochs=[replace(epoch, train_s=3.0, parts=parts)])
    assert metrics.image_s(led) == pytest.approx({0: 1.0 / 40, 1: 0.5 / 20})
    assert metrics.epoch_s(led) == pytest.approx(100 * (1.5 / 60 + 0.5 / 100))
    whole = replace(cell, epochs=[replace(epoch, train_s=3.0)])
    assert metrics.epoch_s(whole) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "part",
    [{"lead_images": 100}, {"lead_images": 101}, {"lead_s": 1.0}, {"lead_s": 1.5}],
    ids=str,
)
def test_record_that_contradicts_itself_has_no_pace(make_cell, in_turns, part):
    cell = in_turns(make_cell(), [(1.0, 100)])
    [epoch] = cell.epochs
    parts = [replace(each, **part) for each in epoch.parts]
    cell = replace(cell, epochs=[replace(epoch, parts=parts)])
    assert metrics.epoch_s(cell) is None
    assert metrics.image_s(cell) == {}


@pytest.mark.parametrize("seconds", [0.0, 5e-324, 1e-13])
def test_what_is_no_time_has_no_ratio(make_cell, seconds):
    cell = make_cell(train_s=seconds)
    assert metrics.epoch_s(cell) is None
    assert metrics.TRAINING.log_ratio(cell, make_cell()) is None
    setup = replace(cell.setup, setup_s=seconds)
    assert METRICS["setup_s"].log_ratio(make_cell(), replace(cell, setup=setup)) is None


def test_turns_give_a_block_one_ratio(make_cell, in_turns):
    cell = in_turns(make_cell(), [(2.0, 10), (90.0, 10), (4.04, 20)])
    other = in_turns(make_cell(), [(10.0, 100), (1.0, 10), (2.0, 20), (1.0, 1)])
    found = metrics.TRAINING.log_ratio(cell, other)  # 2, 90 and 2.02; the last turn has no other
    assert found == pytest.approx(log(2.01), abs=0.001)


def test_calm_turns_count_alike():
    found = metrics.over_turns([2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0])
    assert found == pytest.approx(log(2))
    some = metrics.over_turns([1.0, 1.0, 1.02], [1.0, 1.02, 1.0])
    assert some == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("disturbed", range(1, 6))
def test_disturbed_turns_hardly_count_even_if_most_are(disturbed):
    calm = 8 - disturbed
    times = [1.1] * calm + [1.1 * 3] * disturbed
    assert metrics.over_turns(times, [1.0] * 8) == pytest.approx(log(1.1), abs=0.004)
    assert metrics.over_turns([1.0] * 8, times) == pytest.approx(-log(1.1), abs=0.004)


def test_single_turn_is_all_that_there_is():
    assert metrics.over_turns([3.0], [2.0]) == pytest.approx(log(1.5))


def test_without_common_turns_the_whole_cells_are_compared(make_cell, in_turns):
    whole, other = make_cell(train_s=3.0), in_turns(make_cell(train_s=2.0), [(1.0, 1)])
    assert metrics.TRAINING.log_ratio(whole, other) == pytest.approx(log(1.5))
    assert metrics.TRAINING.log_ratio(other, whole) == pytest.approx(log(1 / 1.5))


@pytest.mark.parametrize("bytes_", [None, 0])
def test_figure_that_one_cell_lacks_has_no_ratio(make_cell, bytes_):
    memory, lacks = METRICS["peak_memory_bytes"], make_cell(peak_memory_bytes=bytes_)
    assert memory.log_ratio(lacks, make_cell()) is memory.log_ratio(make_cell(), lacks) is None


def test_only_training_is_compared_in_turns(make_cell, in_turns):
    cell, other = (in_turns(make_cell(setup=s), [(1.0, 1)]) for s in (make_cell().setup,) * 2)
    assert METRICS["setup_s"].log_ratio(cell, other) == 0.0


def test_figure_of_a_phase_is_its_median(make_cell, make_failed):
    gather = METRICS["gather_us"].value
    assert (gather(make_cell()), gather(make_failed())) == (2.0, None)


def test_figure_of_a_part_before_training_is_its_time(make_cell, make_failed):
    setup = METRICS["setup_s"].value
    assert (setup(make_cell()), setup(make_failed())) == (0.25, None)


def test_peak_memory_is_the_workers(make_cell):
    assert METRICS["peak_memory_bytes"].value(make_cell()) == 50_000_000


@pytest.mark.parametrize("name", list(METRICS))
def test_failed_cell_has_no_values(make_failed, name):
    assert METRICS[name].value(make_failed()) is None


@pytest.mark.parametrize(
    ("text", "threshold"),
    [("train_s_per_epoch:5%", 0.05), ("accuracy:0.5pp", 0.005), ("setup_s:0%", 0.0)],
)
def test_limit_is_a_fraction(text, threshold):
    gate = parse_gate(text)
    assert gate.threshold == pytest.approx(threshold)
    assert gate.text == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "setup_s", "setup_s:", "setup_s:5", "setup_s:5pp", "setup_s:-5%", "setup_s:nan%"),
        *("setup_s:inf%", "setup_s:five%", "accuracy:1%", "speed:5%", "setup_s:%"),
    ],
)
def test_unreadable_limit_is_refused(text):
    with pytest.raises(NnbenchError, match=r"no metric|cannot read"):
        parse_gate(text)


def test_refusal_says_what_can_be_written():
    with pytest.raises(NnbenchError) as raised:
        parse_gate("speed:5%")
    names = (
        "train_s_per_epoch, accuracy, peak_memory_bytes, training_memory_bytes, device_memory_bytes"
    )
    energy = "energy_j_per_epoch, gpu_j_per_epoch"
    phases = "gather_us, feedforward_us, backprop_us, update_us"
    parts = "setup_s, transfer_s, warmup_s"
    assert str(raised.value) == f"no metric 'speed'; known: {names}, {energy}, {phases}, {parts}"
    with pytest.raises(NnbenchError) as raised:
        parse_gate("accuracy:5%:5pp")
    assert str(raised.value) == (
        "cannot read 'accuracy:5%:5pp'; write accuracy:NUMBERpp, as in accuracy:5pp"
    )


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_spelled_as_its_column(name):
    assert name in COLUMNS


@pytest.mark.parametrize(
    ("former", "name"), [("train_s", "train_s_per_epoch"), ("peak_memory", "peak_memory_bytes")]
)
def test_former_spelling_goes_on_working(former, name):
    with pytest.warns(FutureWarning, match=f"^{former} is deprecated: write {name}$"):
        assert parse_gate(f"{former}:5%") == parse_gate(f"{name}:5%")


def test_limits_that_are_not_given_are_the_usual_ones():
    assert [gate.text for gate in parse_gates([])] == ["train_s_per_epoch:5%", "accuracy:0.5pp"]
    assert [gate.text for gate in parse_gates(["update_us:7%"])] == ["update_us:7%"]


def test_limits_hold_for_figures_that_some_cell_has(make_cell):
    gates = parse_gates([])
    without = make_cell(accuracies=(None,))
    assert measurable(gates, [without]) == gates[:1]
    assert measurable(gates, [without, make_cell()]) == gates
    assert measurable(gates, []) == []


@pytest.fixture
def measured(make_cell):
    """A cell of 100 images in a second, each of 10⁸ operations and 10⁷ bytes."""
    made = make_cell(train_s=1.0, images=100)
    return replace(made, setup=replace(made.setup, operations=1e8, traffic_bytes=1e7))


def test_shares_are_of_the_roof_of_the_same_threads(measured):
    other = Roof(device="cpu", threads=2, gflops=1.0, gb_per_s=1.0)
    found = metrics.shares(measured, [other, ROOF])
    assert found == pytest.approx((10.0, 0.1, 1.0, 0.05))


def test_gpu_has_one_roof_and_each_number_of_threads_has_its_own(measured):
    three, gpu = replace(ROOF, threads=3), Roof(device="cuda", threads=1, gflops=40.0, gb_per_s=2.0)
    found = metrics.shares(replace(measured, threads=3), [three, gpu])
    assert found == pytest.approx((10.0, 0.1, 1.0, 0.05))
    on_gpu = replace(measured, threads=3, setup=replace(measured.setup, device="cuda"))
    assert metrics.shares(on_gpu, [three, gpu]) == pytest.approx((10.0, 0.25, 1.0, 0.5))


def test_shares_are_those_of_the_time_that_it_took(measured):
    slow = replace(measured, epochs=[replace(epoch, train_s=2.0) for epoch in measured.epochs])
    assert metrics.shares(slow, [ROOF]) == pytest.approx((5.0, 0.05, 0.5, 0.025))
    assert metrics.shares(replace(measured, epochs=[]), [ROOF]) is None
    assert metrics.shares(replace(measured, setup=None), [ROOF]) is None


def test_a_roof_may_be_unknown_in_part(measured):
    found = metrics.shares(measured, [Roof(device="cpu", threads=1, gflops=None, gb_per_s=20.0)])
    assert (found.gflops_share, found.gb_per_s_share) == (None, pytest.approx(0.05))
    found = metrics.shares(measured, [replace(ROOF, gb_per_s=None)])
    assert (found.gflops_share, found.gb_per_s_share) == (pytest.approx(0.1), None)


def test_without_its_roof_a_cell_has_no_shares(measured, make_failed):
    assert (
        metrics.shares(measured, [Roof(device="cpu", threads=2, gflops=1.0, gb_per_s=1.0)]) is None
    )
    assert metrics.shares(make_failed("numpy"), [ROOF]) is None


def test_the_timing_table_holds_the_shares(make_info, measured):
    info = make_info(roofs=[ROOF])
    run = Run(info, [measured])
    [row] = run.timing
    assert [row.gflops, row.gflops_share] == pytest.approx([10.0, 0.1])
    shown = text.sheets(run)["ceilings"]
    assert shown.title == "Share of the ceilings: 1 thread 100 GFLOP/s, 20 GB/s"
    assert shown.rows == [["numpy", "10.0", "10", "1.00", "5"]]
