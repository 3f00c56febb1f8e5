"""CPUs for a block: the least busy ones, whole cores first, and none that another nnbench holds."""

import os
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import pytest

from nnbench.execution import cpus, machine
from nnbench.execution.cpus import STAY, Chooser, Held, Look
from nnbench.execution.machine import MachineWarning

MEETING = cpus.FOLDER
FOUR_CORES = {cpu: [cpu % 4, cpu % 4 + 4] for cpu in range(8)}
#: Holds one CPU in a folder until it is killed.
HOLDS = """
import sys, time
from pathlib import Path
from nnbench.execution import cpus, machine
cpus.FOLDER = Path(sys.argv[1])
machine.usable_cpus = lambda: [0, 1]
with cpus.Chooser().hold(1) as held:
    print(*held.order, flush=True)
    time.sleep(600)
"""


def choose(count, *, usable=range(8), before=(), busy=None, siblings=None, others=()):
    return cpus.choose(
        count, usable, before, busy or {}, siblings or {}, lambda cpu: cpu not in others
    )


def test_the_last_cpus_are_taken_where_nothing_is_known():
    assert choose(2) == Held((7, 6))
    assert choose(2).cpus(2) == (6, 7)
    assert choose(2).cpus(1) == (7,)


def test_the_least_busy_cpus_are_taken():
    busy = dict.fromkeys(range(8), 0.5) | {3: 0.1, 5: 0.2}
    assert choose(3, busy=busy).order == (3, 5, 7)


@pytest.mark.parametrize(("more", "order"), [(-0.01, (2,)), (0.01, (5,))])
def test_a_run_stays_unless_another_cpu_is_clearly_less_busy(more, order):
    busy = dict.fromkeys(range(8), 1.0) | {2: 0.3 + STAY + more, 5: 0.3}
    assert choose(1, before=(2,), busy=busy).order == order


def test_the_order_stays_as_well():
    assert choose(3, before=(2, 5, 0)).order == (2, 5, 0)


def test_a_share_of_a_tenth_is_clear():
    assert STAY == 0.1


def test_cores_come_before_siblings():
    assert choose(4, siblings=FOUR_CORES).order == (7, 6, 5, 4)
    assert choose(5, siblings=FOUR_CORES).order == (7, 6, 5, 4, 3)
    neighbours = {cpu: [cpu // 2 * 2, cpu // 2 * 2 + 1] for cpu in range(8)}
    assert choose(4, siblings=neighbours, before=(7, 6)).order == (7, 5, 3, 1)


def test_a_busy_sibling_makes_its_core_busy_although_it_is_not_usable():
    assert choose(1, usable=range(4), siblings=FOUR_CORES, busy={7: 0.6}).order == (2,)


def test_a_sibling_of_a_calm_core_is_better_than_a_busy_core():
    busy = {0: 0.9, 4: 0.9}
    assert choose(4, siblings=FOUR_CORES, busy=busy).order == (7, 6, 5, 3)


def test_what_another_holds_is_left_out_and_so_is_its_sibling():
    assert choose(2, siblings=FOUR_CORES, others={7}) == Held((6, 5))
    assert choose(3, usable=[2, 3, 6, 7], siblings=FOUR_CORES, others={7}) == Held((6, 3, 2))


def test_where_too_few_are_free_the_least_busy_of_the_others_are_shared():
    busy = {0: 0.2, 1: 0.9, 2: 0.4, 3: 0.1}
    found = choose(3, usable=range(4), busy=busy, others={0, 1, 2})
    assert found == Held((3, 0, 2), (0, 2))


def test_nobody_gets_more_than_there_is():
    assert choose(3, usable=[]) == Held(())
    assert choose(3, usable=[4]) == Held((4,))


def test_siblings_are_those_that_the_kernel_names(tmp_path):
    for cpu, text in enumerate(["0,4", "1", "2-3,6", "2-3,6"]):
        folder = tmp_path / machine.CPUS / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{text}\n")
    (tmp_path / machine.CPUS / "cpufreq").mkdir()
    assert cpus.siblings(tmp_path) == {
        0: [0, 4],
        1: [1],
        4: [0, 4],
        **{cpu: [2, 3, 6] for cpu in (2, 3, 6)},
    }


def test_cpus_are_counted_by_their_numbers_though_one_is_switched_off(tmp_path):
    (tmp_path / "proc").mkdir()
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    lines = ("cpu  9 9 9 9 9 9 9 9 0 0", "cpu0 50 0 0 300 20 0 0 0 0 0", "cpu2 1 1 1 7 0 1 1 1 0 0")
    (tmp_path / "proc/stat").write_text("\n".join([*lines, "intr 5"]))
    assert cpus.look(tmp_path).idle_s == pytest.approx({0: 320 * tick_s, 2: 7 * tick_s})


def test_other_systems_say_nothing(tmp_path):
    assert cpus.look(tmp_path).idle_s == {}
    assert cpus.siblings(tmp_path) == {}


def test_what_is_not_idle_is_busy():
    start, end = Look(5.0, {0: 1.0, 1: 1.0, 2: 0.0}, 0.0), Look(9.0, {0: 2.0, 1: 5.01, 3: 7.0}, 4.0)
    assert cpus.busy_shares(start, end) == pytest.approx({0: 0.75, 1: 0.0})


def test_what_this_process_has_started_is_no_other():
    start, end = (
        Look(0.0, dict.fromkeys(range(3), 0.0), 2.0),
        Look(4.0, {0: 0.0, 1: 1.0, 2: 4.0}, 5.0),
    )
    assert cpus.busy_shares(start, end, [0, 1]) == pytest.approx({0: 0.5, 1: 0.5, 2: 0.0})
    assert cpus.busy_shares(start, end, [2]) == pytest.approx({0: 1.0, 1: 0.75, 2: 0.0})
    assert cpus.busy_shares(start, end, [3]) == pytest.approx({0: 1.0, 1: 0.75, 2: 0.0})


@pytest.fixture
def counted(monkeypatch):
    """Give a function that lets some seconds pass in which CPUs are busy; two CPUs of a core each."""
    counters = {"at": 0.0, "own_s": 0.0}
    idle_s = {0: 0.0, 1: 0.0}

    def spend(seconds, *busy, own_s=0.0):
        counters["at"] += seconds
        counters["own_s"] += own_s
        for cpu, share in enumerate(busy):
            idle_s[cpu] += seconds * (1 - share)

    monkeypatch.setattr(cpus, "look", lambda: Look(idle_s=dict(idle_s), **counters))
    monkeypatch.setattr(cpus, "siblings", dict)
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0, 1])
    monkeypatch.setattr(time, "sleep", lambda s: spend(s, 0.0, 0.0))
    return spend


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Keep locks in a folder of the test's own."""
    monkeypatch.setattr(cpus, "FOLDER", tmp_path)
    return tmp_path


def hold(chooser=None, count=1):
    with (chooser or Chooser()).hold(count) as held:
        return held


def test_first_block_is_where_it_was_calm_before(counted, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda s: counted(s, 0.1, 0.8))
    assert hold().order == (0,)


def test_a_block_goes_where_it_was_calm_during_the_block_before(counted):
    chooser = Chooser()
    with chooser.hold(1) as held:
        assert held.order == (1,)
        counted(10.0, 0.0, 1.0, own_s=5.0)
    counted(60.0, 1.0, 1.0)  # judges are everywhere
    with chooser.hold(1) as held:
        assert held.order == (0,)
        counted(10.0, 1.0, 0.0, own_s=10.0)
    assert hold(chooser).order == (0,)


def test_a_block_too_short_to_look_at_changes_nothing(counted):
    chooser = Chooser()
    with chooser.hold(1):
        counted(10.0, 0.0, 1.0)
    with chooser.hold(1):
        counted(0.05, 1.0, 0.0)
    assert hold(chooser).order == (0,)


@pytest.mark.parametrize("usable", [[], [3]])
def test_who_has_no_choice_does_not_look(usable, monkeypatch, folder):
    monkeypatch.setattr(machine, "usable_cpus", lambda: usable)
    monkeypatch.setattr(time, "sleep", pytest.fail)
    assert hold() == Held(tuple(usable))
    assert len(list(folder.iterdir())) == len(usable)


@pytest.mark.usefixtures("counted")
def test_a_cpu_is_held_until_the_context_is_left():
    with Chooser().hold(1) as held:
        assert held == Held((1,))
        assert hold() == Held((0,))
        assert hold(count=2) == Held((0, 1), (1,))
    assert hold(count=2) == Held((1, 0))
    with suppress(KeyboardInterrupt), Chooser().hold(2):
        raise KeyboardInterrupt
    assert hold(count=2) == Held((1, 0))


@pytest.mark.usefixtures("counted")
def test_who_waits_shares_no_cpu_and_holds_none_meanwhile(monkeypatch):
    others, seen = Chooser(), []

    def let_go(_):
        with others.hold(2) as free:  # whoever waits has given back what it got
            seen.append(free.shared)
        held.close()

    with ExitStack() as held:
        taken = held.enter_context(others.hold(1)).order
        chooser = Chooser(waits=True)
        monkeypatch.setattr(time, "sleep", let_go)
        with chooser.hold(2) as found:
            assert (sorted(found.order), found.shared) == ([0, 1], ())
    assert seen == [taken]


@pytest.mark.usefixtures("counted")
def test_who_waits_need_not_where_a_cpu_is_free(monkeypatch):
    first, second = Chooser(), Chooser(waits=True)
    monkeypatch.setattr(time, "sleep", pytest.fail)
    with first.hold(1) as one, second.hold(1) as other:
        assert {*one.order, *other.order} == {0, 1}


@pytest.mark.usefixtures("counted")
def test_a_cpu_is_free_when_its_process_is_killed(folder):
    command = [sys.executable, "-c", HOLDS, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        taken = int(other.stdout.readline())
        before = hold(count=2)
        other.kill()
    assert before == Held((1 - taken, taken), (taken,))
    assert hold(count=2) == Held((1, 0))


@pytest.mark.usefixtures("counted")
def test_every_user_can_lock_what_one_has_made(folder):
    before = os.umask(0o077)
    try:
        hold()
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "nnbench-cpu-1.lock").stat().st_mode) == 0o444


@pytest.mark.usefixtures("counted")
def test_what_others_leave_under_the_name_of_a_lock_stops_nobody(folder):
    os.mkfifo(folder / "nnbench-cpu-1.lock")
    assert hold() == Held((1,))
    (folder / "nnbench-cpu-1.lock").unlink()
    (folder / "nnbench-cpu-1.lock").symlink_to(folder / "elsewhere")
    with pytest.warns(
        MachineWarning, match="^machine: cannot lock .*nnbench-cpu-1.lock, so another"
    ):
        assert hold() == Held((1,))
    assert not (folder / "elsewhere").exists()


@pytest.mark.usefixtures("counted")
def test_who_cannot_lock_goes_on_with_a_warning(folder, monkeypatch):
    monkeypatch.setattr(cpus, "FOLDER", folder / "nowhere")
    with pytest.warns(MachineWarning, match="No such file or directory$"):
        assert hold() == Held((1,))


def test_all_users_of_a_machine_meet_in_one_folder():
    assert str(MEETING) == "/tmp"
