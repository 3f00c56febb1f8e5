"""What a worker's tree does is seen from outside: its time, its CPUs, its GPU; and it can be stopped."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from nnbench.execution import gpu, supervisor
from nnbench.execution.tree import Count, Ran, Tree, Watch, own_wait_s
from tests.plugins import helpers

pytestmark = pytest.mark.skipif(not supervisor.KNOWN, reason="needs Linux")

CPUS = sorted(os.sched_getaffinity(0)) if supervisor.KNOWN else []
BUSY = """
def compute(seconds):
    import time
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
"""
WAIT = "print(flush=True); sys.stdin.read()"
THREAD = "thread = threading.Thread(target=compute, args=(0.2,)); thread.start(); thread.join()"
CHILD = "child = os.fork()\nif not child: compute(0.2); os._exit(0)\nos.waitpid(child, 0)"
DAEMON = """
if not os.fork():
    os.setsid()
    if not os.fork():
        compute(0.2)
        os._exit(0)
    os._exit(0)
os.wait()
"""
RESTLESS = """
def start(depth):
    while True:
        if not os.fork():
            if depth: start(depth - 1)
            compute(0.002)
            os._exit(0)
        time.sleep(0.001)
        os.waitpid(-1, os.WNOHANG)
print(flush=True)
start(1)
"""


@contextmanager
def worker(code, mark=""):
    """Run code under a supervisor until it prints a line; give its tree."""
    program = f"import os, sys, threading, time\n{BUSY}\n{code}"
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        supervisor.supervised([sys.executable, "-I", "-S", "-c", program]),
        stdin=pipe,
        stdout=pipe,
        env=helpers.environment(mark=mark),
        start_new_session=True,
    )
    tree = Tree(process.pid)
    try:
        process.stdout.readline()
        yield tree
    finally:
        tree.kill()
        process.communicate(timeout=30)


@pytest.mark.parametrize("code", ["compute(0.2)", THREAD, CHILD, DAEMON])
def test_time_of_all_that_has_computed_is_counted(code):
    with worker(f"{code}\n{WAIT}") as tree:
        helpers.wait_until(lambda: tree.cpu_s() > 0.17)
        assert tree.cpu_s() < 0.5


def test_time_is_exact_and_never_falls():
    code = "while True:\n if not os.fork(): compute(0.003); os._exit(0)\n os.wait()\n print(flush=True)"
    with worker(code) as tree:
        readings = [tree.cpu_s() for _ in range(300)]
    assert readings == sorted(readings)
    assert readings[-1] > readings[0]


def test_nothing_computes_while_it_is_stopped():
    code = """
for _ in range(3):
    threading.Thread(target=compute, args=(60,)).start()
os.fork()
print(flush=True)
compute(60)
"""
    with worker(code) as tree:
        time.sleep(0.05)
        assert tree.stop()
        before = tree.cpu_s()
        assert before > 0
        time.sleep(0.1)
        assert tree.cpu_s() == before
        tree.go_on()
        helpers.wait_until(lambda: tree.cpu_s() > before)


def test_tree_that_keeps_growing_is_stopped():
    with worker(RESTLESS) as tree:
        for _ in range(5):
            assert tree.stop()
            before, members = tree.cpu_s(), tree.members()
            time.sleep(0.03)
            assert (tree.cpu_s(), tree.members()) == (before, members)
            tree.go_on()


def test_tree_is_stopped_again_and_again():
    with worker("print(flush=True)\nfor line in sys.stdin: pass") as tree:
        for _ in range(20):
            assert tree.stop()
            tree.go_on()


def test_daemons_are_members():
    code = f"{DAEMON.replace('compute(0.2)', 'time.sleep(60)')}\n{WAIT}"
    with worker(code) as tree:
        assert len(tree.members()) == 2


def test_others_are_no_members():
    with worker(WAIT) as tree, worker(WAIT) as other:
        assert len(tree.members()) == 1
        assert not set(tree.members()) & {*other.members(), other.root, tree.root, os.getpid()}


def test_nothing_survives_its_end(tmp_path):
    with worker(f"{DAEMON.replace('compute(0.2)', 'time.sleep(60)')}\n{WAIT}", tmp_path) as tree:
        tree.stop()
    assert helpers.survivors(tmp_path) == []


def test_supervisor_that_was_stopped_ends_too(tmp_path):
    code = f"import signal\nos.kill(os.getppid(), signal.SIGSTOP)\n{WAIT}"
    with worker(code, tmp_path) as tree:
        tree.stop()
    assert helpers.survivors(tmp_path) == []


def test_tree_that_has_ended_has_nothing_to_tell():
    with worker("print(flush=True)") as tree:
        helpers.wait_until(lambda: not tree.members())
        assert tree.stop()
        tree.go_on()
        assert tree.look(CPUS, "cpu") == []
        assert tree.cpu_s() >= 0


def test_cpus_that_were_not_given_are_seen():
    with worker(WAIT) as tree:
        assert tree.look(CPUS, "cpu") == []
        assert tree.look([], "cpu") == []
        others = ", ".join(map(str, CPUS[:-1]))
        if others:
            seen = f"could run on CPU {others}, was given {CPUS[-1]}"
            assert tree.look(CPUS[-1:], "cpu") == [seen]


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_thread_of_a_child_that_may_run_elsewhere_is_seen():
    pin = f"os.sched_setaffinity(0, [{CPUS[-1]}])"
    wide = f"os.sched_setaffinity(0, {CPUS})\n    time.sleep(60)"
    code = f"""
{pin}
def widen():
    {wide}
if not os.fork():
    threading.Thread(target=widen).start()
    time.sleep(60)
time.sleep(0.2)
{WAIT}
"""
    with worker(code) as tree:
        helpers.wait_until(lambda: tree.look(CPUS[-1:], "cpu"))


@pytest.mark.parametrize(
    "change",
    [
        "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))",
        "os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)",
    ],
)
def test_thread_that_waits_at_a_lower_priority_is_seen(change):
    code = f"""
def wait():
    {change}
    print(flush=True)
    time.sleep(60)
if not os.fork():
    threading.Thread(target=wait).start()
time.sleep(60)
"""
    with worker(code) as tree:
        assert tree.look([], "cpu") == ["ran at another priority than it was given"]


def test_memory_on_a_gpu_is_seen_of_a_backend_of_the_cpu(monkeypatch):
    with worker(f"os.fork()\n{WAIT}") as tree:
        helpers.wait_until(lambda: len(tree.members()) == 2)
        users = {tree.members()[-1], os.getpid()}
        monkeypatch.setattr(gpu, "holders", lambda: users)
        assert tree.look([], "cuda") == []
        assert tree.look([], "cpu") == ["has memory on a GPU, as a backend of the device cpu"]
        users -= {*tree.members()}
        assert tree.look([], "cpu") == []


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_changing_how_this_process_is_scheduled_is_seen_and_undone():
    with worker(WAIT) as tree:
        os.sched_setaffinity(0, CPUS[:1])  # as any process of this user may
        seen = ["nnbench was scheduled in another way while it ran"]
        assert tree.look(CPUS, "cpu") == tree.meddling() == seen
        assert tree.standing.restore()
        assert tree.look(CPUS, "cpu") == tree.meddling() == []
    assert sorted(os.sched_getaffinity(0)) == CPUS


class Looked:
    """A tree that counts how often it was looked at."""

    def __init__(self, seen=()):
        self.looks = 0
        self.seen = [*seen]

    def count(self):
        return Count(float(self.looks), {})

    def look(self, cpus, device):
        assert (cpus, device) == ((1,), "cpu")
        self.looks += 1
        return self.seen


def test_long_call_is_looked_at_once_while_it_runs():
    tree = Looked()
    watch = Watch(tree, (1,), "cpu")
    moments = []
    for call in range(1, 21):
        watch.begin(expected_s=0.1)
        start = time.monotonic()
        while tree.looks < call:
            time.sleep(watch.due_s(1.0))
            watch.poll()
        moments.append(time.monotonic() - start)
        watch.poll()
        assert tree.looks == call
        assert [count.cpu_s for count in watch.counts] == [*range(call)]
        assert watch.due_s(1.0) == 1.0
    assert max(moments) - min(moments) > 0.02


def test_short_calls_are_looked_at_now_and_then(monkeypatch):
    tree = Looked()
    watch = Watch(tree, (1,), "cpu")
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in range(1000):
        watch.begin(expected_s=0.01)
        clock[0] += 0.01
        watch.poll()
    assert 50 < tree.looks < 160  # 100 but for chance


def test_what_is_seen_is_told_once():
    watch = Watch(Looked(["wrong"]), (1,), "cpu")
    for _ in range(3):
        watch.begin(expected_s=0.1)
        watch._at = 0.0
        watch.poll()
    assert watch.violations == ["wrong"]


def test_other_systems_tell_nothing(monkeypatch):
    monkeypatch.setattr(supervisor, "KNOWN", False)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        tree = Tree(process.pid)
        assert (tree.stop(), tree.cpu_s(), tree.look([0], "cpu")) == (True, None, [])
        assert tree.count() == Count(None, {})
        assert tree.count().waited_s is tree.count().computing(tree.count()) is None
        tree.go_on()
        tree.kill()


def test_time_that_threads_waited_for_a_cpu_is_counted():
    busy = "[threading.Thread(target=compute, args=(60,)).start() for _ in range(3)]"
    with worker(f"os.sched_setaffinity(0, [{CPUS[-1]}])\n{busy}\nprint(flush=True)") as tree:
        before = tree.count().waited_s
        if before is not None:  # the kernel keeps such statistics
            helpers.wait_until(lambda: tree.count().waited_s > before + 0.1)
            tree.stop()
            assert tree.count() == tree.count()


def test_threads_that_compute_are_counted_in_all_processes():
    code = """
def wait(): time.sleep(60)
threading.Thread(target=compute, args=(60,)).start()
threading.Thread(target=wait).start()
if not os.fork(): compute(60)
print(flush=True)
wait()
"""
    with worker(code) as tree:
        tree.stop()
        before = tree.count()
        tree.go_on()
        time.sleep(0.2)
        tree.stop()
        if before.threads:
            assert len(before.threads) >= 4
            assert tree.count().computing(before) == 2


@pytest.mark.parametrize(
    ("cpu_s", "threads", "found"),
    [
        (1.0, {1: 1.0}, 1),
        (2.0, {1: 1.0, 2: 0.901, 3: 0.099}, 2),
        (2.0, {1: 1.0, 2: 0.901, 4: 0.1}, 3),  # one that is new
        (0.64, dict.fromkeys(range(64), 0.01), 64),  # on a single CPU
        (1.09, {1: 1.0}, 1),
        (1.11, {1: 1.0}, None),  # another one has ended
        (0.0, {1: 0.0}, None),
        (1.0, {}, None),
    ],
)
def test_thread_counts_by_its_share_of_the_busiest_ones_time(cpu_s, threads, found):
    before = Count(5.0, {number: Ran(number, 0.0) for number in range(4)})
    ran = {n: Ran(s + before.threads.get(n, Ran(0.0, 0.0)).cpu_s, 0.0) for n, s in threads.items()}
    assert Count(5.0 + cpu_s, ran).computing(before) == found


def test_own_time_of_waiting_is_counted():
    waited = own_wait_s()
    assert waited is None or 0 <= waited <= own_wait_s()


def test_memory_is_what_processes_have_for_themselves():
    code = f"""
import mmap
big = bytearray(50 << 20)
shared = mmap.mmap(-1, 200 << 20)
for page in range(0, 200 << 20, 4096): shared[page] = 1
del big
child = os.fork()
if not child: more = bytearray(30 << 20); {WAIT}
{WAIT}"""
    with worker(code) as tree:
        helpers.wait_until(lambda: len(tree.members()) == 2)
        helpers.wait_until(lambda: tree.memory().peak > 80 << 20)
        tree.stop()
        taken = tree.memory()
        assert 30 << 20 < taken.now < 60 << 20
        assert tree.memory() == taken


def test_nobody_has_no_memory():
    with worker(WAIT) as tree:
        pass
    assert tree.memory() is None
