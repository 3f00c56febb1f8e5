"""Blocks on real workers of dask: each counts once, whoever is killed."""

import os
import signal
import socket
from contextlib import suppress
from importlib.util import find_spec

import pytest

from nnbench.contract.errors import ExitCode, NnbenchError
from nnbench.execution import remote
from nnbench.records.cells import Status
from nnbench.runs import store
from nnbench.testing.subject import required
from tests.backends.blocks import SLOW, TOY, finals, submitting
from tests.clusters import CELL, RESOURCE, Cluster, running
from tests.plugins.helpers import nnbench, survivors, wait_until

pytestmark = pytest.mark.skipif(
    not find_spec("distributed") and "dask" not in required(), reason="dask: not installed"
)


def test_cluster_is_started_here_and_ends_with_the_run(mark, env):
    folder = mark / "run"
    asked = ["-b", "numpy", "-r", "2", "--executor", "dask[workers=2]", "-o", folder]
    with socket.socket() as other:
        with suppress(OSError):  # it is taken all the same
            other.bind(("127.0.0.1", 8787))  # where dask would serve its dashboard
            other.listen()
        done = nnbench("run", *TOY, *asked, env=env)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "8787" not in done.stderr
    cells = finals(folder)
    assert cells.keys() == {(0, "numpy"), (1, "numpy")}
    assert {cell.status for cell in cells.values()} == {Status.OK}
    assert all(cell.proof.proved and not cell.shared_cpus for cell in cells.values())
    info = store.read_info(folder)
    assert (info.executor, list(info.machines)) == ("dask[workers=2]", [socket.gethostname()])
    assert {cell.machine for cell in cells.values()} == info.machines.keys()


@pytest.fixture
def cluster(mark, env):
    """Give a scheduler that has no worker yet."""
    made = Cluster(env, mark)
    yield made
    made.close()


def asked(cluster, *more):
    executor = f"dask[address={cluster.address},patience=60]"
    return ["run", *TOY, "--executor", executor, "-o", cluster.folder / "run", *more]


def test_workers_without_the_resource_are_told_of_in_a_sentence(cluster):
    cluster.start_worker()
    done = nnbench(*asked(cluster, "-b", "numpy", "-r", "1"), env=cluster.env)
    assert done.returncode == ExitCode.BACKEND_FAILED
    text = f"nnbench: error: no worker of dask at {cluster.address} has the resource nnbench, so "
    assert text in done.stderr
    assert f"dask worker {cluster.address} --resources nnbench=1" in done.stderr


@pytest.mark.engines
def test_block_of_a_worker_that_is_killed_runs_again_elsewhere(cluster):
    for _ in range(2):
        cluster.start_worker(*RESOURCE)
    with submitting(cluster.env, *asked(cluster, *SLOW)) as process:
        wait_until(cluster.busy)
        cluster.busy()[0].kill()
        _, said = process.communicate(timeout=180)
        assert process.returncode == ExitCode.OK, said
    cells = list(store.read_cells(cluster.folder / "run"))
    lost = [cell for cell in cells if cell.status is Status.LOST]
    assert {cell.backend for cell in lost} == {"slow", "steady"}
    [round_] = {cell.round for cell in lost}
    found = finals(cluster.folder / "run")
    assert len(found) == 4
    assert {c.block_attempt for c in found.values() if c.round == round_} == {1}
    assert {c.block_attempt for c in found.values() if c.round != round_} == {0}


@pytest.mark.engines
def test_run_whose_scheduler_is_killed_can_be_resumed(cluster):
    cluster.start_worker(*RESOURCE)
    with submitting(cluster.env, *asked(cluster, *SLOW)) as process:
        wait_until(cluster.busy)
        cluster.scheduler.kill()
        cluster.scheduler.wait()
        _, said = process.communicate(timeout=180)
        assert process.returncode == ExitCode.BACKEND_FAILED, said
        assert f"the scheduler of dask at {cluster.address} is gone; nnbench run --resume" in said
        assert "Traceback" not in said
    cluster.start_scheduler()
    cluster.start_worker(*RESOURCE)
    done = nnbench("run", "--resume", cluster.folder / "run", "--no-progress", env=cluster.env)
    assert done.returncode == ExitCode.OK
    assert len(finals(cluster.folder / "run")) == 4


@pytest.mark.engines
def test_block_of_a_run_that_was_killed_goes_on_and_is_found_again(cluster):
    cluster.start_worker(*RESOURCE)
    with submitting(cluster.env, *asked(cluster, *SLOW)) as process:
        wait_until(cluster.busy)
        process.kill()
    done = nnbench("run", "--resume", cluster.folder / "run", "--no-progress", env=cluster.env)
    assert done.returncode == ExitCode.OK, done.stderr
    cells = list(store.read_cells(cluster.folder / "run"))
    assert {(c.block_attempt, c.status.value) for c in cells} == {(0, "ok"), (0, "budget")}
    assert len(finals(cluster.folder / "run")) == len(cells) == 4


@pytest.mark.engines
def test_ctrl_c_waits_for_the_blocks_that_run(mark, env):
    folder = mark / "run"
    with submitting(
        env, "run", *TOY, *SLOW, "--executor", "dask[workers=1]", "-o", folder
    ) as process:
        wait_until(lambda: running(CELL, survivors(mark)))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers, too, get it
        _, said = process.communicate(timeout=180)
    assert process.returncode == ExitCode.INTERRUPTED, said
    assert "blocks that run are waited for: 1; Ctrl-C now cancels them" in said
    assert len(finals(folder)) == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("address=tcp://127.0.0.1:1,slurm=true", r"dask\[slurm\] means nothing with address"),
        ("jobs=3", r"dask\[jobs\] means nothing without address, ssh or slurm"),
        ("ssh=a b,workers=3", r"dask\[workers\] means nothing with ssh"),
        ("address=tcp://127.0.0.1:1", "there is no scheduler of dask at tcp://127.0.0.1:1: "),
    ],
)
def test_options_that_lead_nowhere_are_refused(options, problem, monkeypatch):
    session = pytest.importorskip("nnbench_dask.session")
    monkeypatch.setattr(session, "CONNECT_S", 0.5)
    with pytest.raises(NnbenchError, match=problem):
        remote.find(f"dask[{options}]").machines([], 1)
