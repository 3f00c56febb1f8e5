"""Blocks on machines that are reached by a real SSH: each counts once, and no worker is left (make engines)."""

import os
import signal

import pytest

from nnbench.contract.errors import ExecutorError, ExitCode
from nnbench.execution import remote
from nnbench.records.cells import Status
from nnbench.runs import store
from nnbench.testing.subject import required
from tests.backends.blocks import SLOW, TOY, finals, submitting, workers
from tests.backends.remote import sshd
from tests.plugins.helpers import survivors, wait_until

missing = sshd.missing()
pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(
        bool(missing) and "sshd" not in required(), reason=f"sshd: no {', '.join(missing)} here"
    ),
]


@pytest.fixture
def env(env, mark):
    """Have commands know of machines, on which processes have the same environment."""
    kept = {k: v for k, v in env.items() if k.startswith(("NNBENCH_", "PYTHON"))}
    with sshd.running(mark / "ssh", kept) as folder:
        yield env | {"PATH": f"{folder}{os.pathsep}{env['PATH']}"}


def asked(folder, machines, *more):
    return ["run", *TOY, "--executor", f"dask[ssh={machines}]", "-o", folder / "run", *more]


def test_blocks_run_on_the_machines_that_can_be_reached(mark, env):
    more = ["-b", "slow,steady", "-r", "3", "--budget", "1"]
    with submitting(env, *asked(mark, "lab1 lab2 lab9", *more)) as run:
        wait_until(lambda: len(workers(mark)) == 2)
        _, said = run.communicate(timeout=180)
    assert run.returncode == ExitCode.OK, said
    assert "nnbench: warning: no worker on lab9: ssh: Could not resolve hostname lab9" in said
    cells = finals(mark / "run")
    assert cells.keys() == {(r, name) for r in range(3) for name in ("slow", "steady")}
    assert not any(cell.status is Status.LOST for cell in store.read_cells(mark / "run"))


def test_worker_that_is_killed_is_started_anew(mark, env):
    with submitting(env, *asked(mark, "lab1", "-b", "slow", "-r", "1", "--budget", "4")) as run:
        wait_until(lambda: workers(mark))
        workers(mark)[0][0].kill()
        _, said = run.communicate(timeout=180)
    assert run.returncode == ExitCode.OK, said
    cells = list(store.read_cells(mark / "run"))
    assert [(c.block_attempt, c.status is Status.LOST) for c in cells] == [(0, True), (1, False)]


def test_nothing_is_left_of_a_run_that_is_killed(mark, env):
    with submitting(env, *asked(mark, "lab1", *SLOW)) as run:
        wait_until(lambda: workers(mark))
        run.kill()
    wait_until(lambda: not survivors(mark))


def test_ctrl_c_waits_for_the_blocks_that_run(mark, env):
    with submitting(env, *asked(mark, "lab1", *SLOW)) as run:
        wait_until(lambda: workers(mark))
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=180)
    assert run.returncode == ExitCode.INTERRUPTED, said
    assert len(finals(mark / "run")) == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("ssh=lab9", r"^no worker on lab9: ssh: Could not resolve hostname lab9"),
        ("ssh=lab1,python=/nowhere/python", r"^no worker on lab1: .*/nowhere/python.*No such file"),
        ("ssh=lab1,python=/usr/bin/python3", r"^no worker on lab1: /usr/bin/python3: .*No module"),
    ],
)
def test_machine_without_a_worker_is_a_sentence(options, problem, env, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", env["NNBENCH_FAULTY_FOLDER"])
    monkeypatch.setenv("PATH", env["PATH"])
    with pytest.raises(ExecutorError, match=problem):
        remote.find(f"dask[{options}]").machines([], 1)
