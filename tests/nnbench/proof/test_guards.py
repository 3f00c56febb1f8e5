"""Backends that cheat the clock are caught, and honest ones are not."""

from dataclasses import replace

import pytest

from nnbench import NetworkSpec, Optimizer
from nnbench.data.task import load_task
from nnbench.execution import ceilings
from nnbench.proof import guards, judge
from nnbench.proof.judge import Expected, expected_losses
from tests.cells import TOY, make_spec, read_final
from tests.plugins.helpers import environment, nnbench

EXPECTED = Expected(losses=[2.0, 1.0], tolerance=1e-4)
HONEST = "steady"


def run(folder, *backends, **options):
    """Run some of the faulty backends on the toy; return their cells by name."""
    pairs = (text for key, value in options.items() for text in (f"--{key}", str(value)))
    command = ["run", "-b", ",".join(backends), "-w", TOY.name, "-r", 1, "-o", folder, *pairs]
    nnbench(*command, env=environment("faulty"))
    return {cell.backend: cell for cell in read_final(folder)}


@pytest.fixture(scope="module")
def cheats(tmp_path_factory):
    """Run backends that pretend to train, and an honest one."""
    folder = tmp_path_factory.mktemp("guards") / "run"
    return run(folder, HONEST, "does-nothing", "forges-losses")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Run a network large enough to tell work from none, as long as the losses are known."""
    folder = tmp_path_factory.mktemp("guards") / "run"
    return run(folder, HONEST, "knows-losses", hidden="2000,2000", epochs=20)


def test_no_op_is_caught_by_its_losses(cheats):
    cell = cheats["does-nothing"]
    assert cell.status == "invalid"
    assert "stray" in cell.message


def test_forged_losses_are_caught_by_the_parameters(cheats):
    cell = cheats["forges-losses"]
    assert cell.deviation < cell.tolerance
    assert (cell.status, cell.message) == ("invalid", "the parameters did not change")


def test_work_done_off_the_clock_is_caught_by_the_speed(large):
    cell = large["knows-losses"]
    assert cell.deviation < cell.tolerance
    assert cell.status == "invalid"
    assert "GFLOP/s cannot be, this machine's matrix products reach" in cell.message
    assert cell.achieved_gflops > guards.SLACK * cell.ceiling_gflops


def test_honest_backend_passes(cheats, large):
    assert [cells[HONEST].status for cells in (cheats, large)] == ["ok", "ok"]
    assert 0 < large[HONEST].achieved_gflops < large[HONEST].ceiling_gflops


def verdict(cell, **changes):
    judged = judge.judge(cell, EXPECTED._replace(**changes), None)
    return judged.status, judged.message


def test_operations_are_those_of_the_matrix_products():
    spec = NetworkSpec(
        sizes=(784, 50, 10),
        activation="relu",
        loss="cross_entropy",
        optimizer=Optimizer(kind="sgd", learning_rate=0.1),
    )
    forward, backward = 2 * (784 * 50 + 50 * 10), 2 * (784 * 50 + 50 * 10 + 50 * 10)
    assert spec.operations == forward + backward
    assert replace(spec, sizes=(784, 10)).operations == 4 * 7840


def test_parameters_must_have_changed(make_cell):
    message = ("invalid", "the parameters did not change")
    assert verdict(make_cell(changed=False)) == message
    assert verdict(make_cell(changed=True))[0] == "ok"
    assert verdict(make_cell(changed=None))[0] == "ok"


def test_parameters_may_stay_if_those_of_the_reference_do(make_cell):
    assert verdict(make_cell(changed=False), moves=False)[0] == "ok"


@pytest.mark.parametrize(("rate", "moves"), [(1.0, True), (1e-12, False)])
def test_reference_tells_whether_parameters_change(rate, moves):
    slow = replace(TOY, optimizer=replace(TOY.optimizer, learning_rate=rate))
    assert expected_losses(load_task(slow, 0)).moves is moves


def test_speed_above_the_ceiling_is_invalid(make_cell):
    assert verdict(make_cell(achieved_gflops=111.0, ceiling_gflops=100.0)) == (
        "invalid",
        "111 GFLOP/s cannot be, this machine's matrix products reach 100",
    )
    for most in (109.0, 1.1 * 100):
        assert verdict(make_cell(achieved_gflops=most, ceiling_gflops=100.0))[0] == "ok"
    assert verdict(make_cell(achieved_gflops=1e9, ceiling_gflops=None))[0] == "ok"


@pytest.fixture
def measure(monkeypatch, make_cell):
    """Return a function that measures the speed of a cell; products reach 100 GFLOP/s."""
    spec = make_spec()

    def find(asked, device, achieved):
        assert (asked, device) == (spec, "cpu")
        assert achieved == pytest.approx(1.5e-7)  # dense products alone
        return 100.0

    monkeypatch.setattr(ceilings, "for_cell", find)

    def measure_cell(cell=None, **setup):
        cell = cell or make_cell()
        changed = cell.setup and replace(cell.setup, **setup)
        return ceilings.measure_speed(replace(cell, setup=changed), spec)

    return measure_cell


def test_speed_is_that_of_the_images_seen(measure, make_cell):
    cell = measure(make_cell(train_s=2.0, images=1000), operations=0.3)
    assert cell.achieved_gflops == pytest.approx(1.5e-7)
    assert cell.ceiling_gflops == 100


def test_ceiling_is_higher_for_backends_that_skip_zeros(measure):
    cell = measure(operations=7.5, nonzero_share=0.2)
    assert cell.achieved_gflops == pytest.approx(7.5e-7)
    assert cell.ceiling_gflops == pytest.approx(500)


def test_cell_that_failed_has_no_speed(measure, make_cell, make_failed):
    assert measure(make_failed()).achieved_gflops is None
    assert measure(make_cell(status="crashed")).achieved_gflops is None
    assert measure(make_cell(accuracies=())).achieved_gflops is None


def by_device(cell, *seconds, calls=1):
    epochs = zip(cell.epochs, seconds, strict=True)
    return replace(cell, epochs=[replace(e, device_s=s, calls=calls) for e, s in epochs])


@pytest.mark.parametrize(
    ("seconds", "calls", "status"),
    [
        (1.0, 1, "ok"),
        (0.951, 1, "ok"),
        (0.9, 1, "invalid"),
        (1.1, 1, "invalid"),
        (0.9, 51, "ok"),  # a millisecond for each call
        (0.9, 49, "invalid"),
        (0.0, 1, "invalid"),
    ],
)
def test_clocks_of_host_and_device_must_agree(make_cell, seconds, calls, status):
    assert verdict(by_device(make_cell(), seconds, calls=calls))[0] == status


def test_share_of_a_long_training_may_lie_between_the_clocks(make_cell):
    cell = make_cell(train_s=20.0)
    assert verdict(by_device(cell, 19.0, calls=0))[0] == "ok"
    assert verdict(by_device(cell, 18.9, calls=0))[0] == "invalid"


def test_clock_that_is_not_there_for_every_epoch_contradicts_none(make_cell):
    assert verdict(by_device(make_cell(accuracies=(0.5, 0.9)), 0.5, None))[0] == "ok"


def test_disagreement_of_the_clocks_is_told(make_cell):
    cell = by_device(make_cell(accuracies=(0.5, 0.9)), 0.5, 0.25)
    text = "trained 2 s by the host's clock, 0.75 s by the device's"
    assert verdict(cell) == ("invalid", text)


def test_wrong_losses_come_before_all_else(make_cell):
    cell = make_cell(losses=(2.0, 9.0), changed=False, achieved_gflops=9.0, ceiling_gflops=1.0)
    assert "stray" in verdict(cell)[1]


def compiled(cell, *counts):
    epochs = zip(cell.epochs, counts, strict=True)
    return replace(cell, epochs=[replace(e, compilations=c) for e, c in epochs])


def pools(cell, **threads):
    return replace(cell, setup=replace(cell.setup, thread_pools=threads))


def flags(cell):
    return judge.judge(cell, EXPECTED, None).flags


def test_cell_without_remarks_has_no_flags(make_cell):
    cell = pools(make_cell(achieved_gflops=1.0, ceiling_gflops=100.0), libopenblas=1)
    assert flags(cell) == []


def test_flags_say_what_makes_times_less_sure(make_cell):
    cell = pools(make_cell(accuracies=(0.5, 0.9), achieved_gflops=1.0), libgomp=2, libopenblas=1)
    assert flags(compiled(cell, 0, 2)) == [
        "compiled 2 times while timed",
        "libgomp has 2 threads, 1 asked for",
        "no ceiling of the FLOP/s was measured",
    ]


def test_single_compilation_is_one_time(make_cell):
    assert flags(compiled(make_cell(), 1)) == ["compiled 1 time while timed"]


def test_cell_without_a_setup_has_no_flags(make_cell):
    assert flags(make_cell(setup=None)) == []


def test_cell_without_figures_has_no_flags(make_cell):
    assert flags(pools(make_cell(status="invalid"), libgomp=2)) == []
