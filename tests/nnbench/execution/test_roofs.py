"""Operations and bytes are counted, ceilings measured once, and shares follow from both."""

import os
from dataclasses import replace

import pytest

from nnbench import NetworkSpec, Optimizer, distributions
from nnbench.execution import ceilings, machine
from nnbench.figures import metrics
from nnbench.records import Roof
from nnbench.runs import store
from nnbench.runs.run import Run
from nnbench.show import text
from tests.plugins import helpers

pytestmark = pytest.mark.usefixtures("home")
ROOF = Roof(device="cpu", threads=1, gflops=100.0, gb_per_s=20.0)


def make_spec(sizes, kind="sgd", bias=True):
    optimizer = Optimizer(kind=kind, learning_rate=0.1)
    return NetworkSpec(
        sizes=sizes, activation="relu", loss="cross_entropy", optimizer=optimizer, bias=bias
    )


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements; give the list of what was measured."""
    asked = []

    def measure(what, library, device, threads, cpus):
        asked.append((what, library, device, threads))
        assert len(cpus) == threads
        return {"product": 100.0, "copy": 20.0}[what] if library == "numpy" else None

    monkeypatch.setattr(ceilings, "measure", measure)
    monkeypatch.setattr(machine, "usable_cpus", lambda: list(range(8)))
    return asked


@pytest.fixture
def cell(make_cell):
    """A cell of 100 images in a second, each of 10⁸ operations and 10⁷ bytes."""
    made = make_cell(train_s=1.0, images=100)
    return replace(made, setup=replace(made.setup, operations=1e8, traffic_bytes=1e7))


@pytest.mark.parametrize(
    ("spec", "batch_size", "floats"),
    [
        # inputs twice; outputs 2 and deltas 2; the parameters 2 + 3 and, but for biases, no 3rd
        (make_spec((5, 3), bias=False), 1, 2 * 5 + 4 * 3 + 15 * (2 + 3)),
        (make_spec((5, 3), bias=False), 10, 10 * (2 * 5 + 4 * 3) + 15 * (2 + 3)),
        (make_spec((5, 3), "adam", bias=False), 1, 2 * 5 + 4 * 3 + 15 * (2 + 7)),
        (make_spec((5, 3), "adam-fresh", bias=False), 1, 2 * 5 + 4 * 3 + 15 * (2 + 3)),
        (make_spec((5, 4, 3), bias=False), 1, 2 * 5 + 4 * 7 + 20 * (2 + 3) + 12 * (3 + 3)),
        (make_spec((5, 3)), 1, 2 * 5 + 4 * 3 + 15 * (2 + 3) + 3 * (3 + 3)),
    ],
)
def test_bytes_of_a_step_are_counted(spec, batch_size, floats):
    assert spec.traffic(batch_size) == 4 * floats


def test_roofs_are_measured_once_for_each_machine(machine, measured):
    first = ceilings.roofs(machine, ["cpu"], [1])
    assert {roof.threads for roof in first} == {1, machine.usable_cores}
    assert replace(first[0], libraries={}) == ROOF
    count = len(measured)
    assert count > 0
    assert ceilings.roofs(machine, ["cpu"], [1]) == first
    assert len(measured) == count


def test_another_version_of_a_library_measures_again(machine, measured, monkeypatch):
    ceilings.roofs(machine, ["cpu"], [1])
    before = len(measured)
    monkeypatch.setattr(distributions, "versions", lambda names: {n: f"{n}-next" for n in names})
    found = ceilings.roofs(machine, ["cpu"], [1])
    assert len(measured) == 2 * before
    assert found[0].libraries["numpy"] == "numpy-next"


def test_only_what_is_missing_is_measured(machine, measured):
    ceilings.roofs(machine, ["cpu"], [1])
    del measured[:]
    found = ceilings.roofs(machine, ["cpu", "cuda"], [3])
    assert {(device, threads) for _, _, device, threads in measured} == {("cpu", 3), ("cuda", 1)}
    assert (found[-1].device, found[-1].gflops) == ("cuda", None)  # torch gave nothing
    assert ceilings.roofs(machine, ["cpu"], [1])[0].gflops == ROOF.gflops


@pytest.mark.usefixtures("measured")
def test_a_home_that_cannot_be_written_costs_only_time(machine, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert ceilings.roofs(machine, ["cpu"], [1])[0].gflops == ROOF.gflops


def test_shares_are_of_the_roof_of_the_same_threads(cell):
    other = Roof(device="cpu", threads=2, gflops=1.0, gb_per_s=1.0)
    found = metrics.shares(cell, [other, ROOF])
    assert found == pytest.approx((10.0, 0.1, 1.0, 0.05))


def test_gpu_has_one_roof_and_each_number_of_threads_has_its_own(cell):
    three, gpu = replace(ROOF, threads=3), Roof(device="cuda", threads=1, gflops=40.0, gb_per_s=2.0)
    found = metrics.shares(replace(cell, threads=3), [three, gpu])
    assert found == pytest.approx((10.0, 0.1, 1.0, 0.05))
    on_gpu = replace(cell, threads=3, setup=replace(cell.setup, device="cuda"))
    assert metrics.shares(on_gpu, [three, gpu]) == pytest.approx((10.0, 0.25, 1.0, 0.5))


def test_shares_are_those_of_the_time_that_it_took(cell):
    slow = replace(cell, epochs=[replace(epoch, train_s=2.0) for epoch in cell.epochs])
    assert metrics.shares(slow, [ROOF]) == pytest.approx((5.0, 0.05, 0.5, 0.025))
    assert metrics.shares(replace(cell, epochs=[]), [ROOF]) is None
    assert metrics.shares(replace(cell, setup=None), [ROOF]) is None


def test_a_roof_may_be_unknown_in_part(cell):
    found = metrics.shares(cell, [Roof(device="cpu", threads=1, gflops=None, gb_per_s=20.0)])
    assert (found.gflops_share, found.gb_per_s_share) == (None, pytest.approx(0.05))
    found = metrics.shares(cell, [replace(ROOF, gb_per_s=None)])
    assert (found.gflops_share, found.gb_per_s_share) == (pytest.approx(0.1), None)


def test_without_its_roof_a_cell_has_no_shares(cell, make_failed):
    assert metrics.shares(cell, [Roof(device="cpu", threads=2, gflops=1.0, gb_per_s=1.0)]) is None
    assert metrics.shares(make_failed("numpy"), [ROOF]) is None


def test_the_timing_table_holds_the_shares(make_info, cell):
    info = make_info(roofs=[ROOF])
    run = Run(info, [cell])
    frame = run.timing
    assert frame.iloc[0][["gflops", "gflops_share"]].tolist() == pytest.approx([10.0, 0.1])
    shown = text.sheets(run)["ceilings"]
    assert shown.title == "Share of the ceilings: 1 thread 100 GFLOP/s, 20 GB/s"
    assert shown.rows == [["numpy", "10.0", "10", "1.00", "5"]]


@pytest.fixture
def one_cpu():
    """Leave this process, and those that it starts, a single CPU: ceilings take seconds for each."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_cpu")
def test_a_run_measures_the_ceilings_if_asked(tmp_path):
    env = helpers.environment(XDG_DATA_HOME=str(tmp_path / "data"))
    what = ("--backends", "numpy", "--workload", "toy-sigmoid", "--quick", "--roofline")
    done = helpers.nnbench("run", *what, "--output", tmp_path / "run", env=env)
    assert done.returncode == 0, done.stderr
    assert "Share of the ceilings: 1 thread " in done.stdout
    roofs = store.read_info(tmp_path / "run").roofs
    assert roofs
    assert all(0 < roof.gflops < 1e6 for roof in roofs)
    assert all(0 < roof.gb_per_s < 1e5 for roof in roofs)
