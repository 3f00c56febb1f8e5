"""The pytest plugin: for authors of backends, and out of everyone else's way."""

import subprocess
import sys

import pytest

from tests.plugins.helpers import EXAMPLE, environment, run_pytest

ENV = environment("broken", EXAMPLE)
CHEAP = "-k form or logits"
TEST_FILE = """
import nnbench.testing

TestMine = nnbench.testing.conformance("{name}")
"""
RECORD = """
import nnbench.testing
from nnbench import Backend
from nnbench_example.network import ExampleNetwork

backend = Backend(name="mine", summary="not installed", create=ExampleNetwork)
TestMine = nnbench.testing.conformance(backend)
"""


def outcomes(done):
    """Return pytest's last line."""
    return done.stdout.splitlines()[-1]


def test_it_loads_nothing_heavy():
    heavy = "{'numpy', 'pandas', 'torch', 'scipy', 'psutil'}"
    code = f"import sys, nnbench.testing.plugin; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_other_projects_notice_nothing(tmp_path):
    (tmp_path / "test_other.py").write_text("def test_one(tmp_path):\n    assert tmp_path\n")
    done = run_pytest(tmp_path, "-Werror", "--strict-markers", "--strict-config", env=ENV)
    assert "1 passed" in outcomes(done)
    assert "nnbench" not in done.stdout.replace("nnbench-", "")


def test_one_line_in_a_file_is_enough(tmp_path):
    (tmp_path / "test_mine.py").write_text(TEST_FILE.format(name="honest"))
    done = run_pytest(tmp_path, "-Werror", CHEAP, env=ENV)
    assert done.returncode == 0, done.stdout
    assert "8 passed" in outcomes(done)


def test_a_mistake_is_shown_without_a_traceback(tmp_path):
    (tmp_path / "test_mine.py").write_text(TEST_FILE.format(name="transposes"))
    done = run_pytest(tmp_path, "-k dump_returns", env=ENV)
    assert done.returncode == 1
    assert "Likely mistake: transposed" in done.stdout
    assert "Traceback" not in done.stdout
    assert "def test_" not in done.stdout


def test_a_backend_need_not_be_installed(tmp_path):
    (tmp_path / "test_mine.py").write_text(RECORD)
    done = run_pytest(tmp_path, "-rs", "-k fresh_process or logits", env=ENV)
    assert done.returncode == 0, done.stdout
    assert "2 passed, 1 skipped" in outcomes(done)
    assert "not an installed plugin" in done.stdout


def test_the_option_adds_the_suite(tmp_path):
    (tmp_path / "test_own.py").write_text("def test_of_logits():\n    pass\n")
    names = ("--nnbench-backend=honest", "--nnbench-backend=numpy")
    done = run_pytest(tmp_path, *names, "-v", "-k logits", env=ENV)
    assert done.returncode == 0, done.stdout
    for expected in (
        "test_own.py::test_of_logits PASSED",
        "conformance::honest::test_logits_match_the_reference PASSED",
        "conformance::numpy::test_logits_match_the_reference PASSED",
    ):
        assert expected in done.stdout


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nump", "no backend named 'nump'; did you mean numpy? known: "),
        ("numpy[x=1]", "numpy has no parameter 'x'; known: threads"),
        ("all", "name one backend, not 'all'"),
        ("numpy,python", "name one backend, not 'numpy,python'"),
    ],
)
def test_a_name_that_is_none_is_one_line(tmp_path, name, problem):
    done = run_pytest(tmp_path, f"--nnbench-backend={name}", env=ENV)
    assert done.returncode == 4
    assert "Traceback" not in done.stdout + done.stderr
    [line] = filter(None, done.stderr.splitlines())
    assert line.startswith(f"ERROR: {problem}")


def test_an_unavailable_backend_is_skipped_with_its_reason(tmp_path):
    (tmp_path / "test_mine.py").write_text(TEST_FILE.format(name="absent"))
    done = run_pytest(tmp_path, "-rs", CHEAP, env=environment("whole"))
    assert done.returncode == 0
    assert "8 skipped" in outcomes(done)
    assert "No_Such-Library is not installed" in done.stdout


@pytest.mark.parametrize(
    ("name", "reason", "others"),
    [("trains-trees", "it trains trees", 2), ("unavailable-in-create", "no device", 7)],
)
def test_nothing_tested_is_a_failure(tmp_path, name, reason, others):
    (tmp_path / "test_mine.py").write_text(TEST_FILE.format(name=name))
    done = run_pytest(tmp_path, CHEAP, env=ENV)
    assert done.returncode == 1
    assert f" {others} skipped, " in outcomes(done)
    assert ", 1 error in " in outcomes(done)
    assert f"{name}: nothing tested, as no network is supported: " in done.stdout
    assert reason in done.stdout


def test_a_required_backend_fails_instead(tmp_path):
    (tmp_path / "test_mine.py").write_text(TEST_FILE.format(name="absent"))
    env = environment("whole", NNBENCH_REQUIRE="absent")
    done = run_pytest(tmp_path, "-k logits", env=env)
    assert "2 errors" in outcomes(done)
    assert "is required (NNBENCH_REQUIRE): No_Such-Library is not installed" in done.stdout


def test_threads_that_cannot_be_set_any_more_fail(tmp_path):
    env = {**ENV, "OMP_NUM_THREADS": "1"}
    done = run_pytest(tmp_path, "--nnbench-backend=numpy[threads=2]", "-k logits", env=env)
    assert "2 errors" in outcomes(done)
    assert "run nnbench test 'numpy[threads=2]'" in done.stdout
