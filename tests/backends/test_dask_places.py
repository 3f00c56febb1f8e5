"""Workers that are started for a run: what ends is started anew, what never comes is told of."""

import signal
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from nnbench.contract.errors import ExecutorError, NnbenchError, PluginWarning
from nnbench.execution import remote
from nnbench.testing.subject import required

if not find_spec("distributed") and "dask" not in required():
    pytest.skip("dask: not installed", allow_module_level=True)

import dask

from nnbench_dask import slurm
from nnbench_dask.places import TRIES, Crew, Starter, last_words


class Scripted(Starter):
    """Starts what a test says."""

    def __init__(self):
        self.refusal, self.begun, self.over, self.closed = "", [], {}, 0

    def begin(self, seat, name):
        if self.refusal:
            raise ExecutorError(f"{self.refusal} of {seat}")
        self.begun.append(name)

    def ended(self):
        over, self.over = self.over, {}
        return over

    def close(self):
        self.closed += 1


@pytest.fixture
def starter():
    return Scripted()


@pytest.fixture
def crew(starter):
    """Give a function that makes a crew."""
    scheduler = SimpleNamespace(contact_address=None)
    cluster = SimpleNamespace(scheduler_address="here", scheduler=scheduler, close=lambda: None)
    return lambda *seats: Crew(cluster, lambda _: starter, seats)


def test_worker_that_was_there_is_started_anew_under_another_name(crew, starter):
    made = crew("a", "b")
    made.mend({"a-0", "b-1"})
    for number in range(2, 8):
        starter.over = {starter.begun[-1]: "it had its time"}
        made.mend(["a-0", *starter.begun])
        assert starter.begun[-1] == f"b-{number}"


def test_what_is_refused_at_first_ends_the_run_in_the_words_of_who_refuses(crew, starter):
    starter.refusal = "none"
    with pytest.raises(ExecutorError, match=r"^none of a; none of b$"):
        crew("a", "b")
    assert starter.closed


def test_worker_that_never_comes_is_told_of_and_not_tried_for_ever(crew, starter):
    made = crew("a", "b")
    for _ in range(TRIES):
        starter.over = {starter.begun[-1]: "unreachable"}
        with pytest.warns(PluginWarning, match=r"^unreachable$"):
            made.mend(["a-0"])
    made.mend(["a-0"])
    assert [name[0] for name in starter.begun] == ["a", *"b" * TRIES]


def test_run_ends_if_no_worker_has_ever_come(crew, starter):
    made = crew("a", "b")
    starter.over = {"a-0": "no python", "b-1": "no python"}
    with pytest.raises(ExecutorError, match=r"^no python$"):
        made.mend([])
    assert starter.begun == ["a-0", "b-1"]


def test_refusal_in_a_run_ends_it_only_when_it_was_repeated(crew, starter):
    made = crew("a")
    starter.over, starter.refusal = {"a-0": "over"}, "none"
    for _ in range(TRIES - 1):
        with pytest.warns(PluginWarning, match=r"^none of a$"):
            made.mend(["a-0"])
    with pytest.raises(ExecutorError, match=r"^none of a$"):
        made.mend(["a-0"])


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("python: No such file\n\n", "python: No such file"),
        (
            "No module named x\n12:00 - distributed.worker - INFO - End worker\n",
            "No module named x",
        ),
        ("12:00 - x - INFO - Timed out\n12:00 - x - INFO - End", "12:00 - x - INFO - End"),
    ],
)
def test_last_words_are_those_that_tell_why(log, words):
    assert last_words(log) == words


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Have commands of SLURM that are not asked for anything."""
    for name in slurm.COMMANDS:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("stubs")
def test_ctrl_c_stays_whose_it_was(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("dask_jobqueue")]:
        monkeypatch.delitem(sys.modules, name)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(NnbenchError, match=r"^dask\[slurm\] needs cores, as in dask\[slurm=true,"):
        remote.find("dask[slurm=true]").machines([], 1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("stubs")
@pytest.mark.parametrize(
    ("configured", "problem"),
    [
        ({"cores": 1, "memory": "1GB", "walltime": None}, r"^dask\[slurm\] needs walltime, as in "),
        ({"cores": 1, "memory": "much"}, r"^dask-jobqueue: Could not interpret 'much' as a byte"),
    ],
)
def test_job_needs_a_memory_and_a_time_limit(configured, problem):
    slurm.configuration()
    keys = {f"jobqueue.slurm.{key}": value for key, value in configured.items()}
    with dask.config.set(keys), pytest.raises(NnbenchError, match=problem):
        remote.find("dask[slurm=true]").machines([], 1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("slurm=true", r"^dask\[slurm\] needs SLURM's commands, and there is no sbatch here: "),
        ("ssh=lab1", r"^dask\[ssh\] needs OpenSSH's client, and there is no ssh here$"),
        ("address=tcp://127.0.0.1:1,python=p", r"^dask\[python\] means nothing with address$"),
        ("slurm=true,jobs=0", r"^dask\[jobs=0\]: it must be 1 or more$"),
    ],
)
def test_what_is_missing_here_is_a_sentence(options, problem, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NnbenchError, match=problem):
        remote.find(f"dask[{options}]").machines([], 1)
