"""Disturbed cells: what is concluded from what the kernel counts."""

from dataclasses import replace

import pytest

from nnbench.execution import disturbance
from nnbench.execution.disturbance import REPEATS
from nnbench.records.cells import GpuSample, Status
from nnbench.worker.counters import TICK_S

THROTTLED = GpuSample(clock_mhz=900, temperature_c=90, throttled=["temperature", "power"])


def used(cell, **changes):
    """Give a cell's only epoch other counters; it trained for one second."""
    counters = {"cpu_s": 1.0, "waited_s": 0.0, **changes}
    return replace(cell, epochs=[replace(cell.epochs[0], **counters)])


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
        {"steal_s": TICK_S},
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


def settled(cell):
    """Return the flags of an attempt that was judged."""
    return disturbance.settle(disturbance.mark(cell, 0)).flags


def test_flag_says_what_was_lost(make_cell):
    busy = replace(used(make_cell(), cpu_s=0.75, waited_s=0.25), flags=["another"])
    assert settled(busy) == ["disturbed: 25% of the time without a CPU", "another"]
    hot = replace(used(make_cell()), gpu=[THROTTLED])
    assert settled(hot) == ["disturbed: GPU throttled, power, temperature"]
    assert settled(replace(used(make_cell()), flags=["another"])) == ["another"]


def test_cell_that_was_found_wrong_was_not_disturbed(make_cell):
    busy = disturbance.mark(used(make_cell(), cpu_s=0.75, waited_s=0.25), 0)
    wrong = replace(busy, status=Status.INVALID, flags=["another"])
    assert disturbance.settle(wrong) == replace(wrong, disturbed=False)
