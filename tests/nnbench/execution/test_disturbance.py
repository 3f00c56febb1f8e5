"""Disturbed cells: what the kernel counts, and what is concluded from it."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from nnbench.execution import disturbance
from nnbench.execution.disturbance import LOST_SHARE, REPEATS, Reading, Usage
from nnbench.records import GpuSample

HAS_SCHEDSTAT = Path("/proc/self/schedstat").exists()
THROTTLED = GpuSample(clock_mhz=900, temperature_c=90, throttled=["temperature"])
#: Keeps a CPU busy: for ever, or for half a second in which it counts what it lost.
BUSY = """
import os, sys, time
from nnbench.execution import disturbance
os.sched_setaffinity(0, {int(sys.argv[1])})
print("ready", flush=True)
before, end = disturbance.read(), time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:
    pass
usage = disturbance.between(before, disturbance.read())
print(usage.cpu_s, usage.involuntary_switches, usage.waited_s)
"""


def used(cell, **changes):
    """Give a cell's only epoch other counters; it trained for one second."""
    counters = {"cpu_s": 1.0, "waited_s": 0.0, **changes}
    return replace(cell, epochs=[replace(cell.epochs[0], **counters)])


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
    found = disturbance.read([1], tmp_path)
    assert found.waited_s == pytest.approx({"11": 0.002, "12": 0.03})
    assert found.steal_s == pytest.approx({"cpu1": 300 / os.sysconf("SC_CLK_TCK")})


def test_system_without_these_files_tells_less(tmp_path):
    found = disturbance.read([1], tmp_path)
    assert (found.waited_s, found.steal_s) == ({}, {})
    usage = disturbance.between(found, disturbance.read([1], tmp_path))
    assert (usage.waited_s, usage.steal_s) == (None, 0.0)


def test_thread_that_has_ended_hides_no_other(tmp_path):
    for number in range(20):
        files(tmp_path, threads={str(number): 10**9})
        (tmp_path / f"self/task/ended-{number}").mkdir()
    assert disturbance.read([], tmp_path).waited_s == {str(n): 1.0 for n in range(20)}


def test_usage_is_that_of_the_thread_and_the_cpu_that_fared_worst():
    before = Reading(1.0, 5, {"1": 0.5, "2": 0.0, "old": 9.0}, {"cpu0": 1.0, "cpu1": 1.0})
    after = Reading(2.5, 12, {"1": 0.6, "2": 0.3, "new": 0.2}, {"cpu0": 1.1, "cpu1": 1.4})
    assert disturbance.between(before, after) == pytest.approx(Usage(1.5, 7, 0.3, 0.4))


def test_thread_and_cpu_that_are_new_have_lost_all_that_is_counted():
    after = Reading(2.5, 12, {"new": 0.2}, {"cpu1": 0.4})
    found = disturbance.between(Reading(1.0, 5, {}, {}), after)
    assert found == pytest.approx(Usage(1.5, 7, 0.2, 0.4))


@pytest.mark.skipif(not HAS_SCHEDSTAT, reason="needs Linux's schedstat")
def test_every_thread_is_watched():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert str(thread.native_id) in disturbance.read().waited_s
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


@pytest.mark.parametrize(
    "counters",
    [
        {},
        {"cpu_s": 0.99, "waited_s": 0.01},
        {"cpu_s": 0.2},  # it slept, or waited for a device
        {"cpu_s": 0.2, "involuntary_switches": 5},
        {"cpu_s": 1.0, "waited_s": 0.5},  # its own threads took turns
        {"cpu_s": 0.2, "waited_s": None},
        {"cpu_s": 1.0, "waited_s": None, "involuntary_switches": 500},
        {"cpu_s": 0.995, "waited_s": None, "involuntary_switches": 50},
        {"steal_s": disturbance.TICK_S},
        {"cpu_s": 0.5, "waited_s": 0.03},  # 3%, not more
    ],
)
def test_cell_that_had_its_cpus_is_undisturbed(make_cell, counters):
    assert not disturbance.is_disturbed(used(make_cell(), **counters))


@pytest.mark.parametrize(
    "counters",
    [
        {"cpu_s": 0.95, "waited_s": 0.05},
        {"cpu_s": 0.5, "waited_s": 0.5},
        {"cpu_s": 0.5, "waited_s": 0.031},
        {"cpu_s": 0.5, "waited_s": None, "involuntary_switches": 50},
        {"steal_s": 0.05},
    ],
)
def test_cell_that_lacked_a_cpu_is_disturbed(make_cell, counters):
    assert disturbance.is_disturbed(used(make_cell(), **counters))


def test_threads_of_a_cell_have_a_cpu_each(make_cell):
    cell = make_cell(threads=2)
    assert disturbance.lost_share(used(cell, cpu_s=1.9, waited_s=0.3)) == pytest.approx(0.1)
    assert disturbance.lost_share(used(cell, cpu_s=1.2, waited_s=0.3)) == pytest.approx(0.3)


def test_switches_count_where_the_kernel_tells_no_waits(make_cell):
    cell = used(make_cell(), cpu_s=0.2, waited_s=None, involuntary_switches=5)
    assert disturbance.lost_share(cell) == pytest.approx(0.02)  # 4 ms each


def test_share_is_that_of_all_epochs(make_cell):
    cell = make_cell(accuracies=(0.5, 0.9))
    calm, busy = (
        replace(e, cpu_s=1 - w, waited_s=w) for e, w in zip(cell.epochs, (0, 0.1), strict=True)
    )
    assert disturbance.lost_share(replace(cell, epochs=[calm, busy])) == pytest.approx(0.05)


def test_cell_too_short_to_tell_is_undisturbed(make_cell):
    for seconds, enough in ((0.049, False), (0.05, True)):
        cell = used(make_cell(train_s=seconds), cpu_s=0.0, waited_s=0.02)
        assert disturbance.is_disturbed(cell) is enough


def test_cell_without_training_has_lost_nothing(make_failed):
    assert disturbance.lost_share(make_failed()) == 0


def test_cell_without_a_time_to_trust_is_not_repeated(make_cell):
    lost = {"cpu_s": 0.5, "waited_s": 0.5}
    statuses = ("crashed", "invalid", "diverged", "timeout", "oom")
    assert not any(disturbance.is_disturbed(used(make_cell(status=s), **lost)) for s in statuses)
    assert disturbance.is_disturbed(used(make_cell(status="target_missed"), **lost))


def test_throttled_gpu_disturbs(make_cell):
    assert disturbance.is_disturbed(replace(used(make_cell()), gpu=[THROTTLED]))


def test_disturbed_attempt_is_final_only_if_it_is_the_last(make_cell):
    calm, busy = used(make_cell()), used(make_cell(), cpu_s=0.5, waited_s=0.5)
    marked = [disturbance.mark(busy, attempt) for attempt in range(REPEATS + 1)]
    assert [(m.attempt, m.disturbed, m.final) for m in marked] == [
        (0, True, False),
        (1, True, False),
        (2, True, True),
    ]
    assert disturbance.mark(calm, 1) == replace(calm, attempt=1)
