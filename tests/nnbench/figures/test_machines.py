"""Kinds of machines: what decides times, how they are called, and that no figure is of several."""

from dataclasses import replace

import pytest

from nnbench.figures import frames, machines
from nnbench.records.runs import Roof

LINUX = "Linux-6.1.0-18-amd64-x86_64-with-glibc2.36"


@pytest.fixture
def environment(make_info):
    """Give what a machine is."""
    return replace(make_info().environment, system=LINUX)


@pytest.mark.parametrize(
    "change",
    [
        {"system": LINUX.replace("18", "21")},
        {"usable_cores": 1},
        {"quota": 1.5},
        {"git": "abc"},
    ],
)
def test_kernel_and_what_may_be_used_are_no_kind(environment, change):
    assert replace(environment, **change).kind == environment.kind


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "another"},
        {"physical_cores": 64},
        {"logical_cores": 64},
        {"memory_bytes": 2**40},
        {"gpus": []},
        {"system": LINUX.replace("2.36", "2.28")},
        {"system": "macOS-14.2-arm64-arm-64bit"},
        {"python": "CPython 3.12"},
        {"versions": {"nnbench": "0.1", "numpy": "2.1"}},
        {"versions": {"nnbench": "0.2", "numpy": "2.0"}},
    ],
)
def test_hardware_and_versions_are_a_kind(environment, change):
    assert replace(environment, **change).kind != environment.kind


def test_kind_is_called_by_its_cpu_and_by_what_tells_it_from_others(environment):
    def called(*changes):
        found = [replace(environment, **change) for change in changes]
        return [*machines.names({each.kind: each for each in found}).values()]

    assert called({}) == ["A CPU"]
    assert called({}, {"cpu": "B", "memory_bytes": 2**40}) == ["A CPU", "B"]
    numpy = {"versions": {"nnbench": "0.1", "numpy": "2.1"}}
    assert called({"gpus": []}, {}, numpy) == [
        "A CPU, no GPUs, numpy 2.0",
        "A CPU, A GPU, numpy 2.0",
        "A CPU, A GPU, numpy 2.1",
    ]
    assert called({}, {"logical_cores": 8}) == ["A CPU, 2 logical cores", "A CPU, 8 logical cores"]


def test_kinds_that_say_the_same_of_themselves_are_told_apart(environment):
    found = [replace(environment, gpus=gpus) for gpus in (["x, y"], ["x", "y"])]
    names = machines.names({each.kind: each for each in found})
    assert len({*names.values()}) == 2
    assert all(kind[:6] in name for kind, name in names.items())


@pytest.fixture
def mixed(make_info, make_cell):
    """Give a run of two kinds of machines: on the second one everything takes ten times as long, and b is the faster one."""
    here = make_info().machine
    there = replace(here, environment=replace(here.environment, cpu="Another CPU"))
    info = replace(make_info("numpy", "b"), machines={"n1": here, "n2": there, "n3": there})
    seconds = {"n1": (1.0, 2.0), "n2": (10.0, 5.0), "n3": (10.0, 5.0)}
    cells = [
        make_cell(name, train_s=s * (1 + 0.01 * number), round=3 * number + i, machine=machine)
        for number in range(2)
        for i, (machine, times) in enumerate(seconds.items())
        for name, s in zip(("numpy", "b"), times, strict=True)
    ]
    return info, cells


def test_ratios_pool_and_absolute_times_do_not(mixed):
    info, cells = mixed
    rows = {row.backend: row for row in frames.timing(info, frames.groups(info, cells))}
    assert rows["b"].ratio == pytest.approx(0.5)  # of 2, 0.5 and 0.5
    assert [*rows] == ["b", "numpy"]
    for field in ("train_s_per_epoch", "images_per_s", "step_us", "peak_memory_bytes", "setup_s"):
        assert getattr(rows["b"], field, None) is None


def test_order_is_that_of_ratios_not_of_times(mixed, make_cell):
    info, cells = mixed
    some = [c for c in cells if c.machine == "n1" or c.backend == "b"]
    lone = [make_cell("numpy", train_s=10.0, round=r, machine="n2") for r in (1, 4)]
    assert [*frames.groups(info, [*some, *lone])] == ["b", "numpy"]


def test_lone_kind_has_its_times_though_others_have_joined(mixed):
    info, cells = mixed
    own = [c for c in cells if c.machine != "n1"]
    [b, numpy] = frames.timing(info, frames.groups(info, own))
    assert (b.train_s_per_epoch, numpy.train_s_per_epoch) == pytest.approx((5.025, 10.05))


def test_cell_that_has_no_figures_makes_no_kind(mixed, make_failed):
    info, cells = mixed
    own = [c for c in cells if c.machine != "n1"]
    lost = make_failed("b", "lost", round=9, machine="n1")
    assert not machines.are_several(info, [*own, lost])
    assert machines.kinds(info, [*own, lost]) == {"Another CPU": ["n2", "n3"]}


def test_share_is_that_of_the_ceilings_of_the_own_machine(make_info, make_cell):
    setup = replace(make_cell().setup, operations=1e9)
    here = make_info().machine
    found = {
        name: replace(here, roofs=[Roof(device="cpu", threads=1, gflops=gflops, gb_per_s=None)])
        for name, gflops in {"n1": 100.0, "n2": 200.0}.items()
    }
    info = replace(make_info("numpy"), machines=found)
    cells = [make_cell(setup=setup, round=i, machine=m) for i, m in enumerate(["n2", "n2", "n1"])]
    [row] = frames.timing(info, frames.groups(info, cells))
    assert row.gflops_share == pytest.approx(0.5)  # 100 GFLOP/s, mostly on the second one
