"""What pytest-benchmark itself makes of our JSON."""

import json
import subprocess
import sys

import pytest

from nnbench.contract.errors import ExitCode, NnbenchError, ResultsError
from nnbench.runs.sweep import Sweep
from nnbench.show.exports import trackers

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
        path.write_bytes(trackers.to_pytest_benchmark(Sweep.open(run)))
        return path

    return write


def test_statistics_are_those_of_the_times():
    found = trackers.statistics([9.0, 1.0, 3.0, 2.0, 4.0])
    assert (found["min"], found["max"], found["median"], found["rounds"]) == (1.0, 9.0, 3.0, 5)
    assert (found["mean"], found["total"]) == pytest.approx((3.8, 19.0))
    assert (found["stddev"], found["ops"]) == pytest.approx((9.7**0.5, 5 / 19))
    assert (found["q1"], found["q3"], found["iqr"]) == pytest.approx((1.75, 5.25, 3.5))
    assert (found["data"], found["iterations"]) == ([9.0, 1.0, 3.0, 2.0, 4.0], 1)


def test_outliers_are_counted():
    assert trackers.statistics([1.0, 1.1, 1.2, 1.3, 9.0])["outliers"] == "1;1"


def test_missing_library_is_said_with_the_way_out(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest_benchmark.stats", None)
    hint = r"needs pytest-benchmark, .*: pip install 'nnbench-harness\[test\]'$"
    with pytest.raises(NnbenchError, match=hint):
        trackers.to_pytest_benchmark(Sweep.open(run))


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
        trackers.to_pytest_benchmark(Sweep.open(unmeasured_run))
    assert raised.value.exit_code == ExitCode.NOTHING_MEASURED
