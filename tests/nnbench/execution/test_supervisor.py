"""A supervisor ends as its worker did, and leaves nothing behind, whoever dies first."""

import signal
import subprocess
import sys

import psutil
import pytest

from nnbench.execution import supervisor
from tests.plugins import helpers

pytestmark = pytest.mark.skipif(not supervisor.KNOWN, reason="needs Linux")

#: Forks twice, in a session of its own, as a daemon does.
DAEMON = """
import os, time
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(60)
"""


def start(code, folder="", **options):
    """Start Python code under a supervisor."""
    command = supervisor.supervised([sys.executable, "-I", "-S", "-c", code])
    env = helpers.environment(mark=folder)
    return subprocess.Popen(command, env=env, start_new_session=True, **options)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("import os; os.kill(os.getpid(), 40)", -40),
        ("import os, signal; os.kill(os.getpid(), signal.SIGCHLD)", 0),
    ],
)
def test_it_ends_as_the_worker_does(code, status):
    assert start(code).wait(30) == status


def test_command_that_cannot_start_is_told_by_its_output():
    done = subprocess.run(
        supervisor.supervised(["/nowhere/python"]), capture_output=True, text=True, check=False
    )
    assert done.returncode == supervisor.CANNOT_START
    assert done.stderr == "/nowhere/python: No such file or directory\n"


def test_worker_has_the_pipes_to_itself():
    code = "import os, sys, time; os.write(1, sys.stdin.buffer.read()); os.close(1); time.sleep(60)"
    with start(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        worker.stdin.write("hello")
        worker.stdin.close()
        assert worker.stdout.read() == "hello"  # up to its end
        worker.terminate()
    assert worker.returncode == -signal.SIGKILL


def test_daemon_dies_with_the_worker(tmp_path):
    worker = start(f"{DAEMON}\nraise SystemExit(3)", tmp_path)
    assert worker.wait(30) == 3
    assert helpers.survivors(tmp_path) == []


def test_everything_dies_with_nnbench(tmp_path):
    code = f"""
import subprocess, sys, time
from nnbench.execution import supervisor
code = {DAEMON!r} + "\\nprint(flush=True)\\ntime.sleep(60)"
subprocess.Popen(supervisor.supervised([sys.executable, "-c", code]), start_new_session=True)
time.sleep(60)
"""
    env = helpers.environment(mark=tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True
    ) as parent:
        parent.stdout.readline()
        helpers.wait_until(lambda: len(helpers.survivors(tmp_path)) == 4)
        parent.kill()
    helpers.wait_until(lambda: not helpers.survivors(tmp_path))


def test_worker_does_not_outlive_a_supervisor_that_it_kills(tmp_path):
    code = "import os, time; os.kill(os.getppid(), 9); time.sleep(60)"
    assert start(code, tmp_path).wait(30) == -signal.SIGKILL
    helpers.wait_until(lambda: not helpers.survivors(tmp_path))


def test_nothing_starts_for_a_parent_that_is_gone(tmp_path):
    command = supervisor.supervised([sys.executable, "-c", "print('started')"])
    place = command.index(str(psutil.Process().pid))
    command[place] = "1" if psutil.Process().pid != 1 else "2"
    assert subprocess.check_output(command, cwd=tmp_path) == b""


def test_another_system_starts_the_worker_itself(monkeypatch):
    monkeypatch.setattr(supervisor, "KNOWN", False)
    assert supervisor.supervised(["python", "-c", ""]) == ["python", "-c", ""]


def test_name_of_a_process_may_hold_anything(tmp_path):
    program = tmp_path / "a) R 1 2"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        helpers.wait_until(lambda: psutil.Process(process.pid).name() == program.name)
        stat = supervisor.read_stat(process.pid)
        process.kill()
    assert stat.parent == psutil.Process().pid
    assert supervisor.read_stat(process.pid) is None


def test_time_of_ended_children_is_read():
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    before = supervisor.read_stat(psutil.Process().pid).ended_ticks
    subprocess.run([sys.executable, "-I", "-S", "-c", busy], check=True)
    ticks = supervisor.read_stat(psutil.Process().pid).ended_ticks - before
    assert ticks >= 28  # of 10 ms
