"""Workers in jobs of SLURM: the script of a job is dask-jobqueue's, as the user has configured that.

A job has a time limit, always: what SLURM has lost sight of, as after the end of a slurmstepd, runs until then. And it is never
requeued, since what ran before may still run, on a node that SLURM has given up.

Sources: ``man sbatch``, ``man squeue``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import platformdirs

from nnbench import files
from nnbench.contract.errors import ExecutorError, NnbenchError, PluginWarning
from nnbench_dask.places import WORKER, Crew, Starter, last_words, scheduler

COMMANDS = ("sbatch", "squeue", "scancel")
ANSWER_S = 60.0  #: for a command of SLURM
LOGS = "jobs"  #: folder of what jobs print, in nnbench's cache; ``nnbench clean`` finds it
TIME_LIMIT = re.compile(r"^#SBATCH\s+(-t|--time)\b", re.MULTILINE)
#: States of jobs whose worker is there, or may come.
ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"}
GONE = "and SLURM knows no more of it"
SECTION = "under jobqueue.slurm in dask's configuration"
WAYS = f"as in dask[slurm=true,cores=4,memory=8GB,walltime=02:00:00], or {SECTION}"


def start(
    jobs: int, partition: str, account: str, walltime: str, cores: int, memory: str, python: str
) -> Crew:
    """Start a scheduler here, and submit jobs with a worker in each.

    Raises
    ------
    NnbenchError
        If there is no SLURM here, or it is not said what a job needs.
    ExecutorError
        If SLURM refuses all jobs.
    """
    if missing := [name for name in COMMANDS if not shutil.which(name)]:
        text = f"dask[slurm] needs SLURM's commands, and there is no {missing[0]} here"
        raise NnbenchError(f"{text}: start it on a node that submits jobs")
    configured = configuration()
    # With exec the worker is what SLURM ends, and not a shell above it, which may be gone before.
    own = f"exec {python or shlex.quote(sys.executable)}"
    extra = configured.get("worker-extra-args") or configured.get("extra") or ()
    given = {"queue": partition, "account": account, "walltime": walltime, "memory": memory}
    parts: dict[str, Any] = {
        **{key: value for key, value in given.items() if value},
        **({"cores": cores, "job_cpu": cores} if cores else {}),
        "python": own if python else configured.get("python") or own,
        "worker_extra_args": [*extra, *WORKER],
        "processes": 1,
        "nanny": False,
    }
    for key in ("cores", "memory"):
        if not (parts.get(key) or configured.get(key)):
            raise NnbenchError(f"dask[slurm] needs {key}, {WAYS}")
    kept = configured.get("log-directory")
    logs = Path(kept or files.of_user(platformdirs.user_cache_path) / LOGS)
    with files.named(logs, instead=f"set log-directory {SECTION}"):
        logs.mkdir(parents=True, exist_ok=True)
    parts["log_directory"] = str(logs)
    script("tcp://127.0.0.1:1", "none", parts)  # if it cannot be written, nothing is started

    def starter(address: str) -> Jobs:
        return Jobs(address, parts, logs, is_kept=bool(kept))

    options = {
        "interface": configured.get("interface"),
        **(configured.get("scheduler-options") or {}),
    }
    if options.get("host"):
        del options["interface"]
    return Crew(scheduler(**options), starter, ["job"] * jobs)


def configuration() -> dict[str, Any]:
    """Return what the user has configured for jobs, with dask-jobqueue's defaults.

    Raises
    ------
    NnbenchError
        If dask-jobqueue is not installed.
    """
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue  # noqa: F401 - brings its defaults
    except ImportError:
        raise NnbenchError("dask[slurm] needs dask-jobqueue: pip install dask-jobqueue") from None
    finally:
        signal.signal(signal.SIGINT, on_ctrl_c)  # it takes that when it is imported
    import dask

    found: dict[str, Any] = dask.config.get("jobqueue.slurm")
    return found


def script(address: str, name: str, parts: dict[str, Any]) -> str:
    """Return the script of a job.

    Raises
    ------
    NnbenchError
        If the parts are not what it takes, or it has no time limit.
    """
    from dask_jobqueue.slurm import SLURMJob

    try:
        made: str = SLURMJob(address, name, **parts).job_script()
    except (ValueError, TypeError) as error:  # such as a memory that is no number of bytes
        raise NnbenchError(f"dask-jobqueue: {' '.join(str(error).split())}") from error
    if not TIME_LIMIT.search(made):
        raise NnbenchError(f"dask[slurm] needs walltime, {WAYS}")
    return made


class Jobs(Starter):
    """Jobs that run here, or will.

    Parameters
    ----------
    address
        Of the scheduler that their workers come to.
    parts
        Of the script of each.
    logs
        Where they print to.
    is_kept
        Whether all that they print is kept, and not what those have printed alone that have failed.
    """

    def __init__(self, address: str, parts: dict[str, Any], logs: Path, *, is_kept: bool) -> None:
        self._address, self._parts, self._logs, self._is_kept = address, parts, logs, is_kept
        self._ids: dict[str, str] = {}
        self._reasons: set[str] = set()

    def begin(self, seat: str, name: str) -> None:
        """Submit a job."""
        del seat  # all are alike
        made = script(self._address, name, self._parts)
        told = ask("sbatch", "--parsable", "--no-requeue", say=made)
        self._ids[name] = told.split(";")[0].strip()

    def ended(self) -> dict[str, str]:
        """Forget the jobs that SLURM runs no more, and return how they ended."""
        mine = f"--user={os.getuid()}"
        try:
            told = ask("squeue", "--noheader", "--states=all", mine, "--format=%i %T %r")
        except ExecutorError:
            return {}  # it may be asked again
        found = {job: rest for job, *rest in (line.split(maxsplit=2) for line in told.splitlines())}
        states = {name: found.get(job, [GONE, ""]) for name, job in self._ids.items()}
        self._reasons = {why for state, why in states.values() if state == "PENDING"} - {"None"}
        return {
            name: self._end(self._ids.pop(name), state)
            for name, (state, _) in states.items()
            if state not in ALIVE
        }

    def _end(self, job: str, state: str) -> str:
        """Return how a job has ended, with its last words."""
        text = f"job {job} of SLURM has ended, {state}"
        if state != "FAILED":
            self._drop(job)
            return text
        for log in self._logs.glob(f"*-{job}.err"):
            if words := last_words(log.read_text(errors="replace")):
                return f"{text}: {words} ({log})"
        return text

    def _drop(self, job: str) -> None:
        """Remove what a job has printed."""
        for log in () if self._is_kept else self._logs.glob(f"*-{job}.*"):
            log.unlink(missing_ok=True)

    def awaited(self) -> str:
        """Return what the jobs wait for that have not started yet."""
        reasons = ", ".join(sorted(self._reasons))
        return reasons and f"jobs wait in SLURM's queue: {reasons}"

    def close(self) -> None:
        """Cancel all jobs."""
        if not self._ids:
            return
        jobs, self._ids = [*self._ids.values()], {}
        for job in jobs:
            self._drop(job)
        try:
            ask("scancel", *jobs)
        except ExecutorError as error:
            text = f"jobs of SLURM may be left: scancel {' '.join(jobs)} ({error})"
            warnings.warn(text, PluginWarning, stacklevel=2)


def ask(*command: str, say: str = "") -> str:
    """Return what a command of SLURM answers.

    Raises
    ------
    ExecutorError
        If it fails, with its words.
    """
    try:
        done = subprocess.run(
            command,
            input=say,
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWER_S,
            start_new_session=True,  # Ctrl-C is for whoever started this
        )
    except subprocess.TimeoutExpired as error:
        raise ExecutorError(f"{command[0]} has not answered in {ANSWER_S:.0f} s") from error
    if done.returncode:
        lines = done.stderr.splitlines()
        words = (re.sub(rf"^{command[0]}: (error|fatal): ", "", line) for line in lines)
        raise ExecutorError(f"{command[0]}: {'; '.join(words) or f'ended with {done.returncode}'}")
    return done.stdout
