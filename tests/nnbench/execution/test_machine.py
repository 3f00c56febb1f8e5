"""Warnings before a run, from files as Linux has them, and none where there are no such files."""

from pathlib import Path

import pytest

from nnbench.execution import gpu, machine

CPU = "sys/devices/system/cpu"
TURBO = "turbo is on, times depend on the temperature"
SMT = "SMT is on, a busy sibling slows a CPU down"
CALM = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",  # not one of the run's
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance",
    f"{CPU}/intel_pstate/no_turbo": "1",
    f"{CPU}/smt/active": "0",
    "proc/loadavg": "0.40 3.10 7.25 1/100 4711",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 4000000 kB",
}


@pytest.fixture
def check(tmp_path):
    """Return a function that checks a machine with the given files, and one thread on two CPUs."""

    def check_files(files, threads=1):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        return machine.check([0, 1], threads, root=tmp_path, environment={})

    return check_files


def test_nothing_is_said_of_a_calm_machine(check):
    assert check(CALM) == []


def test_nothing_is_said_where_the_system_says_nothing(check):
    assert check({}) == []


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            f"{CPU}/cpu1/cpufreq/scaling_governor",
            "powersave",
            "CPU governor is powersave: sudo cpupower frequency-set -g performance",
        ),
        (
            f"{CPU}/intel_pstate/no_turbo",
            "0",
            f"{TURBO}: echo 1 | sudo tee /{CPU}/intel_pstate/no_turbo",
        ),
        (
            f"{CPU}/cpufreq/boost",
            "1",
            f"{TURBO}: echo 0 | sudo tee /{CPU}/cpufreq/boost",
        ),
        (
            f"{CPU}/smt/active",
            "1",
            f"{SMT}: echo off | sudo tee /{CPU}/smt/control",
        ),
        (
            "proc/loadavg",
            "1.60 0.10 0.10 1/100 4711",
            "load average is 1.6 on 2 CPUs: stop other programs, or wait a minute",
        ),
        (
            "proc/meminfo",
            "MemTotal: 8000000 kB\nMemAvailable: 512000 kB",
            "only 500 MiB of memory are free: stop other programs",
        ),
    ],
)
def test_what_spoils_times_is_named_with_what_to_do(check, name, content, text):
    assert check({**CALM, name: content}) == [text]


def test_load_that_leaves_enough_cpus_is_fine(check):
    load = {"proc/loadavg": "1.40 0.10 0.10 1/100 4711"}
    assert check(load) == []
    assert len(check(load, threads=2)) == 1


def test_governor_of_every_cpu_of_the_run_counts(check):
    assert len(check(CALM, threads=2)) == 1


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="needs Linux")
def test_this_machine_can_be_checked():
    for text in machine.check([0], 1, uses_gpu=True):
        assert ": " in text


@pytest.mark.filterwarnings("always::nnbench.execution.machine.MachineWarning")
def test_warnings_are_shown_and_kept_with_the_run(monkeypatch, recwarn, plan_toy):
    monkeypatch.setattr(machine, "check", lambda *_, **__: ["too hot: open a window"])
    info = plan_toy("numpy")
    assert info.warnings == ["too hot: open a window"]
    assert [str(w.message) for w in recwarn.list] == ["machine: too hot: open a window"]


def test_gpu_is_asked_about_only_if_one_is_used(monkeypatch):
    asked = []
    monkeypatch.setattr(gpu, "other_processes", lambda: asked.append(True))
    machine.check([0], 1, uses_gpu=False)
    assert not asked
    machine.check([0], 1, uses_gpu=True)
    assert asked


def test_variables_that_cells_do_not_get_are_named(tmp_path):
    environment = {"OPENBLAS_CORETYPE": "Zen", "MKL_CBWR": "AVX", "NNBENCH_INHERIT": "MKL_CBWR"}
    assert machine.check([0, 1], 1, root=tmp_path, environment=environment) == [
        "cells run without OPENBLAS_CORETYPE: NNBENCH_INHERIT=OPENBLAS_CORETYPE hands them on"
    ]
