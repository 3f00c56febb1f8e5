"""Blocks on real workers of dask: each counts once, whoever is killed."""

import os
import signal
import socket
import subprocess
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from nnbench.contract.errors import ExitCode, NnbenchError
from nnbench.execution import remote
from nnbench.records import Status
from nnbench.runs import store
from nnbench.testing.subject import required
from tests.clusters import CELL, RESOURCE, Cluster, running
from tests.plugins.helpers import NNBENCH, environment, nnbench, survivors, wait_until

pytestmark = pytest.mark.skipif(
    not find_spec("distributed") and "dask" not in required(), reason="dask: not installed"
)
TOY = ("-w", "toy-sigmoid", "--no-progress")


@pytest.fixture
def mark(tmp_path):
    """Mark all processes that come of this test, and hold that none is left."""
    yield tmp_path
    try:
        wait_until(lambda: not survivors(tmp_path))
    finally:
        for process in survivors(tmp_path):
            process.kill()


@pytest.fixture
def env(mark):
    """Give an environment for processes that know of backends with faults."""
    return environment("faulty", mark=mark, NNBENCH_FAULTY_FOLDER=str(mark))


def finals(folder):
    """Return what became of each cell that counts: none is there twice."""
    cells = [cell for cell in store.read_cells(folder) if cell.final]
    found = {(cell.round, cell.backend): cell for cell in cells}
    assert len(found) == len(cells)
    return found


def test_cluster_is_started_here_and_ends_with_the_run(mark, env):
    folder = mark / "run"
    asked = ["-b", "numpy", "-r", "2", "--executor", "dask[workers=2]", "-o", folder]
    done = nnbench("run", *TOY, *asked, env=env)
    assert done.returncode == ExitCode.OK, done.stderr
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


@contextmanager
def submitting(cluster, *arguments):
    """Have nnbench run blocks on a cluster."""
    command = [*NNBENCH, *map(str, arguments)]
    with subprocess.Popen(command, env=cluster.env, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


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


SLOW = ("-b", "slow,steady", "-r", "2", "--budget", "4")


@pytest.mark.engines
def test_block_of_a_worker_that_is_killed_runs_again_elsewhere(cluster):
    for _ in range(2):
        cluster.start_worker(*RESOURCE)
    with submitting(cluster, *asked(cluster, *SLOW)) as process:
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
    with submitting(cluster, *asked(cluster, *SLOW)) as process:
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
    with submitting(cluster, *asked(cluster, *SLOW)) as process:
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
    command = [*NNBENCH, "run", *TOY, *SLOW, "--executor", "dask[workers=1]", "-o", str(folder)]
    started = subprocess.Popen(
        command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with started as process:
        wait_until(lambda: running(CELL, survivors(mark)))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers, too, get it
        _, said = process.communicate(timeout=180)
    assert process.returncode == ExitCode.INTERRUPTED, said
    assert "blocks that run are waited for: 1; interrupt again to cancel them" in said
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
