"""What a parent tells a worker, and when; where parts are cut; what is made of the answers."""

import hashlib
import itertools
import math
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from nnbench import Backend, reference
from nnbench.contract.spec import flatten
from nnbench.data import arrays, seeding
from nnbench.execution import calls, cell, energy, gpu, supervisor
from nnbench.execution.assignment import Assignment
from nnbench.execution.calls import Course, Piece, Sample, finite_or_none, share_out
from nnbench.execution.cell import Cell, Spool
from nnbench.execution.energy import Counters, Package
from nnbench.records.events import Finished, Progress
from nnbench.records.judging import Evaluation
from nnbench.records.worker import Trained
from tests.cells import TOY, Lenient, make_spec, stored
from tests.plugins import helpers

TRAINED = Trained(
    train_s=2.0,
    load_s=None,
    losses=np.array([1.0, 2.0, 3.0], np.float32).tobytes(),
    cpu_s=1.0,
    involuntary_switches=3,
    waited_s=0.5,
    steal_s=0.25,
    compilations=1,
    device_s=1.5,
)


def assign(seed=0, **changes):
    workload = replace(TOY, **changes)
    return Assignment(workload, seed, stored(workload))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, 1.0),
        (0, 0.0),
        (np.float32(0.1), 0.1),
        (1 / 3, 0.333333333),
        (1e-30, 1e-30),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (np.float32("nan"), None),
    ],
)
def test_finite_or_none(value, expected):
    found = finite_or_none(value)
    assert found == pytest.approx(expected, rel=1e-7) if expected else found == expected
    assert found is None or type(found) is float


def test_nine_digits_are_all_that_a_float32_has():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert [np.float32(finite_or_none(v)) for v in values.tolist()] == values.tolist()


def test_spool_gives_back_what_lies_at_an_offset():
    with closing(Spool()) as spool:
        assert [spool.append(b"abc"), spool.append(b""), spool.append(b"de")] == [0, 3, 3]
        assert os.pread(spool.descriptor, 2, 3) == b"de"
        spool.clear()
        assert os.fstat(spool.descriptor).st_size == 0
        assert spool.append(b"f") == 0


def test_spool_has_no_name(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        spool.append(b"states")
        assert list(tmp_path.iterdir()) == []


def test_worker_is_told_nothing_of_what_it_is_judged_by():
    task = assign()
    job = task.job(make_spec())
    assert job.train == task.splits.train
    assert job.test == task.splits.test.inputs
    assert task.splits.test.targets.descriptor not in task.descriptors


def test_parameters_and_orders_are_those_of_the_seed():
    task = assign(seed=3, shuffle=True, epochs=2)
    expected = seeding.initial_layers(task.network, "normal", 3)
    assert task.layers == b"".join(array.tobytes() for array in flatten(expected))
    orders = seeding.epoch_orders(task.workload, 5, 3)
    for order, other in zip(task.orders(), orders, strict=True):
        assert order.tolist() == other.tolist()


SHORT = assign(batch_size=1, epochs=2)  # five steps an epoch
FULL = assign(epochs=90)  # one


def drawn(task, position=0, limit=1000, seconds=1.0, pace_s=1e-6):
    return {task.draw(position, limit, seconds, pace_s) for _ in range(500)}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {1, 2}),  # a third of five steps, rounded up, or half of that
        ({"limit": 1}, {1}),
        ({"pace_s": 1.0}, {1}),
        ({"pace_s": 100.0}, {1}),  # a step is the least
        ({"pace_s": 0.0}, {1, 2}),
        ({"position": 4}, {1}),  # not beyond the end of the epoch
        ({"position": 9}, {1}),
        ({"position": 5}, {1, 2}),
    ],
)
def test_part_ends_anywhere_between_half_and_all_of_what_may_be(asked, expected):
    assert drawn(SHORT, **asked) == expected


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ({}, 15, 30),  # a third of all epochs
        ({"limit": 20}, 10, 20),
        ({"seconds": 0.5, "pace_s": 0.02}, 13, 25),
        ({"position": 5 * 80}, 10, 10),
    ],
)
def test_full_batches_are_cut_over_the_ends_of_epochs(asked, least, most):
    assert FULL.spans
    assert drawn(FULL, **asked) == {5 * steps for steps in range(least, most + 1)}


@pytest.mark.parametrize(
    ("batch_size", "spans"),
    [(None, True), (5, True), (4, False), (3, False), (2, False), (1, False)],
)
def test_part_goes_on_over_the_end_of_an_epoch_of_whole_batches_that_are_few(batch_size, spans):
    assert assign(batch_size=batch_size).spans is spans


def test_last_batch_that_is_smaller_ends_its_epoch():
    assert drawn(assign(batch_size=2)) == {2}
    assert drawn(assign(batch_size=2), position=4) == {1, 2} - {2}


def test_part_knows_its_epochs():
    assert list(FULL.pieces(5, 12)) == [(2, 5), (3, 5), (4, 2)]
    assert list(SHORT.pieces(3, 2)) == [(1, 2)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shuffle": False, "batch_size": 1}, True),
        ({"shuffle": True, "batch_size": None}, True),
        ({"shuffle": True, "batch_size": 5}, True),
        ({"shuffle": True, "batch_size": 4}, False),
    ],
)
def test_batches_are_foreseen_if_nothing_is_drawn_of_them(changes, expected):
    assert assign(**changes).is_foreseen is expected


@pytest.mark.parametrize("skips_zeros", [False, True])
def test_what_guards_rely_on_is_no_word_of_the_workers(make_cell, skips_zeros):
    lies = {"parameters": 10**12, "operations": 1.0, "nonzero_share": 1e-9, "device": "cuda"}
    lies |= {"epoch_images": 10**9, "traffic_bytes": 1e-9, "setup_s": 0.25}
    backend = Backend(name="x", summary="", create=pytest.fail, skips_zeros=skips_zeros)
    told = assign().told(replace(make_cell().setup, **lies), backend)
    assert (told.parameters, told.epoch_images, told.device) == (15 + 25 + 5, 5, "cpu")
    assert told.operations == 4 * 15 + 6 * 25 + 6 * 5
    assert told.nonzero_share == pytest.approx(14 / 15 if skips_zeros else 1.0)  # one zero
    assert told.traffic_bytes > 1
    assert told.setup_s == 0.25


USED = calls.Used(wall_s=1.0, late_s=0.1, waited_s=0.5, cpu_s=0.3, threads=1)


def test_dump_may_have_waited_in_passing_alone():
    assert USED.alone_s == pytest.approx(0.8)
    assert USED._replace(waited_s=0.05).alone_s == pytest.approx(0.85)
    assert USED._replace(late_s=None).alone_s is None


def test_call_is_shared_out_among_its_epochs():
    one, other = share_out(TRAINED, [10, 5], 5)
    assert (one.images, one.losses, one.calls) == (10, [1.0, 2.0], 0)
    assert (other.images, other.losses, other.calls) == (5, [3.0], 1)
    assert (one.train_s, other.train_s) == pytest.approx((4 / 3, 2 / 3))
    assert (one.cpu_s, one.waited_s, one.steal_s, one.device_s) == pytest.approx(
        (2 / 3, 1 / 3, 1 / 6, 1.0)
    )
    assert (one.involuntary_switches, other.involuntary_switches) == (0, 3)
    assert (one.compilations, other.compilations) == (0, 1)


def test_call_of_one_epoch_is_all_of_it():
    [piece] = share_out(TRAINED, [15], 5)
    assert piece == Piece(15, 2.0, [1.0, 2.0, 3.0], 1, 1.0, 3, 0.5, 0.25, 1, 1.5)


def test_lead_in_and_the_rest_are_one_call():
    rest = structs.replace(TRAINED, train_s=1.0, waited_s=None, losses=b"rest")
    found = calls.after(structs.replace(TRAINED, load_s=0.1), rest)
    assert (found.train_s, found.load_s, found.losses) == (3.0, 0.1, TRAINED.losses + b"rest")
    assert (found.cpu_s, found.waited_s, found.device_s) == (2.0, None, 3.0)
    assert (found.involuntary_switches, found.steal_s, found.compilations) == (6, 0.5, 2)


def test_epoch_sums_up_its_parts():
    course = Course(1)
    for cpu_s, switches, waited_s, steal_s in ((1.0, 2, 0.5, 0.25), (0.5, 1, 0.25, 0.0)):
        course.pieces.append(Piece(4, 2.0, [1.0], 1, cpu_s, switches, waited_s, steal_s, 1, 1.5))
    epoch = course.epoch(Evaluation(0.5, 0.9), Sample(bytes(16), 2, b"", 0.1))
    assert (epoch.calls, epoch.images, epoch.train_s, epoch.device_s) == (2, 8, 4.0, 3.0)
    assert (epoch.cpu_s, epoch.involuntary_switches) == (1.5, 3)
    assert (epoch.waited_s, epoch.steal_s, epoch.compilations) == (0.75, 0.25, 2)
    assert (epoch.test_loss, epoch.accuracy) == (0.5, 0.9)
    assert (epoch.evaluate_s, epoch.predicted_images) == (0.1, 2)


def test_what_one_part_does_not_know_the_epoch_does_not_know():
    course = Course(1)
    for device_s in (1.0, None):
        course.pieces.append(Piece(4, 2.0, [1.0], 1, 0.0, 0, None, 0.0, 0, device_s))
    epoch = course.epoch(Evaluation(0.5, None), None)
    assert (epoch.waited_s, epoch.device_s) == (None, None)
    assert (epoch.evaluate_s, epoch.predicted_images) == (None, None)


TICKS = itertools.count()


class Ticking(Package):
    """A package whose counter is one further whenever it is asked."""

    def joules(self):
        return float(next(TICKS))


@pytest.fixture(scope="module", params=["cut", "spanning", "cut, in turns", "spanning, in turns"])
def trained(request):
    """Train a cell whose epochs are cut, and one whose parts span epochs; give what became of it."""
    cut = {"batch_size": 1, "shuffle": True, "epochs": 2}
    task = assign(**cut) if "cut" in request.param else assign(epochs=20)
    backend = Backend(name="numpy", summary="", create=pytest.fail)
    spec = make_spec(workload=task.workload)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(energy, "of_parts", lambda _: Counters([Ticking("package-0", Path(), 0.0)]))
        spool = Spool()
        given = Cell(spec, task, backend, spool, Lenient())
    with closing(spool), given as run:
        seen = list(run.prepare())
        turns = itertools.count() if "turns" in request.param else itertools.repeat(None)
        while run.goes_on:
            seen += run.train(next(turns))
        seen += run.finish()
        size = os.fstat(spool.descriptor).st_size
        states = os.pread(spool.descriptor, size, 0)
    return task, run, seen, states


def test_every_cut_has_its_state_in_the_spool(trained):
    task, run, _, content = trained
    parts = [part for epoch in run.epochs for part in epoch.parts]
    cuts = [part for part in parts if part.state]
    size = 4 * task.network.parameter_count
    assert len(cuts) == len(run.cuts) >= 3
    for part, cut in zip(cuts, run.cuts, strict=True):
        assert not cut.has_moments  # of plain gradient descent
        state = content[cut.offset : cut.offset + size]
        assert hashlib.sha256(state).hexdigest() == part.state
    assert parts[-1].state
    assert len({part.state for part in cuts}) == len(cuts)


def test_epochs_and_parts_add_up(trained):
    task, run, events, _ = trained
    assert [epoch.number for epoch in run.epochs] == list(range(1, task.workload.epochs + 1))
    for epoch in run.epochs:
        assert epoch.images == sum(part.images for part in epoch.parts) == task.examples
        assert epoch.train_s == pytest.approx(sum(part.train_s for part in epoch.parts))
        assert epoch.steps == -(-task.examples // task.batch_size)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.images == task.images
    assert last.train_s == pytest.approx(sum(epoch.train_s for epoch in run.epochs))
    told = [part for event in events if isinstance(event, Progress) for part in event.parts]
    assert told == [part for epoch in run.epochs for part in epoch.parts]
    assert run.complete


def test_epoch_that_ends_at_a_cut_is_evaluated(trained):
    task, run, _, content = trained
    evaluated = {e.number for e in run.epochs if e.parts[-1].state}
    asked = {epoch.number for epoch in run.epochs if epoch.evaluate_s is not None}
    assert asked == {epoch.number for epoch in run.epochs if epoch.predicted_images == 5}
    assert asked == {given.epoch for given in run.logits}
    assert asked == (evaluated if task.workload.shuffle else {task.workload.epochs})
    assert task.workload.epochs in evaluated
    assert all((e.test_loss == 0.5) is (e.number in evaluated) for e in run.epochs)
    assert all(given.images is None for given in run.logits)
    logits = np.frombuffer(content[run.logits[0].offset :][: 4 * 5], np.float32)
    assert np.isfinite(logits).all()


def test_parent_has_clocks_of_its_own(trained):
    _, run, _, _ = trained
    for part in (part for epoch in run.epochs for part in epoch.parts):
        assert part.wall_s > part.train_s > 0
        assert (part.dump_s is None) is (part.state is None)
    assert run.values["dump_s"] is not None
    assert run.load_s > 0


@pytest.mark.skipif(not supervisor.KNOWN, reason="needs Linux's /proc")
def test_memory_of_training_is_a_part_of_the_peak(trained):
    _, run, events, _ = trained
    whole, training = (run.values[f"{name}_memory_bytes"] for name in ("peak", "training"))
    assert 0 < training < whole
    assert run.values["device_memory_bytes"] is None
    [ended] = [event for event in events if isinstance(event, Finished)]
    assert (ended.peak_memory_bytes, ended.training_memory_bytes) == (whole, training)


def test_each_call_takes_what_was_counted_around_it_alone(trained):
    _, run, _, _ = trained
    parts = [part for epoch in run.epochs for part in epoch.parts]
    assert sum(part.cpu_j for part in parts) == pytest.approx(len(run.cuts))  # one a call
    assert run.values["meters"] == ["package-0"]
    assert run.gpu_energy is None


def test_gpu_is_counted_once_all_else_is_over(monkeypatch):
    monkeypatch.setattr(gpu, "energy_j", lambda: 5.0 * (time.perf_counter() // 0.02))
    monkeypatch.setattr(cell, "STRETCH_S", 0.1)
    task, backend = assign(), Backend(name="numpy", summary="", create=pytest.fail, device="cuda")
    with closing(Spool()) as spool, Cell(make_spec(), task, backend, spool, Lenient()) as run:
        events = [*run.prepare()]
        while run.goes_on:
            events += run.train()
        before, cuts = run.values, len(run.cuts)
        events += run.finish()
    found = run.values["gpu_energy"]
    assert before["gpu_energy"] is None
    assert run.values["meters"] == ["GPU"]
    assert found.images % task.examples == 0
    assert 0 < found.train_s <= found.counted_s
    assert found.joules / found.counted_s == pytest.approx(250, rel=0.3)
    assert isinstance(events[-1], Finished)
    assert (len(run.cuts), sum(epoch.images for epoch in run.epochs)) == (cuts, task.images)


def test_parts_in_turns_have_lead_ins(trained):
    task, run, _, _ = trained
    parts = [part for epoch in run.epochs for part in epoch.parts]
    if parts[0].turn is None:
        assert {(part.lead_images, part.lead_s) for part in parts} == {(0, 0.0)}
        return
    images = 0
    for part in parts:
        images += part.images
        if part.state is None:
            assert (part.lead_images, part.lead_s) == (0, 0.0)
            continue
        assert part.lead_images % task.batch_size == 0
        assert 2 * part.lead_images <= images
        assert (part.lead_images > 0) is (part.lead_s > 0) is (images > task.batch_size)
        images = 0


def test_gradients_of_a_drawn_batch_are_there(trained):
    task, run, _, _ = trained
    order, _ = run.gradient
    assert sorted(set(np.frombuffer(order, np.int64).tolist())) == sorted(
        np.frombuffer(order, np.int64).tolist()
    )
    assert len(order) == 8 * task.batch_size


@pytest.fixture(scope="module")
def sampled(tmp_path_factory, write_folder):
    """Train a cell whose predict takes 10 ms an image; give it, its logits, and how long it all took."""
    dataset = write_folder(tmp_path_factory.mktemp("data") / "letters", test=[0, 1, 2] * 40)
    task = assign(dataset=str(dataset), batch_size=10, shuffle=True, epochs=2)
    spec = make_spec("predicts-slowly", workload=task.workload, budget_s=1.4)
    backend = Backend(name="predicts-slowly", summary="", create=pytest.fail)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in helpers.variables("faulty").items():
            patch.setenv(key, value)
        with (
            closing(Spool()) as spool,
            cell.run(spec, task, backend, spool, Lenient()) as (events, run),
        ):
            list(events)
            content = os.pread(spool.descriptor, os.fstat(spool.descriptor).st_size, 0)
    return task, run, content


def test_slow_predict_gets_a_sample_that_is_drawn(sampled):
    task, run, content = sampled
    assert run.is_well
    assert run.complete
    first, second = run.logits
    for given, epoch in zip(run.logits, run.epochs, strict=True):
        images = np.frombuffer(given.images, np.int64)
        assert epoch.predicted_images == len(images) == len(set(images.tolist())) < 120
        assert images.max() < 120
        # That of the whole split, whatever was sampled: 10 ms for each of its 120 images.
        assert epoch.evaluate_s >= 1.2
        layers = task.network.view(content_at(content, run, epoch, task))
        inputs = arrays.view(task.splits.test.inputs)[images]
        right = reference.feedforward(task.network, layers, inputs)[-1]
        shown = np.frombuffer(content, np.float32, right.size, given.offset).reshape(right.shape)
        assert shown == pytest.approx(right, rel=1e-4, abs=1e-4)
    assert first.images[: len(second.images)] != second.images


def content_at(content, run, epoch, task):
    """Return the parameters at the end of an epoch."""
    parts = [part for each in run.epochs[: epoch.number] for part in each.parts]
    offset = run.cuts[sum(part.state is not None for part in parts) - 1].offset
    return np.frombuffer(content, np.float32, task.network.parameter_count, offset).copy()


@pytest.mark.parametrize(
    ("pace_s", "limits", "expected"),
    [
        (0.001, {"budget_s": 15.0}, 4.0),
        (0.001, {"budget_s": 2.0}, 2.0),
        (3.0, {"budget_s": 15.0}, 4.0),  # a value of each, though that takes longer
        (4.0, {"budget_s": 15.0}, 0.0),
        (0.6, {"budget_s": 2.0}, 0.0),
        (0.5, {"budget_s": 15.0, "timeout_s": 12.0}, 0.0),
    ],
)
def test_phases_fit_into_the_budget(pace_s, limits, expected):
    backend = Backend(name="numpy", summary="", create=pytest.fail)
    with closing(Spool()) as spool:
        run = Cell(make_spec(**{"timeout_s": 300.0, **limits}), assign(), backend, spool, Lenient())
    run._pace_s = pace_s
    assert run._phases_s == expected
