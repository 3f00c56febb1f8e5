"""What pytest-benchmark itself makes of our JSON."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_benchmark.stats import Stats

from nnbench.contract.errors import ExitCode, NnbenchError, ResultsError
from nnbench.runs.run import Run
from nnbench.show.exports import trackers

TIMES = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=40)
TEST = """
def test_mine(benchmark):
    benchmark.fullname, benchmark.group = "mnist/numpy", "mnist"
    benchmark(sum, [1, 2])
"""
from tests.plugins.helpers import environment


def start(folder, *arguments):
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture
def save(tmp_path):
    """Give a function that exports a run into a file."""

    def write(run):
        path = tmp_path / "saved.json"
        path.write_bytes(trackers.to_pytest_benchmark(Run.open(run)))
        return path

    return write


@given(TIMES)
def test_statistics_are_those_of_pytest_benchmark(times):
    stats = Stats()
    for seconds in times:
        stats.update(seconds)
    found = trackers.statistics(times)
    assert found.pop("iterations") == 1
    assert found.pop("data") == times
    expected = stats.as_dict()
    for name in ("outliers", "iqr_outliers", "stddev_outliers"):  # at a border rounding decides
        assert name in expected
        del expected[name], found[name]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_outliers_are_counted_as_pytest_benchmark_does():
    stats = Stats()
    stats.data = [1.0, 1.1, 1.2, 1.3, 9.0]
    found = trackers.statistics(stats.data)
    assert found["outliers"] == stats.outliers == "1;1"


def test_missing_library_is_said_with_the_way_out(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest_benchmark.stats", None)
    hint = r"needs pytest-benchmark, .*: pip install 'nnbench-harness\[test\]'$"
    with pytest.raises(NnbenchError, match=hint):
        trackers.to_pytest_benchmark(Run.open(run))


def test_compare_reads_the_file(run, save, tmp_path):
    table = tmp_path / "table.csv"
    done = start(tmp_path, "pytest_benchmark", "compare", save(run), f"--csv={table}")
    assert (done.returncode, "Failed to load" in done.stderr) == (0, False)
    assert " benchmark 'mnist': 2 tests " in done.stdout
    header, *rows = (line.split(",") for line in table.read_text().splitlines())
    found = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert {name.split("/")[-1].split(" ")[0] for name in found} == {"numpy", "a"}
    [numpy] = [row for name, row in found.items() if "numpy" in name]
    assert float(numpy["median"]) == 1.01
    assert numpy["rounds"] == "3"


def test_pytest_compares_its_own_benchmarks_with_the_file(run, save, tmp_path):
    (tmp_path / "test_mine.py").write_text(TEST)
    options = [f"--benchmark-compare={save(run).name}", "--benchmark-max-time=0.01"]
    done = start(tmp_path, "pytest", "test_mine.py", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Comparing against benchmarks from: saved.json" in done.stderr
    assert " benchmark 'mnist': 2 tests " in done.stdout
    assert "test_mine (saved)" in done.stdout


def test_any_name_is_read(nasty_run, save, tmp_path, name):
    path = save(nasty_run)
    assert name in [bench["name"] for bench in json.loads(path.read_text())["benchmarks"]]
    from pytest_benchmark.logger import Logger
    from pytest_benchmark.storage.file import FileStorage

    storage = FileStorage(tmp_path, logger=Logger(Logger.QUIET))
    names = [bench["fullname"] for bench in storage.load_benchmarks(str(path))]
    assert names == ["mnist/numpy", f"mnist/{name}"]


def test_state_of_the_repository_is_taken_apart():
    assert trackers.commit("abc-dirty") == {"id": "abc", "dirty": True, "time": None}
    assert trackers.commit("abc")["dirty"] is False
    assert trackers.commit(None)["id"] == "unversioned"


def test_run_without_figures_is_refused(unmeasured_run):
    with pytest.raises(ResultsError, match="nothing to export: no backend was measured") as raised:
        trackers.to_pytest_benchmark(Run.open(unmeasured_run))
    assert raised.value.exit_code == ExitCode.NOTHING_MEASURED
