"""What a session that was cut says of itself."""

import json
import sys

import pytest

from nnbench import Backend
from nnbench.selection import Selection
from nnbench.testing.execution import HANG, SLOW, run, why_cut
from nnbench.testing.session import Finding


def starts(*times):
    return [
        Finding("mine", f"check {number}", "started", at_s=at_s)
        for number, at_s in enumerate(times, start=1)
    ]


@pytest.mark.parametrize(
    ("times", "hint"),
    [
        ([], HANG),
        ([100], HANG),
        ([100, 101, 102], HANG),
        ([100, 249], HANG),
        ([100, 251], SLOW),
        ([100, 101, 300, 390], SLOW),
    ],
)
def test_a_check_that_took_longer_than_all_before_it_hangs(times, hint):
    assert why_cut(starts(*times), 400).endswith(f"Likely mistake: {hint}")


def test_where_all_is_slow_the_longest_check_is_named():
    text = why_cut(starts(100, 101, 300, 390), 400)
    assert text.startswith(", in this check for 10 s; the longest was check 2 with 199 s. ")


def test_a_session_has_the_environment_of_a_worker(monkeypatch):
    given = {"NUMBA_DISABLE_JIT": "1", "PYTEST_ADDOPTS": "-x", "MINE": "fast", "COLUMNS": "70"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    backend = Backend(name="mine", summary="", create=pytest.fail, environment=("MINE",))
    command = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    status, output = run(command, Selection(backend, {}, threads=2), 60.0, show=False)
    found = json.loads(output)
    assert status == 0
    assert given.keys() & found.keys() == {"MINE", "COLUMNS"}
    assert found["NPROC"] == found["OMP_NUM_THREADS"] == "2"
