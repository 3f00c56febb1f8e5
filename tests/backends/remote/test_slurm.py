"""Blocks in jobs of a real SLURM of two nodes: each counts once, and no job is left (make engines)."""

import os
import signal

import pytest

from nnbench.contract.errors import ExecutorError, ExitCode, NnbenchError
from nnbench.execution import remote
from nnbench.records.cells import Status
from nnbench.runs import store
from nnbench.testing.subject import required
from tests.backends.blocks import SLOW, TOY, finals, submitting, workers
from tests.backends.remote import slurm as fixture
from tests.plugins.helpers import nnbench, wait_until

missing = fixture.missing()
pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(
        bool(missing) and "slurm" not in required(), reason=f"slurm: no {', '.join(missing)} here"
    ),
]
JOB = "cores=1,memory=500MB"
#: What a user has configured, as dask-jobqueue reads it.
CONFIGURED = """
jobqueue:
  slurm:
    name: ours
    cores: 1
    memory: 700MB
    queue: cpu
    walltime: '00:20:00'
    death-timeout: 5
    job-extra-directives: ['--comment=mine']
    job-script-prologue: ['export NNBENCH_INHERIT=PROLOGUE PROLOGUE=1']
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Give a cluster of two nodes to all tests."""
    with fixture.running(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture
def env(env, slurm, mark):
    """Have commands and jobs know of the cluster; it has to be empty in the end."""
    yield env | slurm.env | {"XDG_CACHE_HOME": str(mark / "cache")}
    try:
        wait_until(lambda: not slurm.queue())
    finally:
        slurm.ask("scancel", *slurm.queue())


@pytest.fixture
def since(slurm):
    """Give a function that returns the jobs of this test."""
    before = {job["JobId"] for job in slurm.jobs()}
    return lambda: [job for job in slurm.jobs() if job["JobId"] not in before]


def asked(folder, *more, **parts):
    text = ",".join([JOB, *(f"{key}={value}" for key, value in parts.items())])
    return ["run", *TOY, "--executor", f"dask[slurm=true,{text}]", "-o", folder / "run", *more]


def busy(mark):
    """Return the jobs whose block trains a cell, by their node."""
    variables = (variables for _, variables in workers(mark))
    return {each["SLURMD_NODENAME"]: each["SLURM_JOB_ID"] for each in variables}


def test_blocks_run_in_jobs_on_all_nodes(mark, env, since):
    with submitting(
        env, *asked(mark, "-b", "slow,steady", "-r", "3", "--budget", "1", jobs=2)
    ) as run:
        nodes = set()
        while run.poll() is None:  # not at once where there is one CPU, or others hold some
            nodes |= busy(mark).keys()
        _, said = run.communicate(timeout=180)
    assert nodes == {"n1", "n2"}
    assert run.returncode == ExitCode.OK, said
    cells = finals(mark / "run")
    assert cells.keys() == {(r, name) for r in range(3) for name in ("slow", "steady")}
    assert not any(cell.status is Status.LOST for cell in store.read_cells(mark / "run"))
    assert not any(cell.shared_cpus for cell in cells.values())
    assert len(since()) == 2
    assert all((job["Requeue"], job["TimeLimit"]) == ("0", "00:30:00") for job in since())
    assert not [*(mark / "cache" / "nnbench" / "jobs").iterdir()]  # they had nothing to say


def test_job_is_as_the_user_has_configured_dask_jobqueue(mark, env, since):
    folder = mark / "config"
    folder.mkdir()
    (folder / "jobqueue.yaml").write_text(CONFIGURED)
    arguments = ["-b", "numpy", "-r", "1", "--executor", "dask[slurm=true]", "-o", mark / "run"]
    done = nnbench("run", *TOY, *arguments, env=env | {"DASK_CONFIG": str(folder)})
    assert done.returncode == ExitCode.OK, done.stderr
    [job] = since()
    found = [job[key] for key in ("JobName", "TimeLimit", "Comment", "MinMemoryNode", "Requeue")]
    assert found == ["ours", "00:20:00", "mine", "668M", "0"]
    [cell] = store.read_cells(mark / "run")
    assert "PROLOGUE" in cell.variables


@pytest.mark.parametrize("how", [[], ["--signal=TERM", "--full"]], ids=["cancelled", "told to end"])
def test_block_of_a_job_that_ends_runs_again_in_another_that_is_started_anew(
    how, slurm, mark, env, since
):
    with submitting(env, *asked(mark, *SLOW, jobs=2)) as run:
        wait_until(lambda: busy(mark))
        [job, *_] = busy(mark).values()
        slurm.ask("scancel", *how, job)
        _, said = run.communicate(timeout=180)
    assert run.returncode == ExitCode.OK, said
    lost = [cell for cell in store.read_cells(mark / "run") if cell.status is Status.LOST]
    assert {cell.backend for cell in lost} == {"slow", "steady"}
    [round_] = {cell.round for cell in lost}
    found = finals(mark / "run")
    assert len(found) == 4
    assert {c.block_attempt for c in found.values() if c.round == round_} == {1}
    assert {c.block_attempt for c in found.values() if c.round != round_} == {0}
    assert len(since()) == 3
    assert all(job["NodeList"] in {"n1", "n2"} for job in since())  # the third has started, too


def test_nothing_is_left_of_a_run_that_is_killed(slurm, mark, env, since):
    folder = mark / "config"
    folder.mkdir()
    (folder / "jobqueue.yaml").write_text(CONFIGURED)
    env["DASK_CONFIG"] = str(folder)
    with submitting(env, *asked(mark, *SLOW, jobs=3)) as run:  # one more than there are nodes
        wait_until(lambda: busy(mark))
        run.kill()
    wait_until(lambda: not slurm.queue())  # the third has started, and found nobody
    assert len(since()) == 3


def test_interrupted_run_cancels_its_jobs(mark, env):
    with submitting(env, *asked(mark, *SLOW, jobs=2)) as run:
        wait_until(lambda: busy(mark))
        os.killpg(run.pid, signal.SIGINT)
        assert "blocks that run are waited for: " in run.stderr.readline()
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=180)
    assert run.returncode == ExitCode.INTERRUPTED, said


@pytest.fixture
def here(slurm, monkeypatch, tmp_path):
    """Have this process know of the cluster."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for key, value in slurm.env.items():
        monkeypatch.setenv(key, value)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (f"{JOB},partition=gpus", r"^sbatch: invalid partition specified: gpus; "),
        ("cores=1", r"^dask\[slurm\] needs memory, as in dask\[slurm=true,cores=4,memory=8GB,"),
        ("cores=1,memory=lots", r"^dask-jobqueue: Could not interpret 'lots' as a byte unit$"),
        ("cores=1,memory=1TB", r"^sbatch: Memory specification can not be satisfied; "),
        (
            f"{JOB},python=/nowhere/python",
            r"^job \d+ of SLURM has ended, FAILED: .*: /nowhere/python: No such file or directory \(/",
        ),
    ],
)
def test_job_that_cannot_be_is_a_sentence(options, problem):
    with pytest.raises(NnbenchError, match=problem):
        remote.find(f"dask[slurm=true,{options}]").machines([], 1)


@pytest.mark.usefixtures("here")
def test_queue_is_told_of(slurm):
    blocker = ["--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=exec sleep 60"]
    slurm.ask("sbatch", *blocker)
    wait_until(lambda: [*slurm.queue().values()] == ["RUNNING"])
    try:
        text = r"has come to tcp://.* in \d+ s; jobs wait in SLURM's queue: (Priority|Resources); "
        with pytest.raises(ExecutorError, match=text):
            remote.find(f"dask[slurm=true,{JOB},patience=6]").machines([], 1)
    finally:
        slurm.ask("scancel", *slurm.queue())
    wait_until(lambda: not slurm.queue())
