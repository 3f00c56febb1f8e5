"""What the kernel counts of a process, of its threads and its CPUs."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nnbench.execution.disturbance import LOST_SHARE
from nnbench.worker import counters
from nnbench.worker.counters import Reading, Usage

HAS_SCHEDSTAT = Path("/proc/self/schedstat").exists()
HAS_CHILDREN = Path("/proc/self/task", str(os.getpid()), "children").exists()
#: Keeps a CPU busy: for ever, or for half a second in which it counts what it lost.
BUSY = """
import os, sys, time
from nnbench.worker import counters
os.sched_setaffinity(0, {int(sys.argv[1])})
print("ready", flush=True)
before, end = counters.read(), time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:
    pass
usage = counters.between(before, counters.read())
print(usage.cpu_s, usage.involuntary_switches, usage.waited_s)
"""


def files(root, *, threads=None, steal=0):
    """Write what /proc has for a process, and for two CPUs."""
    for name, waited in (threads or {}).items():
        folder = root / "self/task" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schedstat").write_text(f"5000000000 {waited} 12\n")
    line = f"100 0 50 9000 0 0 0 {steal} 0 0"
    (root / "stat").write_text(f"cpu  {line}\ncpu0 0 0 0 0 0 0 0 99 0 0\ncpu1 {line}\nintr 5\n")
    return root


def test_counters_are_read_from_proc(tmp_path):
    files(tmp_path, threads={"11": 2_000_000, "12": 30_000_000}, steal=300)
    found = counters.read([1], root=tmp_path)
    assert found.waited_s == pytest.approx({"11": 0.002, "12": 0.03})
    assert found.steal_s == pytest.approx({"cpu1": 300 / os.sysconf("SC_CLK_TCK")})


def test_system_without_these_files_tells_less(tmp_path):
    found = counters.read([1], root=tmp_path)
    assert (found.waited_s, found.steal_s) == ({}, {})
    usage = counters.between(found, counters.read([1], root=tmp_path))
    assert (usage.waited_s, usage.steal_s) == (None, 0.0)


def test_thread_that_has_ended_hides_no_other(tmp_path):
    for number in range(20):
        files(tmp_path, threads={str(number): 10**9})
        (tmp_path / f"self/task/ended-{number}").mkdir()
    assert counters.read(root=tmp_path).waited_s == {str(n): 1.0 for n in range(20)}


def test_usage_is_that_of_the_thread_and_the_cpu_that_fared_worst():
    before = Reading(1.0, 5, {"1": 0.5, "2": 0.0, "old": 9.0}, {"cpu0": 1.0, "cpu1": 1.0})
    after = Reading(2.5, 12, {"1": 0.6, "2": 0.3, "new": 0.2}, {"cpu0": 1.1, "cpu1": 1.4})
    assert counters.between(before, after) == pytest.approx(Usage(1.5, 7, 0.3, 0.4))


def test_thread_and_cpu_that_are_new_have_lost_all_that_is_counted():
    after = Reading(2.5, 12, {"new": 0.2}, {"cpu1": 0.4})
    found = counters.between(Reading(1.0, 5, {}, {}), after)
    assert found == pytest.approx(Usage(1.5, 7, 0.2, 0.4))


@pytest.mark.skipif(not HAS_SCHEDSTAT, reason="needs Linux's schedstat")
def test_every_thread_is_watched():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert str(thread.native_id) in counters.read().waited_s
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(not HAS_SCHEDSTAT, reason="needs Linux's schedstat")
def test_two_processes_on_one_cpu_wait_for_each_other():
    cpu = str(max(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", BUSY, cpu]
    with subprocess.Popen([*command, "600"], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        done = subprocess.run([*command, "0.5"], capture_output=True, text=True, check=True)
        other.kill()
    cpu_s, switches, waited_s = map(float, done.stdout.split()[1:])
    assert switches > 0
    assert min(waited_s, 0.5 - cpu_s) > LOST_SHARE * 0.5


#: Starts a process like it, which starts none; each computes for a moment, and waits until it is told to end.
FAMILY = """
import subprocess, sys
below = [subprocess.Popen([sys.executable, "-c", x], stdin=subprocess.PIPE) for x in sys.argv[1:]]
sum(range(3_000_000))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def family():
    """Give a child that has a child."""
    command = [sys.executable, "-c", FAMILY, FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == child.stdout.readline() == b"ready\n"
        yield child
        child.kill()


@pytest.mark.skipif(not HAS_CHILDREN, reason="this kernel lists no children")
def test_processes_below_this_one_are_found_and_counted(family):
    below = counters.descendants()
    assert family.pid in below
    [grandchild] = Path(f"/proc/{family.pid}/task/{family.pid}/children").read_text().split()
    assert int(grandchild) in below
    own = sum(counters.cpu_clock_s(pid) for pid in (family.pid, int(grandchild)))
    with_them, alone = counters.read(below=below), counters.read()
    assert own > 0
    assert with_them.cpu_s >= alone.cpu_s + own - 0.01  # this process goes on in between
    assert not {str(pid) for pid in below} & with_them.waited_s.keys()


def test_process_that_has_ended_takes_no_time_back():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert counters.cpu_clock_s(child.pid) == 0.0
    before, after = Reading(2.0, 5, {}, {}), Reading(1.0, 5, {}, {})
    assert counters.between(before, after).cpu_s == 0.0
