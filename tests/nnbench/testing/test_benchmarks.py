"""The phases in pytest-benchmark's own words, and what its tools make of them."""

import json
import subprocess
import sys

import pytest

from nnbench.contract.errors import ExitCode
from tests.plugins.helpers import environment, run_pytest

QUICK = ("--", "--benchmark-max-time=0.01", "--benchmark-min-rounds=3", "-q")
REVISION = "NNBENCH_TEST_REVISION"  # "slowed" sleeps 2 ms in every update of head
PHASES = ["backprop", "epoch", "feedforward", "update"]
AUTHORS_FILE = """
def test_wide(nnbench_benchmark):
    nnbench_benchmark("numpy", "epoch", workload="mnist", batch_size=16, epoch_images=40)
"""


def benchmark(*arguments, cwd, **variables):
    env = environment("revised", **variables)
    command = [sys.executable, "-m", "nnbench", "test", *arguments, "--benchmark", *QUICK]
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Time a backend before it gets slower, and keep the times in both ways."""
    folder = tmp_path_factory.mktemp("times")
    done = benchmark("slowed", "--benchmark-autosave", "--benchmark-json=now.json", cwd=folder)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    return folder


def test_the_json_says_what_was_timed(saved):
    found = json.loads((saved / "now.json").read_text())["benchmarks"]
    assert sorted(item["group"] for item in found) == PHASES
    for item in found:
        assert item["name"] == f"slowed {item['group']} mnist"
        assert item["fullname"] == f"benchmark::slowed::test_phase[{item['group']}]"
        assert item["stats"]["rounds"] >= 3
        info = item["extra_info"]
        assert (info["backend"], info["workload"], info["threads"]) == ("slowed", "mnist", 1)
        assert (info["batch_size"], info["epoch_images"]) == (64, 640)
        assert set(info["versions"]) == {"nnbench-harness", "numpy"}


def test_pytest_benchmark_compares_it(saved):
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "--group-by=group"]
    done = subprocess.run(
        command, cwd=saved, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(f"benchmark '{phase}'" in done.stdout for phase in PHASES)


def test_a_slower_revision_is_a_regression(saved):
    limit = ("--benchmark-compare", "--benchmark-compare-fail=median:500%")
    done = benchmark("slowed", *limit, cwd=saved, **{REVISION: "head"})
    assert done.returncode == ExitCode.REGRESSION
    assert "slowed: slower than the limit" in done.stdout
    assert "update" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_revision_is_none(saved):
    limit = ("--benchmark-compare", "--benchmark-compare-fail=median:100000%")
    done = benchmark("slowed", *limit, cwd=saved)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr


def test_a_wrong_backend_is_not_timed(tmp_path):
    done = benchmark(
        "broken", "steady", "--benchmark-json=x.json", cwd=tmp_path, **{REVISION: "head"}
    )
    assert done.returncode == ExitCode.ACCURACY
    assert "not timed: first losses" in done.stdout
    assert "Likely mistake: the gradient has the opposite sign" in done.stdout
    found = json.loads((tmp_path / "x.json").read_text())["benchmarks"]
    assert {item["extra_info"]["backend"] for item in found} == {"steady"}


def test_authors_have_a_fixture(tmp_path):
    (tmp_path / "test_speed.py").write_text(AUTHORS_FILE)
    done = run_pytest(tmp_path, *QUICK[1:], "--benchmark-json=x.json", env=environment())
    assert done.returncode == 0, done.stdout
    [item] = json.loads((tmp_path / "x.json").read_text())["benchmarks"]
    assert (item["name"], item["group"]) == ("numpy epoch mnist", "epoch")
    assert (item["extra_info"]["batch_size"], item["extra_info"]["epoch_images"]) == (16, 40)


def test_an_unknown_phase_is_refused(tmp_path):
    (tmp_path / "test_speed.py").write_text(AUTHORS_FILE.replace('"epoch"', '"era"'))
    done = run_pytest(tmp_path, env=environment())
    assert "no phase 'era'; known: feedforward, backprop, update, epoch" in done.stdout


def test_the_benchmarks_need_pytest_benchmark(tmp_path):
    (tmp_path / "test_speed.py").write_text(AUTHORS_FILE)
    env = {**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-P", "-m", "pytest", "-pnnbench.testing.plugin"]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert "pytest-benchmark is missing: pip install 'nnbench-harness[test]'" in done.stdout
