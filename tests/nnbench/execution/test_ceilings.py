"""The ceiling: measured with a worker's threads and CPUs, once, and by torch where it must be."""

import math
import os
from dataclasses import replace

import pytest

from nnbench import distributions
from nnbench.execution import ceilings, cpus, machine
from nnbench.execution.variables import THREAD_VARIABLES
from nnbench.records.runs import Roof
from nnbench.runs import store
from tests.cells import make_spec

ROOF = Roof(device="cpu", threads=1, gflops=100.0, gb_per_s=20.0)
ASKED_ALL = ["numpy cpu", "torch cpu", "jax cpu"]


@pytest.fixture
def spec():
    return make_spec()


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements by figures for each library; give the list of what was measured."""
    asked = []

    def install(**figures):
        def measure(what, library, device, *_):
            assert what == "product"
            asked.append(f"{library} {device}")
            return figures.get(library)

        monkeypatch.setattr(ceilings, "measure", measure)
        return asked

    return install


def test_ceiling_is_measured_once_in_a_process_of_its_own(spec):
    found = ceilings.for_cell(spec, "cpu", 0.0)
    assert math.isfinite(found)
    assert found > 0.1  # a computer of this century
    assert ceilings.for_cell(spec, "cpu", 0.0) == found  # kept: no two measurements agree


def test_what_a_library_prints_is_no_speed(tmp_path, monkeypatch):
    text = "import atexit, os; atexit.register(print, 'said at the end')"
    text += "\nif 'OPENBLAS_CORETYPE' in os.environ: os._exit(1)"  # nor does it slow one down
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    (tmp_path / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert ceilings.measure("copy", "numpy", "cpu", 1, (0,)) > 0.1


@pytest.mark.parametrize("what", ["product", "copy"])
def test_library_that_is_missing_has_no_ceiling(what):
    assert ceilings.measure(what, "tenser", "cpu", 1, ()) is None


def test_interpreter_that_is_missing_has_no_ceiling():
    assert ceilings.measure("product", "numpy", "cpu", 1, (), "/nowhere/python") is None


@pytest.mark.parametrize(("library", "threads"), [("numpy", 1), ("numpy", 2), ("torch", 1)])
def test_copies_have_a_ceiling(library, threads, monkeypatch):
    monkeypatch.setenv(THREAD_VARIABLES[0], str(threads))
    monkeypatch.setitem(ceilings.SIZES, ("copy", "cpu"), (256,))
    monkeypatch.setitem(ceilings.MEASURE_S, "copy", 0.02)
    assert 0.1 < ceilings.best("copy", library, "cpu") < 1e5  # GB/s, of a small array in the cache


def test_the_shortest_of_several_times_counts(monkeypatch):
    clock = [0.0]
    durations = iter([0.1, 3.0, 2.0, 4.0, 1.0])  # the first warms up, the last comes too late

    def action():
        clock[0] += next(durations)

    monkeypatch.setattr(ceilings, "perf_counter", lambda: clock[0])
    assert ceilings.shortest_s(action, 8.0) == pytest.approx(2.0)
    assert list(durations) == [1.0]


@pytest.mark.parametrize(
    ("figures", "achieved", "expected", "asked"),
    [
        ({"numpy": 100.0}, 109.0, 100.0, ["numpy cpu"]),
        ({"numpy": 100.0, "torch": 80.0, "jax": 180.0}, 120.0, 180.0, ASKED_ALL),
        ({"numpy": 100.0, "torch": 180.0}, 120.0, 180.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": 100.0, "torch": 80.0}, 120.0, 100.0, ASKED_ALL),
        ({"numpy": 100.0, "torch": None}, 120.0, 100.0, ASKED_ALL),
        ({"numpy": None, "torch": 80.0}, 10.0, 80.0, ["numpy cpu", "torch cpu"]),
        ({"numpy": None, "torch": None}, 10.0, None, ASKED_ALL),
    ],
)
def test_others_are_asked_where_numpy_is_not_enough(
    spec, measured, figures, achieved, expected, asked
):
    seen = measured(**figures)
    assert ceilings.for_cell(spec, "cpu", achieved) == expected
    assert seen == asked


def test_gpu_has_a_ceiling_of_its_own(spec, measured):
    seen = measured(torch=40_000.0)
    assert ceilings.for_cell(spec, "cuda", 3000.0) == 40_000
    assert seen == ["torch cuda"]


@pytest.fixture
def root(tmp_path):
    """Return a function that makes a folder stand for the root of a Linux machine."""

    def make(line, **clocks):
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\n{line}\n")
        for number, (driver, khz) in enumerate(clocks.items()):
            folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq"
            folder.mkdir(parents=True)
            (folder / "scaling_driver").write_text(f"{driver.replace('_', '-')}\n")
            (folder / "cpuinfo_max_freq").write_text(f"{khz}\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("line", "operations"),
    [
        ("flags\t\t: fpu sse sse2 avx fma avx2 avx512f", 64),
        ("flags\t\t: fpu sse sse2 avx", 32),
        ("flags\t\t: fpu sse", 16),
        ("Features\t: fp asimd", 32),
        ("Features\t: fp asimd sve", 64),
    ],
)
def test_peak_is_that_of_the_vector_units_at_the_highest_clock(root, line, operations):
    folder = root(line)
    assert ceilings.peak_gflops(1, folder) == pytest.approx(6.5 * operations)
    assert ceilings.peak_gflops(3, folder) == pytest.approx(3 * 6.5 * operations)


def test_peak_has_the_clock_of_a_driver_that_knows_turbo(root):
    folder = root("flags : avx", amd_pstate=3_000_000, amd_pstate_epp=4_000_000)
    assert ceilings.peak_gflops(1, folder) == pytest.approx(1.05 * 4 * 32)


def test_peak_does_not_trust_a_driver_that_may_not_know_turbo(root):
    folder = root("flags : avx", acpi_cpufreq=2_000_000)
    assert ceilings.peak_gflops(1, folder) == pytest.approx(6.5 * 32)


@pytest.mark.parametrize("line", ["flags : fpu", "Features : asimd sve sme", "model name : avx"])
def test_cpu_of_another_kind_has_no_peak(root, line):
    assert ceilings.peak_gflops(1, root(line)) is None


def test_other_systems_have_no_peak(tmp_path):
    assert ceilings.peak_gflops(1, tmp_path) is None


def test_products_here_are_below_the_peak(spec):
    peak = ceilings.peak_gflops(1)
    assert peak is None or ceilings.for_cell(spec, "cpu", 0.0) < peak


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Replace all measurements; give the list of what was measured."""
    asked = []

    def measure(what, library, device, threads, cpus):
        asked.append((what, library, device, threads))
        assert len(cpus) == threads
        return {"product": 100.0, "copy": 20.0}[what] if library == "numpy" else None

    monkeypatch.setattr(ceilings, "measure", measure)
    monkeypatch.setattr(machine, "usable_cpus", lambda: list(range(8)))
    monkeypatch.setattr(cpus, "FOLDER", tmp_path)  # these CPUs may not be there, and are not used
    return asked


@pytest.mark.usefixtures("home")
def test_roofs_are_measured_once_for_each_machine(machine, asked):
    first = ceilings.roofs(machine, ["cpu"], [1])
    assert {roof.threads for roof in first} == {1, machine.usable_cores}
    assert replace(first[0], libraries={}) == ROOF
    count = len(asked)
    assert count > 0
    assert ceilings.roofs(machine, ["cpu"], [1]) == first
    assert len(asked) == count


@pytest.mark.usefixtures("home")
def test_another_version_of_a_library_measures_again(machine, asked, monkeypatch):
    ceilings.roofs(machine, ["cpu"], [1])
    before = len(asked)
    monkeypatch.setattr(distributions, "versions", lambda names: {n: f"{n}-next" for n in names})
    found = ceilings.roofs(machine, ["cpu"], [1])
    assert len(asked) == 2 * before
    assert found[0].libraries["numpy"] == "numpy-next"


@pytest.mark.usefixtures("home")
def test_only_what_is_missing_is_measured(machine, asked):
    ceilings.roofs(machine, ["cpu"], [1])
    del asked[:]
    found = ceilings.roofs(machine, ["cpu", "cuda"], [3])
    assert {(device, threads) for _, _, device, threads in asked} == {("cpu", 3), ("cuda", 1)}
    assert (found[-1].device, found[-1].gflops) == ("cuda", None)  # torch gave nothing
    assert ceilings.roofs(machine, ["cpu"], [1])[0].gflops == ROOF.gflops


@pytest.mark.usefixtures("home")
@pytest.mark.usefixtures("asked")
def test_a_home_that_cannot_be_written_costs_only_time(machine, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert ceilings.roofs(machine, ["cpu"], [1])[0].gflops == ROOF.gflops


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


@pytest.mark.usefixtures("home")
@pytest.mark.usefixtures("one_cpu")
def test_a_run_measures_the_ceilings_if_asked(tmp_path, call, monkeypatch):
    numpy_alone = dict.fromkeys(ceilings.LIBRARIES, ("numpy",))  # others take seconds to import
    monkeypatch.setattr(ceilings, "LIBRARIES", numpy_alone)
    what = ("--backends", "numpy", "--workload", "toy-sigmoid", "--quick", "--roofline")
    done = call("run", *what, "--output", tmp_path / "run")
    assert done.code == 0, done.stderr
    assert "Share of the ceilings: 1 thread " in done.stdout
    roofs = store.read_info(tmp_path / "run").roofs
    assert roofs
    assert all(0 < roof.gflops < 1e6 for roof in roofs)
    assert all(0 < roof.gb_per_s < 1e5 for roof in roofs)
