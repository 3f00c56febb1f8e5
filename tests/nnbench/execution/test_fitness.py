"""Whether a machine is fit to measure on, by files as Linux has them, and by what others do."""

import errno
import fcntl
import os
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from nnbench.execution import cpus, energy, fitness, gpu, machine
from nnbench.execution.fitness import Glance, Place, State
from tests import documents

CPU = "sys/devices/system/cpu"
THP = "sys/kernel/mm/transparent_hugepage"
TURBO = "turbo is on, times depend on the temperature"
ALL = {
    *("clock governor", "turbo", "SMT", "isolation", "load average", "free memory", "CPU quota"),
    *("address layout", "THP mode", "battery", "throttled", "virtual machine", "CPU energy"),
    *("cells' environment", "GPU", "busy now", "steal now", "swap", "clock", "other nnbench"),
    "noise floor",
}
#: Of a machine that nothing is wrong with.
CALM = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance",
    f"{CPU}/cpu0/cpufreq/scaling_driver": "intel_pstate",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "0",
    f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "0",
    f"{CPU}/cpu0/topology/thread_siblings_list": "0",
    f"{CPU}/cpu1/topology/thread_siblings_list": "1",
    f"{CPU}/intel_pstate/no_turbo": "1",
    f"{CPU}/smt/active": "0",
    f"{CPU}/isolated": "",
    f"{THP}/enabled": "[always] madvise never",
    f"{THP}/defrag": "always defer defer+madvise [madvise] never",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "4711",
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu vme sse2\n",
    "proc/loadavg": "0.40 3.10 7.25 1/100 4711",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB",
    "proc/self/personality": "00000000",
    "proc/stat": "cpu  9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0",
    "proc/sys/kernel/randomize_va_space": "2",
    "proc/vmstat": "nr_free_pages 5\npswpin 3\npswpout 4",
}
IDLE = Glance({0: 0.01, 1: 0.0}, 0.0, 0, [])


@pytest.fixture(autouse=True)
def plugged_in(monkeypatch):
    """Have the power plugged in, whatever the tests run on."""
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)


@pytest.fixture
def place(tmp_path):
    """Give a function that makes a machine of files, with two CPUs."""

    def make(files, **values):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        return Place(**{"cpus": [0, 1], "root": tmp_path, **values})

    return make


@pytest.fixture
def warn(place):
    return lambda files, **values: fitness.warnings(place(files, **values))


@pytest.fixture
def states(place):
    """Give a function that returns the state of whatever is seen at once."""

    def find(files, **values):
        at = place(files, **values)
        return {f.subject: f.state for check in fitness.AT_ONCE for f in check(at)}

    return find


def test_nothing_is_said_of_a_calm_machine(warn):
    assert warn(CALM) == []


def test_a_calm_machine_is_fit(states):
    assert {*states(CALM).values()} == {State.OK}


def test_nothing_is_said_where_the_system_says_nothing(warn):
    assert warn({}) == []


def test_what_the_system_does_not_say_is_unknown(states):
    found = states({})
    assert {subject for subject, state in found.items() if state is State.OK} == {
        *("CPU quota", "battery", "cells' environment")  # which need not be said
    }
    assert State.COSTS not in found.values()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            f"{CPU}/cpu1/cpufreq/scaling_governor",
            "powersave",
            (
                "clock governor is powersave (intel_pstate), the clock follows the load: "
                "sudo cpupower frequency-set -g performance"
            ),
        ),
        (
            f"{CPU}/intel_pstate/no_turbo",
            "0",
            f"{TURBO}: echo 1 | sudo tee /{CPU}/intel_pstate/no_turbo",
        ),
        (
            f"{CPU}/smt/active",
            "1",
            (
                "SMT is on, 2 usable CPUs on 2 cores, a busy sibling slows a CPU down: "
                f"echo off | sudo tee /{CPU}/smt/control"
            ),
        ),
        (
            "proc/loadavg",
            "1.60 0.10 0.10 1/100 4711",
            "load average is 1.6 on 2 CPUs, others compute beside cells: stop other programs, or wait a minute",
        ),
        (
            "proc/meminfo",
            "MemTotal: 8000000 kB\nMemAvailable: 512000 kB",
            "free memory is 500 MiB, a cell may be ended, or wait for a disk: stop other programs",
        ),
        (
            "proc/sys/kernel/randomize_va_space",
            "0",
            (
                "address layout is fixed, what it does to a backend is the same in all rounds, and in no interval: "
                "sudo sysctl kernel.randomize_va_space=2"
            ),
        ),
        (
            "proc/self/personality",
            "00040000",
            (
                "address layout is fixed, what it does to a backend is the same in all rounds, and in no interval: "
                "start nnbench without setarch -R"
            ),
        ),
        (
            f"{THP}/defrag",
            "[always] defer madvise never",
            (
                "THP mode is always, defrag always, whoever takes memory may wait until it is compacted: "
                f"echo madvise | sudo tee /{THP}/defrag"
            ),
        ),
    ],
)
def test_what_spoils_times_is_named_with_what_to_do(warn, name, content, text):
    assert warn({**CALM, name: content}) == [text]


def test_turbo_of_other_drivers_is_seen_too(warn):
    calm = {name: text for name, text in CALM.items() if "intel" not in name}
    text = f"{TURBO}: echo 0 | sudo tee /{CPU}/cpufreq/boost"
    assert warn({**calm, f"{CPU}/cpufreq/boost": "1"}) == [text]


def test_siblings_tell_of_smt_where_the_kernel_has_no_switch(states):
    calm = {name: text for name, text in CALM.items() if "smt" not in name}
    assert states(calm)["SMT"] is State.OK
    both = {f"{CPU}/cpu{n}/topology/thread_siblings_list": "0-1" for n in (0, 1)}
    assert states(calm | both)["SMT"] is State.COSTS


def test_threads_are_not_moved_between_isolated_cpus(warn):
    isolated = CALM | {f"{CPU}/isolated": "1-3"}
    assert warn(isolated) == []
    [text] = warn(isolated, threads=2)
    assert text.startswith("isolation is of 1, the kernel moves no threads between them")
    assert text.endswith("taskset --cpu-list 0 nnbench …")


def test_heat_and_a_host_cost_something_and_are_no_warnings(states, warn):
    files = CALM | {
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
        "proc/cpuinfo": "flags\t: fpu hypervisor",
        "sys/class/dmi/id/sys_vendor": "QEMU",
    }
    found = states(files)
    assert {subject for subject, state in found.items() if state is State.COSTS} == {
        *("throttled", "virtual machine")
    }
    assert warn(files) == []


def test_battery_in_use_is_a_warning(warn, monkeypatch):
    monkeypatch.setattr(psutil, "sensors_battery", lambda: SimpleNamespace(power_plugged=False))
    text = "battery is in use, clocks are lowered to save power: plug the power in"
    assert warn(CALM) == [text]
    monkeypatch.setattr(psutil, "sensors_battery", lambda: SimpleNamespace(power_plugged=None))
    assert warn(CALM) == []


def test_load_that_leaves_enough_cpus_is_fine(warn):
    load = {"proc/loadavg": "1.40 0.10 0.10 1/100 4711"}
    assert warn(load) == []
    assert len(warn(load, threads=2)) == 1


def test_governor_of_every_cpu_counts_as_a_block_may_be_on_any(warn):
    assert len(warn({**CALM, f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave"})) == 1


def test_variables_that_cells_do_not_get_are_named(warn):
    assert warn(CALM, tuning=["JAX_DISABLE_JIT", "NPROC"]) == [
        (
            "cells' environment is without JAX_DISABLE_JIT,NPROC, times may be other ones than are usual: "
            "NNBENCH_INHERIT=JAX_DISABLE_JIT,NPROC hands them on"
        )
    ]


def test_quota_below_the_threads_is_named(warn):
    group = "sys/fs/cgroup/cpu.max"
    whole = {"proc/self/cgroup": "0::/", group: "100000 100000"}
    assert warn(CALM | whole) == []
    assert warn(CALM | whole | {group: "50000 100000"}) == [
        "CPU quota is 0.5 CPUs, cells are stopped now and then: give the container more"
    ]


def test_gpu_is_asked_about_only_if_one_is_used(warn, monkeypatch):
    asked = []
    monkeypatch.setattr(gpu, "other_processes", lambda: asked.append(True))
    warn(CALM)
    assert not asked
    warn(CALM, uses_gpu=True)
    assert asked


@pytest.mark.filterwarnings("always::nnbench.execution.machine.MachineWarning")
def test_warnings_are_shown_and_kept_with_the_run(monkeypatch, recwarn, plan_toy):
    monkeypatch.setattr(fitness, "warnings", lambda _: ["too hot: open a window"])
    info = plan_toy("numpy")
    assert info.warnings == ["too hot: open a window"]
    assert [str(w.message) for w in recwarn.list] == ["machine: too hot: open a window"]


def now(at, **values):
    return {each.subject: each for each in fitness.now(at, IDLE._replace(**values))}


def test_nobody_is_busy_on_an_idle_machine(place):
    found = now(place(CALM))
    assert {each.state for each in found.values()} == {State.OK}
    assert found["swap"].found == "1 MiB in use, 0 pages moved now"


def test_who_is_busy_is_named(place):
    programs = [("make", 47, 0.9), ("cc1", 48, 0.5), ("ld", 49, 0.3), ("sh", 50, 0.1)]
    found = now(place(CALM), busy={0: 0.9, 1: 0.6}, programs=programs)["busy now"]
    assert found.state is State.COSTS
    assert found.found == "1.5 of 2 CPUs: make (47) 90%, cc1 (48) 50%, ld (49) 30%"


@pytest.mark.parametrize(
    ("name", "value", "subject"), [("stolen", 0.04, "steal now"), ("swapped", 1, "swap")]
)
def test_what_others_take_costs_something(place, name, value, subject):
    found = now(place(CALM), **{name: value})
    assert [each.subject for each in found.values() if each.state is State.COSTS] == [subject]


def test_of_other_systems_programs_alone_are_seen(place):
    at = place({})
    silent: dict[str, object] = {"busy": {}, "stolen": None, "swapped": None}
    assert {each.state for each in now(at, **silent).values()} == {State.UNKNOWN}
    found = now(at, **silent, programs=[("make", 47, 0.9)])["busy now"]
    assert (found.state, found.found) == (State.COSTS, "make (47) 90%")


def test_a_process_that_computes_is_seen(place, monkeypatch):
    class Other(SimpleNamespace):
        def cpu_percent(self):
            return 87.0

        def name(self):
            raise psutil.AccessDenied

    class Gone(Other):
        def cpu_percent(self):
            raise psutil.NoSuchProcess(2)

    both = [Other(pid=1), Gone(pid=2), Other(pid=os.getpid())]
    monkeypatch.setattr(psutil, "process_iter", lambda: both)
    at = place(CALM)
    assert fitness.look(at, 1e-3).programs == [("?", 1, 0.87)]
    assert fitness.look(at, 1e-3)[1:3] == (0.0, 0)


@pytest.mark.parametrize(("seconds", "state"), [(9e-7, State.OK), (2e-6, State.COSTS)])
def test_slow_clock_costs_something(place, monkeypatch, seconds, state):
    monkeypatch.setattr(fitness, "repeat", lambda *_, number, **__: [number * seconds, 1.0])
    clocks = {
        f"{fitness.CLOCKS}/current_clocksource": "hpet",
        f"{fitness.CLOCKS}/available_clocksource": "hpet tsc",
    }
    found = fitness.reading(place(clocks))
    assert found.state is state
    assert found.found.startswith("hpet, ")
    mends = found.mend == f"echo tsc | sudo tee /{fitness.CLOCKS}/current_clocksource"
    assert mends == (state is State.COSTS)


def test_cpus_of_another_nnbench_are_named(place, monkeypatch, tmp_path):
    monkeypatch.setattr(cpus, "FOLDER", tmp_path)
    at = place(CALM)
    assert fitness.held(at).found == "holds no CPU"
    for cpu, state in ((1, State.OK), (0, State.COSTS)):
        lock = os.open(tmp_path / f"nnbench-cpu-{cpu}.lock", os.O_RDONLY | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the tests end
        assert fitness.held(at).state is state
    assert fitness.held(at).found == "holds CPU 0,1"


def test_a_look_at_locks_makes_and_keeps_none(monkeypatch, tmp_path):
    monkeypatch.setattr(cpus, "FOLDER", tmp_path)
    assert cpus.taken([0]) == []
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "nnbench-cpu-0.lock").touch()
    assert cpus.taken([0]) == []
    with (tmp_path / "nnbench-cpu-0.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_locks_that_cannot_be_asked_for_are_not_taken(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "none here")

    monkeypatch.setattr(cpus, "FOLDER", tmp_path)
    (tmp_path / "nnbench-cpu-0.lock").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert cpus.taken([0]) == []


@pytest.mark.usefixtures("home")
def test_noise_floor_is_unknown_until_it_is_measured(make_info):
    here = make_info().environment
    assert fitness.floor(here).state is State.UNKNOWN
    machine.TURN_FLOORS.save(here, 0.013)
    assert fitness.floor(here).found == "1.3%"
    machine.MEASURED.save(here, "2026-11-02T03:04:05Z")
    assert fitness.floor(here).found == "1.3%, measured 2026-11-02T03:04:05Z"


def test_whoever_cannot_see_a_gpu_says_what_could(monkeypatch):
    monkeypatch.setattr(fitness, "find_spec", lambda _: None)
    assert fitness.no_gpu().mend == "pip install 'nnbench-harness[gpu]'"
    monkeypatch.setattr(fitness, "find_spec", lambda _: sys)
    assert fitness.no_gpu().state is State.OK


def test_document_says_what_each_costs():
    text = (documents.ROOT / "docs/measurement.md").read_text("utf-8")
    assert [subject for subject in ALL if f"\n| {subject} | " not in text] == []


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("files", [{}, CALM], ids=["another system", "Linux"])
def test_everything_is_examined_on_any_system(files, place, make_info, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    found = fitness.examine(place(files), make_info().environment)
    assert {each.subject for each in found} == ALL
    assert all(each.found for each in found)
    assert all(each.costs for each in found if each.state is State.COSTS)
    assert not any(each.costs for each in found if each.state is not State.COSTS)


def test_energy_that_is_not_counted_is_unknown_and_no_warning(place, warn, monkeypatch):
    def found(files):
        [finding] = [f for f in fitness.joules(place(files)) if f.subject == "CPU energy"]
        return finding.state, finding.found, finding.mend

    assert found(CALM) == (State.OK, "counted", "")
    hidden = "no RAPL counter is to be seen: virtual machines and containers hide it"

    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(energy.Package, "joules", refuse)
    path = "/sys/class/powercap/intel-rapl:0/energy_uj"
    mend = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
    assert found(CALM) == (State.UNKNOWN, f"{path}: Permission denied", mend)
    assert warn(CALM) == []
    [nothing] = fitness.joules(Place(cpus=[0], root=place({}).root / "nowhere"))
    assert (nothing.state, nothing.found, nothing.mend) == (State.UNKNOWN, hidden, "")
