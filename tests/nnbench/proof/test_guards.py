"""Backends that cheat the clock are caught, and honest ones are not."""

from dataclasses import replace
from functools import partial

import pytest

from nnbench import NetworkSpec, Optimizer
from nnbench.execution import ceilings
from nnbench.figures.metrics import PHASES_WORD
from nnbench.proof import guards
from nnbench.records.cells import Part, Phases
from tests.cells import TOY, make_spec, read_final
from tests.plugins.helpers import alone, nnbench

HONEST = "steady"


@pytest.fixture
def make_cell(make_cell):
    """Make cells without phases, which would have to add up to their steps."""
    return partial(make_cell, phases=None)


def run(folder, *backends, **options):
    """Run some of the faulty backends on the toy; return their cells by name."""
    pairs = (text for key, value in options.items() for text in (f"--{key}", str(value)))
    command = ["run", "-b", ",".join(backends), "-w", TOY.name, "-r", 1, "-o", folder, *pairs]
    nnbench(*command, env=alone("faulty"))
    return {cell.backend: cell for cell in read_final(folder)}


@pytest.fixture(scope="module")
def cheats(tmp_path_factory):
    """Run backends that pretend to train, and an honest one."""
    folder = tmp_path_factory.mktemp("guards") / "run"
    return run(folder, HONEST, "does-nothing", "forges-losses")


def test_no_op_is_caught_by_its_losses(cheats):
    cell = cheats["does-nothing"]
    assert cell.status == "invalid"
    assert "stray" in cell.message


def test_forged_losses_are_caught_by_the_parameters(cheats):
    cell = cheats["forges-losses"]
    assert cell.status == "invalid"
    assert not cell.changed
    assert ": the parameters did not change" in cell.message


def test_honest_backend_passes(cheats):
    cell = cheats[HONEST]
    assert cell.status == "ok"
    assert 0 < cell.achieved_gflops < cell.ceiling_gflops


def verdict(cell):
    problem = guards.problem(cell)
    return ("invalid", problem) if problem else ("ok", "")


def test_operations_are_those_of_the_matrix_products():
    spec = NetworkSpec(
        sizes=(784, 50, 10),
        activation="relu",
        loss="cross_entropy",
        optimizer=Optimizer(kind="sgd", learning_rate=0.1),
    )
    forward, backward = 2 * (784 * 50 + 50 * 10), 2 * (784 * 50 + 50 * 10 + 50 * 10)
    assert spec.operations == forward + backward
    assert replace(spec, sizes=(784, 10)).operations == 4 * 7840


def test_speed_above_the_ceiling_is_a_remark(make_cell):
    cell = make_cell(achieved_gflops=111.0, ceiling_gflops=100.0)
    assert verdict(cell)[0] == "ok"
    assert flags(cell) == ["faster than the matrix products of NumPy, PyTorch and JAX here"]
    for most in (109.0, 1.1 * 100):
        assert flags(make_cell(achieved_gflops=most, ceiling_gflops=100.0)) == []


def test_speed_above_the_peak_is_invalid(make_cell):
    cell = make_cell(achieved_gflops=401.0, ceiling_gflops=100.0, peak_gflops=400.0)
    assert verdict(cell) == ("invalid", "401 GFLOP/s cannot be, such CPUs compute 400 at most")
    assert verdict(replace(cell, achieved_gflops=400.0))[0] == "ok"
    assert verdict(replace(cell, peak_gflops=None))[0] == "ok"


@pytest.fixture
def measure(monkeypatch, make_cell):
    """Return a function that measures the speed of a cell; products reach 100 GFLOP/s."""
    spec = make_spec()

    def find(asked, device, achieved):
        assert asked == spec
        assert device in {"cpu", "cuda"}
        assert achieved == pytest.approx(1.5e-7)  # dense products alone
        return 100.0

    monkeypatch.setattr(ceilings, "for_cell", find)
    monkeypatch.setattr(ceilings, "peak_gflops", lambda threads: 2000.0 * threads)

    def measure_cell(cell=None, **setup):
        cell = cell or make_cell()
        changed = cell.setup and replace(cell.setup, **setup)
        return ceilings.measure_speed(replace(cell, setup=changed), spec)

    return measure_cell


def test_speed_is_that_of_the_images_seen(measure, make_cell):
    cell = measure(make_cell(train_s=2.0, images=1000), operations=0.3)
    assert cell.achieved_gflops == pytest.approx(1.5e-7)
    assert cell.ceiling_gflops == 100


def test_ceiling_is_higher_for_backends_that_skip_zeros(measure):
    cell = measure(operations=7.5, nonzero_share=0.2)
    assert cell.achieved_gflops == pytest.approx(7.5e-7)
    assert cell.ceiling_gflops == pytest.approx(500)
    assert cell.peak_gflops == pytest.approx(10_000)


def test_nothing_but_zeros_has_no_ceiling(monkeypatch, make_cell):
    monkeypatch.setattr(ceilings, "for_cell", lambda *_: 100.0)
    cell = make_cell()
    setup = replace(cell.setup, operations=7.5, nonzero_share=0.0)
    found = ceilings.measure_speed(replace(cell, setup=setup), make_spec())
    assert found.achieved_gflops == pytest.approx(7.5e-7)
    assert (found.ceiling_gflops, found.peak_gflops) == (None, None)


def test_only_float32_on_the_cpu_has_a_peak(measure, make_cell):
    measure = partial(measure, operations=7.5, nonzero_share=0.2)
    assert measure().peak_gflops == pytest.approx(10_000)
    assert measure(make_cell(precision="bf16")).peak_gflops is None
    assert measure(device="cuda").peak_gflops is None


def test_cell_that_failed_has_no_speed(measure, make_cell, make_failed):
    assert measure(make_failed()).achieved_gflops is None
    assert measure(make_cell(status="crashed")).achieved_gflops is None
    assert measure(make_cell(accuracies=())).achieved_gflops is None


def cut(cell, *calls, threads=1, first=None, parameters=40_000):
    """Give a cell timed calls: 20 ms each, or what is said of them."""
    honest = {"train_s": 0.02, "wall_s": 0.0205, "late_s": 0.0, "waited_s": 0.0}
    honest |= {"cpu_s": threads * 0.02, "dump_s": 6e-4, "dump_cpu_s": 6e-4, "images": 1}
    parts = [Part(**{**honest, "state": f"{n}", **call}) for n, call in enumerate(calls)]
    [epoch] = cell.epochs
    cell = replace(cell, threads=threads, setup=replace(cell.setup, parameters=parameters))
    dumps = {"dump_s": 1e-3, "dump_cpu_s": 1e-3} if first is None else first
    return replace(cell, **dumps, epochs=[replace(epoch, parts=parts)])


def calls(count, **said):
    return [said] * count


@pytest.mark.parametrize("threads", [1, 2])
def test_honest_calls_pass(make_cell, threads):
    cell = cut(make_cell(), *calls(30), threads=threads)
    assert verdict(cell)[0] == "ok"
    assert flags(cell) == []


@pytest.mark.parametrize(("threads", "most"), [(1, 0.0025), (2, 0.010)])
def test_call_cannot_be_shorter_than_its_cpu_time(make_cell, threads, most):
    cpu_s = threads * 0.02 + most
    assert verdict(cut(make_cell(), *calls(30, cpu_s=cpu_s - 1e-5), threads=threads))[0] == "ok"
    cell = cut(make_cell(), *calls(30, cpu_s=cpu_s + 1e-4), threads=threads)
    plural = "s" if threads > 1 else ""
    said = f"by the worker's clock, with {threads} thread{plural}"
    assert verdict(cell)[0] == "invalid"
    assert f"{30 * (cpu_s + 1e-4):.4g} s of CPU time in 0.6 s {said}" in verdict(cell)[1]


@pytest.mark.parametrize(("count", "status"), [(3, "ok"), (4, "invalid")])
def test_a_few_short_calls_prove_nothing(make_cell, count, status):
    short = {"train_s": 6e-4, "wall_s": 3.8e-3, "cpu_s": 3.6e-3}
    assert verdict(cut(make_cell(), *calls(count, **short)))[0] == status


@pytest.mark.parametrize(("images", "status"), [(1, "invalid"), (14_000, "ok")])
def test_long_orders_take_longer_to_come(make_cell, images, status):
    timed = {"images": images, "wall_s": 0.0228, "cpu_s": 0.0228}
    assert verdict(cut(make_cell(), *calls(23, **timed)))[0] == status
    late = {"images": images, "wall_s": 0.0228}
    assert verdict(cut(make_cell(), *calls(23, **late)))[0] == status


@pytest.mark.parametrize("dump_s", [3e-4, 2e-3])
def test_pace_of_a_backend_makes_no_room_in_its_calls(make_cell, dump_s):
    dumps = {"dump_s": dump_s, "dump_cpu_s": dump_s}
    for more_s, status in ((0.0024, "ok"), (0.0026, "invalid")):
        timed = {**dumps, "cpu_s": 0.02 + more_s, "wall_s": 0.02 + more_s}
        assert verdict(cut(make_cell(), *calls(30, **timed), first=dumps))[0] == status


def test_pools_spin_on_while_nnbench_is_late(make_cell):
    late = {"late_s": 0.01, "wall_s": 0.031}
    assert verdict(cut(make_cell(), *calls(30, **late, cpu_s=0.06), threads=2))[0] == "ok"
    assert verdict(cut(make_cell(), *calls(30, **late, cpu_s=0.03)))[0] == "invalid"


def test_a_few_calls_cannot_hide_work_that_all_would_show(make_cell):
    hidden = {"cpu_s": 0.045}
    assert verdict(cut(make_cell(), *calls(27), *calls(3, **hidden)))[0] == "ok"  # 95 ms for all
    assert verdict(cut(make_cell(), *calls(26), *calls(4, **hidden)))[0] == "invalid"


def test_more_cpus_than_given_are_seen(make_cell):
    cell = cut(make_cell(), *calls(30, train_s=0.02, cpu_s=0.0395, wall_s=0.02), threads=2)
    assert verdict(cell)[0] == "ok"
    cell = cut(make_cell(), *calls(30, train_s=0.04, cpu_s=0.04, wall_s=0.02))
    assert verdict(cell) == ("invalid", "1.2 s of CPU time in 0.6 s: more than 1 thread")


def test_clock_of_nnbench_is_another_witness(make_cell):
    assert verdict(cut(make_cell(), *calls(30, wall_s=0.0224)))[0] == "ok"
    cell = cut(make_cell(), *calls(30, wall_s=0.0226))
    text = "trained 0.6 s by the worker's clock, 0.678 s by nnbench's own"
    assert verdict(cell) == ("invalid", text)


@pytest.mark.parametrize("who", ["late_s", "waited_s"])
def test_nobody_is_blamed_for_a_busy_machine(make_cell, who):
    assert verdict(cut(make_cell(), *calls(30, wall_s=0.031, **{who: 0.01})))[0] == "ok"
    unknown = cut(make_cell(), *calls(30, wall_s=0.031, **{who: None}))
    assert verdict(unknown)[0] == "ok"
    start = "the clock is held against CPU time alone: "
    assert flags(unknown) == [f"{start}this system tells no process how long it waited"]


def test_single_late_call_is_no_lie(make_cell):
    assert verdict(cut(make_cell(), *calls(30), {"wall_s": 0.065}))[0] == "ok"
    assert verdict(cut(make_cell(), {"wall_s": 0.065}))[0] == "invalid"


def test_parts_of_one_call_in_two_epochs_are_one_call(make_cell):
    shared = {"train_s": 0.01, "cpu_s": 0.01, "wall_s": 0.012}  # each has 2 ms more
    first, last = {**shared, "state": None, "dump_s": None}, shared
    cell = cut(make_cell(), *[first, last] * 30)
    assert len(guards.calls(cell)) == 30
    assert verdict(cell)[0] == "invalid"


@pytest.mark.parametrize(("said", "most"), [("dump_s", 0.0069), ("dump_cpu_s", 0.0069)])
def test_work_that_is_put_off_into_a_dump_is_seen(make_cell, said, most):
    assert verdict(cut(make_cell(), *calls(30, **{said: most})))[0] == "ok"
    cell = cut(make_cell(), *calls(30, **{said: most + 2e-4}))
    text = f"a dump after training takes up to {most + 2e-4:.2g} s: work was put off"
    assert verdict(cell) == ("invalid", text)


def test_spinning_pools_are_no_work_that_is_put_off(make_cell):
    assert verdict(cut(make_cell(), *calls(30, dump_cpu_s=0.05), threads=2))[0] == "ok"


def test_large_state_may_take_longer(make_cell):
    cell = cut(make_cell(), *calls(30, dump_s=0.022, dump_cpu_s=0.022), parameters=670_000)
    assert verdict(cell)[0] == "ok"
    assert verdict(replace(cell, setup=replace(cell.setup, parameters=40_000)))[0] == "invalid"


def test_slow_first_dump_makes_no_room_for_work(make_cell):
    slow = {"dump_s": 0.05, "dump_cpu_s": 0.05}
    assert verdict(cut(make_cell(), *calls(30, **slow), first=slow))[0] == "invalid"
    long = {"train_s": 1.0, "wall_s": 1.001, "cpu_s": 1.0}  # in Python all takes long
    assert verdict(cut(make_cell(), *calls(30, **slow, **long), first=slow))[0] == "ok"


def test_system_that_tells_no_cpu_time_is_a_remark(make_cell):
    unknown = dict.fromkeys(["cpu_s", "late_s", "waited_s", "dump_s", "dump_cpu_s"])
    cell = cut(make_cell(), *calls(30, **unknown))
    assert verdict(cell)[0] == "ok"
    text = "threads and clock are the worker's word: this system tells no CPU time of others"
    assert flags(cell) == [text]


def test_folders_that_are_shared_are_a_remark(make_cell):
    text = "no temporary folder of its own: it could find what other backends leave in there"
    assert flags(make_cell(private=False)) == [text]
    assert flags(make_cell(private=True)) == flags(make_cell(private=None)) == []


def test_what_was_seen_from_outside_makes_a_cell_invalid(make_cell):
    cell = make_cell(violations=["could run on CPU 0, was given 1", "another"])
    assert verdict(cell) == ("invalid", "could run on CPU 0, was given 1")


@pytest.mark.parametrize(
    ("each", "adds_up"), [(25.0, True), (12.6, True), (12.4, False), (49.9, True), (50.1, False)]
)
def test_phases_that_do_not_add_up_are_a_remark(make_cell, each, adds_up):
    cell = make_cell(train_s=2e-4)  # two steps
    samples = [9 * each, each, each / 9]
    phases = Phases(
        gather_us=samples, feedforward_us=samples, backprop_us=samples, update_us=samples
    )
    assert flags(replace(cell, phases=phases)) == ([] if adds_up else [PHASES_WORD])


@pytest.mark.parametrize(("gradient", "expected"), [(1e-7, [guards.NO_PHASES]), (None, [])])
def test_phases_that_were_left_out_are_a_remark(make_cell, gradient, expected):
    cell = make_cell()
    shown = replace(cell, proof=replace(cell.proof, gradient=gradient))
    assert flags(shown) == expected


def by_device(cell, *seconds, calls=1):
    epochs = zip(cell.epochs, seconds, strict=True)
    return replace(cell, epochs=[replace(e, device_s=s, calls=calls) for e, s in epochs])


@pytest.mark.parametrize(
    ("seconds", "calls", "status"),
    [
        (1.0, 1, "ok"),
        (0.951, 1, "ok"),
        (0.9, 1, "invalid"),
        (1.1, 1, "invalid"),
        (0.9, 51, "ok"),  # a millisecond for each call
        (0.9, 49, "invalid"),
        (0.0, 1, "invalid"),
    ],
)
def test_clocks_of_host_and_device_must_agree(make_cell, seconds, calls, status):
    assert verdict(by_device(make_cell(), seconds, calls=calls))[0] == status


def test_share_of_a_long_training_may_lie_between_the_clocks(make_cell):
    cell = make_cell(train_s=20.0)
    assert verdict(by_device(cell, 19.0, calls=0))[0] == "ok"
    assert verdict(by_device(cell, 18.9, calls=0))[0] == "invalid"


def test_clock_that_is_not_there_for_every_epoch_contradicts_none(make_cell):
    assert verdict(by_device(make_cell(accuracies=(0.5, 0.9)), 0.5, None))[0] == "ok"


def test_disagreement_of_the_clocks_is_told(make_cell):
    cell = by_device(make_cell(accuracies=(0.5, 0.9)), 0.5, 0.25)
    text = "trained 2 s by the host's clock, 0.75 s by the device's"
    assert verdict(cell) == ("invalid", text)


def compiled(cell, *counts):
    epochs = zip(cell.epochs, counts, strict=True)
    return replace(cell, epochs=[replace(e, compilations=c) for e, c in epochs])


def pools(cell, **threads):
    return replace(cell, setup=replace(cell.setup, thread_pools=threads))


def flags(cell):
    return list(guards.remarks(cell))


def test_cpus_that_another_nnbench_held_are_a_remark(make_cell):
    text = "CPU 3, 5 was another nnbench's, too: too few were free"
    assert flags(make_cell(cpus=(1, 3, 5), shared_cpus=(3, 5))) == [text]
    assert flags(make_cell(cpus=(1, 3, 5))) == []


def test_cell_without_remarks_has_no_flags(make_cell):
    cell = pools(make_cell(achieved_gflops=1.0, ceiling_gflops=100.0), libopenblas=1)
    assert flags(cell) == []


def test_flags_say_what_makes_times_less_sure(make_cell):
    cell = pools(make_cell(accuracies=(0.5, 0.9), achieved_gflops=1.0), libgomp=2, libopenblas=1)
    assert flags(compiled(cell, 0, 2)) == [
        "compiled 2 times while timed",
        "libgomp has 2 threads, 1 asked for",
        "no ceiling of the FLOP/s was measured",
    ]


@pytest.mark.parametrize(
    ("asked", "seen", "waited", "text"),
    [
        (1, [1, 1, 1], 0.02, None),
        (1, [2, 1, 1], 0.02, None),  # now and then
        (1, [2, 2, 1], 0.011, "2 threads computed, 1 asked for"),
        (1, [2, 2, 2], 0.010, None),  # one after the other
        (1, [2, 2, 2], None, None),
        (2, [1, 2, 1, None], 0.0, "1 thread computed, 2 asked for"),
        (2, [1, 8, 8], 0.3, "8 threads computed, 2 asked for"),
        (2, [None, None], 0.0, None),
    ],
)
def test_threads_that_were_seen_are_held_against_those_asked_for(
    make_cell, asked, seen, waited, text
):
    timed = [{"threads": threads, "waited_s": waited} for threads in seen]
    cell = cut(make_cell(), *timed, threads=asked)
    assert [each for each in flags(cell) if "computed" in each] == ([text] if text else [])
    gpu = replace(cell, setup=replace(cell.setup, device="cuda"))
    assert not any("computed" in each for each in flags(gpu))


def test_threads_that_wait_since_others_have_the_cpus_are_not_too_many(make_cell):
    seen = {"threads": 2, "waited_s": 0.02}
    assert len(flags(cut(make_cell(), *calls(3, **seen, cpu_s=0.0185)))) == 1
    assert flags(cut(make_cell(), *calls(3, **seen, cpu_s=0.0184))) == []


def test_a_gil_that_came_back_is_a_remark(make_cell):
    cell = make_cell()
    for gil, found in (
        (None, []),
        (False, []),
        (True, ["the GIL of this free-threaded Python is on"]),
    ):
        texts = flags(replace(cell, setup=replace(cell.setup, gil=gil)))
        assert [text.partition(":")[0] for text in texts] == found


def test_single_compilation_is_one_time(make_cell):
    assert flags(compiled(make_cell(), 1)) == ["compiled 1 time while timed"]


def test_cell_without_a_setup_has_no_flags(make_cell):
    assert flags(make_cell(setup=None)) == []
