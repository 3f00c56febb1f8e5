"""A supervisor ends as its worker did, and leaves nothing behind, whoever dies first."""

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

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


def start(code, folder="", *, private=False, hidden=(), **options):
    """Start Python code under a supervisor."""
    program = [sys.executable, "-I", "-S", "-c", code]
    command = supervisor.supervised(program, private=private, hidden=hidden)
    env = helpers.environment(mark=folder)
    return subprocess.Popen(command, env=env, start_new_session=True, **options)


def output(code, **options):
    """Return what Python code prints under a supervisor."""
    with start(code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as run:
        found = run.stdout.read().strip()
    assert run.returncode == 0, found
    return found


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


def test_worker_does_not_start_for_a_supervisor_that_was_killed_before():
    code = """
import os, sys
from nnbench.execution import supervisor
me, ask = os.getpid(), supervisor.ask

def kill_first(*arguments):
    if os.getpid() != me:
        os.kill(me, 9)
        while os.getppid() == me:
            pass
    ask(*arguments)

supervisor.ask = kill_first
sys.argv[1:] = [str(os.getppid()), "shared", sys.executable, "-c", "print('started')"]
supervisor.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


def test_signals_of_a_terminal_are_left_to_the_worker():
    code = """
import signal, sys
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)
sys.stdin.read()
raise SystemExit(3)
"""
    with start(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout.readline() == "set()\n"
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            worker.send_signal(number)
    assert worker.returncode == 3


def test_nothing_starts_for_a_parent_that_is_gone(tmp_path):
    command = supervisor.supervised([sys.executable, "-c", "print('started')"])
    place = command.index(str(psutil.Process().pid))
    command[place] = "1" if psutil.Process().pid != 1 else "2"
    assert subprocess.check_output(command, cwd=tmp_path) == b""


def test_it_imports_little():
    code = "import sys; exec(open(sys.argv[1]).read(), {'__name__': 'it'}); print(*sys.modules)"
    program = [sys.executable, "-I", "-S", "-c", code, supervisor.__file__]
    loaded = subprocess.check_output(program, text=True).split()
    assert "ctypes" in loaded
    assert {"typing", "pathlib", "subprocess"} & set(loaded) == set()


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


@pytest.fixture
def granted(monkeypatch):
    """Skip where the system grants no privacy."""
    monkeypatch.delenv(supervisor.SHARED, raising=False)
    supervisor.grants_privacy.cache_clear()
    yield supervisor.grants_privacy() or pytest.skip("needs mounts")
    supervisor.grants_privacy.cache_clear()


@pytest.fixture(params=["/tmp", "/var/tmp", "/dev/shm"])
def folder(request):
    """Make a folder in each that workers might hand things over in."""
    with TemporaryDirectory(dir=request.param) as name:
        yield Path(name)


@pytest.mark.usefixtures("granted")
def test_workers_cannot_hand_over_a_file(folder):
    (folder / "before").write_text("seen")
    place = folder if supervisor.MEMORY not in str(folder) else Path(supervisor.MEMORY)
    name = place / f"between-{uuid4()}"
    write = f"open({str(name)!r}, 'w').write('hello'); print(open({str(name)!r}).read())"
    assert output(write, private=True) == "hello"
    assert output(f"import os; print(os.path.exists({str(name)!r}))", private=True) == "False"
    assert not name.exists()


@pytest.mark.usefixtures("granted")
def test_what_lies_in_temporary_folders_is_seen_and_kept(tmp_path):
    (tmp_path / "file").write_text("here")
    code = f"""
import os
path = {str(tmp_path / "file")!r}
print(open(path).read(), os.stat(path).st_uid == os.getuid())
open(path, "a").write(" and there")
print(open(path).read())
os.remove(path)
"""
    assert output(code, private=True).splitlines() == ["here True", "here and there"]
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.usefixtures("granted")
def test_relative_paths_are_private_too(tmp_path):
    code = "import os; open('relative', 'w').close(); print(os.getcwd())"
    assert output(code, private=True, cwd=tmp_path) == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("granted")
def test_folder_that_is_hidden_is_empty_and_takes_nothing(tmp_path):
    kept = tmp_path / "run with a space"
    kept.mkdir()
    (kept / "cells.jsonl").write_text("kept")
    code = f"""
import os
print(os.listdir({str(kept)!r}))
open(os.path.join({str(kept)!r}, "cells.jsonl"), "w").write("forged")
"""
    assert output(code, private=True, hidden=[kept]) == "[]"
    assert (kept / "cells.jsonl").read_text() == "kept"


@pytest.mark.usefixtures("granted")
def test_shared_memory_of_system_v_is_private():
    code = "import ctypes; print(ctypes.CDLL(None).shmget(4711, 4096, 0o1600))"
    assert int(output(code, private=True)) >= 0
    look = "import ctypes; print(ctypes.CDLL(None).shmget(4711, 4096, 0o600))"
    assert output(look, private=True) == "-1"
    assert output(look) == "-1"


@pytest.mark.usefixtures("granted")
def test_layers_cannot_be_taken_off():
    code = "import ctypes; print(ctypes.CDLL(None).umount2(b'/tmp', 2))"
    assert output(code, private=True) == "-1"


@pytest.mark.usefixtures("granted")
def test_worker_that_is_private_keeps_its_pipes_and_its_end():
    with start("print(input()); raise SystemExit(3)", private=True, stdin=-1, stdout=-1) as worker:
        assert worker.communicate(b"hello\n")[0] == b"hello\n"
    assert worker.returncode == 3


def test_user_can_have_the_folders_shared(monkeypatch):
    monkeypatch.setenv(supervisor.SHARED, "1")
    supervisor.grants_privacy.cache_clear()
    assert not supervisor.grants_privacy()
    supervisor.grants_privacy.cache_clear()


def test_file_system_within_a_temporary_folder_is_not_hidden(monkeypatch):
    monkeypatch.setattr(supervisor, "TEMPORARY", ("/",))
    with pytest.raises(OSError, match="another file system"):
        supervisor.temporary_folders()
