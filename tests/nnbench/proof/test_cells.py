"""Right cells pass; what is wrong in any way is invalid, and the message says how."""

import re
from dataclasses import replace
from math import inf, nan
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct

from nnbench import Optimizer
from nnbench.contract.spec import flatten
from nnbench.proof.calibration import FRESH
from nnbench.proof.training import State, fresh
from nnbench.records.cells import Part, Setup, Status
from nnbench.records.judging import Logits
from tests import trained
from tests.trained import judge, judged, spooled, train

ADAM = {"batch_size": 8, "epochs": 4, "target_accuracy": None}
KINDS = {
    "adam": ADAM,
    "adam-fresh": ADAM | {"optimizer": Optimizer(kind="adam-fresh", learning_rate=1e-3)},
    "sgd": ADAM | {"optimizer": Optimizer(kind="sgd", learning_rate=0.1)},
    "squared": ADAM | {"loss": "squared_error", "activation": "sigmoid"},
    "ragged": ADAM | {"batch_size": 7, "validation": 5},
    "full": ADAM | {"batch_size": None, "epochs": 12},
}


@pytest.fixture
def spool(mnist, folder):
    """Give a spool for a small dataset."""
    with spooled(replace(mnist, dataset=str(folder), **ADAM)) as given:
        yield given


@pytest.fixture
def spool_of(mnist, folder):
    """Give a function that makes one for a changed workload."""
    opened = []

    def make(**changes):
        opened.append(spooled(replace(mnist, dataset=str(folder), **changes)))
        return opened[-1].__enter__()

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def alter(cell, **changes):
    """Return a cell with another result."""
    return replace_struct(cell, result=replace(cell.result, **changes))


def alter_epoch(cell, number, **changes):
    """Return a cell with another epoch."""
    epochs = list(cell.result.epochs)
    epochs[number - 1] = replace(epochs[number - 1], **changes)
    return alter(cell, epochs=epochs)


def alter_part(cell, epoch, number, **changes):
    """Return a cell with another part."""
    parts = list(cell.result.epochs[epoch - 1].parts)
    parts[number] = replace(parts[number], **changes)
    return alter_epoch(cell, epoch, parts=parts)


def message(spool, cell):
    """Return why a cell is invalid."""
    result = judged(spool, cell)
    assert result.status is Status.INVALID
    return result.message


@pytest.mark.parametrize("mode", ["full", "sampled", "off"])
@pytest.mark.parametrize("kind", KINDS)
def test_right_cell_is_ok(spool_of, kind, mode):
    spool = spool_of(**KINDS[kind])
    result = judged(spool, train(spool, mode=mode, spans=3 if kind == "full" else 1))
    assert (result.status, result.message) == (Status.OK, "")
    assert result.changed
    assert all(0 < epoch.test_loss < 3 for epoch in result.epochs)
    assert all(0 < epoch.accuracy <= 1 for epoch in result.epochs)
    if mode == "off":
        assert result.proof is None
        return
    assert result.proof.mode == mode
    assert result.proof.trained == result.steps
    if mode == "full":
        assert result.proof.proved == result.steps
    assert result.deviation == result.proof.deviations.loss < result.tolerance == 5e-6


def test_a_sample_of_several_cells_proves_less_than_all(spool):
    proof = judged(spool, train(spool, mode="sampled")).proof
    assert proof.proved == proof.trained == 32  # no more work than to train its seed

    proofs = [result.proof for result in judge(spool, [train(spool, mode="sampled")] * 4)]
    assert all(8 + 3 <= proof.proved < proof.trained == 32 for proof in proofs)


def test_evaluation_is_that_of_the_parameters(spool):
    cell = train(spool)
    for epoch in judged(spool, cell).epochs:
        layers = spool.judge.spool.layers(cell.cuts[epoch.number * 3 - 1].offset)
        found = spool.judge.evaluation(layers)
        assert (epoch.test_loss, epoch.accuracy) == (found.test_loss, found.accuracy)


def test_backend_without_its_moments_is_followed_from_its_parameters(spool):
    result = judged(spool, train(spool, shows_moments=False, mode="sampled"))
    assert result.status is Status.OK
    assert result.proof.from_parameters
    assert result.proof.proved == result.proof.trained == 32


def test_epoch_that_ends_within_a_stretch_is_evaluated_from_the_reference(spool_of):
    spool = spool_of(**KINDS["full"])
    apart, joined = (judged(spool, train(spool, spans=spans)) for spans in (1, 4))
    for one, other in zip(apart.epochs, joined.epochs, strict=True):
        assert one.test_loss == pytest.approx(other.test_loss, rel=1e-5)


# What is wrong in training


def rate(spool, rate=1.01e-3):
    """Return a mistake: another learning rate from the tenth step on."""
    network = spool.judge.network
    wrong = replace(network, optimizer=replace(network.optimizer, learning_rate=rate))

    def act(training, step):
        training.spec = wrong if step >= 9 else network

    return act


def stays(training, step):
    """Come back to where it was before each step from the fifth on."""
    if step == 4:
        training.kept = training.snapshot()
    elif step > 4:
        training.restore(training.kept)


def test_wrong_learning_rate_is_found(spool):
    text = message(spool, train(spool, mistake=rate(spool)))
    assert text.startswith("in ")
    assert " strays " in text
    assert " from the reference, more than " in text


def declaring(cell, other="it rounds up"):
    """Return a cell of a backend that declares another optimizer."""
    setup = Setup(
        setup_s=0.1,
        transfer_s=0.1,
        warmup_s=0.1,
        epoch_images=60,
        parameters=1,
        thread_pools={},
        other_optimizer=other,
    )
    return alter(cell, setup=setup)


@pytest.mark.parametrize("shows_moments", [True, False])
@pytest.mark.parametrize("mode", ["full", "sampled"])
def test_optimizer_that_is_declared_to_be_another_one_is_marked(spool, mode, shows_moments):
    cell = train(spool, mode=mode, mistake=rate(spool, 2e-3), shows_moments=shows_moments)
    result = judged(spool, declaring(cell))
    assert (result.status, result.message) == (Status.OK, "")
    assert result.other_optimizer == "it rounds up"
    assert result.proof.proved < result.proof.trained


def test_optimizer_that_is_declared_but_not_seen_is_no_other(spool):
    result = judged(spool, declaring(train(spool)))
    assert (result.status, result.other_optimizer) == (Status.OK, "")
    assert result.proof.is_whole


def test_optimizer_that_is_declared_excuses_no_wrong_loss(spool):
    cell = declaring(train(spool, mistake=rate(spool, 2e-3)))
    losses = list(cell.result.epochs[1].losses)
    losses[0] *= 1.1
    text = message(spool, alter_epoch(cell, 2, losses=losses))
    assert re.match(r"in steps \d+ to \d+ the loss strays ", text)


def test_optimizer_that_is_declared_excuses_no_wrong_gradient(spool):
    cell = declaring(train(spool, mistake=rate(spool, 2e-3)))
    assert message(spool, shown_gradients(spool, cell, 64.0)).startswith("the gradients of a batch")


@pytest.mark.parametrize("steps", [3, 16])
def test_stretches_that_stray_a_little_must_be_few(spool_of, steps):
    spool = spool_of(**KINDS["adam-fresh"])
    right, wrong = (
        replace_struct(train(spool, steps=steps, mistake=rate(spool, each)), limits=FRESH)
        for each in (1e-3, 1.01e-3)
    )
    assert judged(spool, right).status is Status.OK
    result = judged(spool, wrong)
    if steps == 16:  # two stretches are too few to tell
        assert result.status is Status.OK
    else:
        assert re.match(r"\d+ of \d+ stretches stray by more than 5e-03 in displ", result.message)
        assert result.status is Status.INVALID


def test_the_step_is_named(spool):
    def doubles(training, step):
        if step == 10:
            training.restore(
                training.snapshot()._replace(arrays=[2 * a for a in training.snapshot().arrays])
            )

    # In parts of three steps, step 11 is the last of the second epoch's first part.
    assert message(spool, train(spool, mistake=doubles)).startswith("in step 11 the loss ")


def test_parameters_that_do_not_change_are_named(spool):
    layers = spool.judge.task(1).layers

    def never(training, _):
        training.load(fresh(training.spec, layers))

    cell = train(spool, steps=1, mistake=never)
    cuts = [cell.cuts[0]] * len(cell.cuts)  # where each step came to from the start
    cell = replace_struct(cell, cuts=cuts)
    digest = cell.result.epochs[0].parts[0].state
    for epoch in range(1, 5):
        for number in range(8):
            cell = alter_part(cell, epoch, number, state=digest)
    assert ": the parameters did not change" in message(spool, cell)


def test_wrong_moments_are_found(spool):
    def halves(training, step):
        if step == 7:  # the last of a part: its loss comes before its update
            training._moments[1][0] *= 1.0003

    text = message(spool, train(spool, mistake=halves))
    assert text.startswith("in steps 7 to 8 the second moment strays ")


def test_losses_of_another_training_are_found(spool):
    cell, other = train(spool), train(spool, seed=2)
    losses = other.result.epochs[0].losses
    assert "the loss strays" in message(spool, alter_epoch(cell, 1, losses=losses))


@pytest.mark.parametrize("factor", [1 + 1e-5, 0.5, -1.0])
def test_single_loss_that_is_off_is_found(spool, factor):
    cell = train(spool)
    losses = list(cell.result.epochs[2].losses)
    losses[4] *= factor
    text = message(spool, alter_epoch(cell, 3, losses=losses))
    assert text.startswith("in steps 21 to 22 the loss strays ")


def test_wrong_cell_still_has_its_evaluation_and_what_was_proved(spool):
    result = judged(spool, train(spool, mistake=rate(spool)))
    assert 8 <= result.proof.proved < result.proof.trained
    assert result.proof.deviations.displacement > 1e-4
    assert all(epoch.accuracy is not None for epoch in result.epochs)


def test_cells_that_are_not_proved_whole_are_held_against_their_seed(spool, monkeypatch):
    cells = [train(spool, mode="sampled") for _ in range(4)]
    course = spool.judge.follow(1, 4)
    wrong = [replace_struct(each, test_loss=1.2 * each.test_loss) for each in course.evaluations]
    monkeypatch.setattr(spool.judge, "follow", lambda *_: replace_struct(course, evaluations=wrong))
    for result in judge(spool, cells):
        assert result.status is Status.INVALID
        assert result.message.startswith("the test loss after epoch 1 is 1.7e-01 off that of")


def test_training_that_is_wrong_where_nothing_is_proved_leaves_the_course_of_its_seed(spool):
    def skips(training, step):
        if step == 16:
            training.at_16 = training.snapshot()
        elif step > 16:
            training.restore(training.at_16._replace(steps=step))

    cell = train(spool, mistake=skips)
    from nnbench.records.judging import Conclude

    judge = spool.judge
    chosen = replace_struct(judge.choose(cell), units=[])
    evaluations = {epoch: judge.evaluate(offset) for epoch, offset in chosen.ends.items()}
    right = judge.follow(1, 4)
    result = judge.conclude(Conclude(cell, chosen, [], evaluations, right))
    assert result.status is Status.INVALID
    assert result.message.startswith("the test loss after epoch 4 is ")
    assert "off that of the seed's own training, more than 3e-02" in result.message


def test_the_course_of_a_seed_is_that_of_right_trainings(spool):
    course = spool.judge.follow(1, 4)
    result = judged(spool, train(spool))
    for epoch, right in zip(result.epochs, course.evaluations, strict=True):
        assert epoch.test_loss == pytest.approx(right.test_loss, rel=1e-4)
        assert epoch.accuracy == right.accuracy
    rounded = spool.judge.follow(1, 4, np.float32)
    for one, other in zip(rounded.evaluations, course.evaluations, strict=True):
        assert 0 < abs(one.test_loss / other.test_loss - 1) < 1e-4


# What else it sends


def shown_gradients(spool, cell, factor=1.0):
    """Return a cell with the gradients of a batch."""
    index = np.arange(8)
    training = spool.judge.training("float32")
    training.load(State(spool.judge.spool.layers(cell.cuts[-1].offset), None))
    offset = spool.write(*(factor * a for a in flatten(training.gradients(index))))
    return replace_struct(cell, gradient=(index.tobytes(), offset))


def test_right_gradients_are_recorded(spool):
    result = judged(spool, shown_gradients(spool, train(spool)))
    assert result.status is Status.OK
    assert 0 < result.proof.gradient < 1e-6


@pytest.mark.parametrize("factor", [64.0, 1.002, 0.0, nan])
def test_wrong_gradients_are_found(spool, factor):
    text = message(spool, shown_gradients(spool, train(spool), factor))
    assert text.startswith("the gradients of a batch are ")
    assert text.endswith(" off, more than 1e-03")


def predicted(spool, cell, change=0.0, images=None):
    """Return a cell with the logits of the second epoch, of all images or of some."""
    judge = spool.judge
    training, inputs = judge.training("float32"), judge._task.test.inputs
    drawn = inputs if images is None else inputs[images]
    logits = training.logits(judge.spool.layers(cell.cuts[5].offset), drawn)
    order = None if images is None else np.array(images, np.int64).tobytes()
    return replace_struct(cell, logits=[Logits(2, spool.write(logits + change), order)])


@pytest.mark.parametrize("images", [None, [4], [3, 0, 2]])
def test_right_logits_are_recorded(spool, images):
    result = judged(spool, predicted(spool, train(spool), images=images))
    assert result.status is Status.OK
    assert 0 < result.proof.logits < 1e-6


@pytest.mark.parametrize("change", [0.01, nan, inf])
@pytest.mark.parametrize("images", [None, [4], [3, 0, 2]])
def test_logits_of_other_parameters_are_found(spool, change, images):
    text = message(spool, predicted(spool, train(spool), change, images))
    assert text.startswith("the logits that predict gave are ")


def test_logits_of_other_images_are_found(spool):
    cell = predicted(spool, train(spool), images=[3, 0, 2])
    [given] = cell.logits
    other = np.array([0, 3, 2], np.int64).tobytes()
    cell = replace_struct(cell, logits=[replace_struct(given, images=other)])
    assert message(spool, cell).startswith("the logits that predict gave are ")


# What the record says


def test_what_was_seen_from_outside_comes_first(spool):
    cell = alter(train(spool, mistake=rate(spool)), violations=["used 3 CPUs, not 1", "and more"])
    assert message(spool, cell) == "used 3 CPUs, not 1"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda c: alter_epoch(c, 2, losses=c.result.losses[:7]),
            "epoch 2 has 7 losses for 8 steps",
        ),
        (
            lambda c: alter_epoch(c, 2, parts=c.result.epochs[1].parts[:2]),
            "the parts of epoch 2 are not the whole of it",
        ),
        (lambda c: alter_part(c, 2, 0, images=23), "a part of epoch 2 has 23 images"),
        (lambda c: alter_part(c, 2, 2, images=99), "a part of epoch 2 has 99 images"),
        (lambda c: alter_part(c, 2, 0, images=0), "a part of epoch 2 has 0 images"),
        (lambda c: alter(c, epochs=c.result.epochs[:3]), "the training ends after epoch 3"),
        (lambda c: alter(c, epochs=c.result.epochs[1:]), "epoch 2 is none of this training"),
        (lambda c: alter(c, epochs=c.result.epochs * 2), "epoch 1 is none of this training"),
        (lambda c: alter_part(c, 4, 2, state=None), "no state was kept at the end of training"),
        (lambda c: alter_part(c, 2, 1, state=None), "12 states were kept of 11"),
        (lambda c: alter_part(c, 2, 2, state=None), "no cut follows epoch 2"),
        (
            lambda c: alter_part(c, 2, 1, state="0" * 64),
            "a state is not the one that was written down",
        ),
    ],
)
def test_record_that_contradicts_itself_is_invalid(spool, change, text):
    assert message(spool, change(train(spool))) == text


@pytest.mark.parametrize("mode", ["full", "sampled"])
def test_optimizer_must_count_its_steps(spool, mode):
    cell = alter_part(train(spool, mode=mode), 4, 2, optimizer_steps=7)
    assert message(spool, cell) == "the optimizer counts 7 steps after 32"


def test_state_that_is_cut_short_is_invalid(spool):
    cell = train(spool)
    spool.file.truncate(cell.cuts[-1].offset + 8)
    assert message(spool, cell) == "a state is shorter than the network"


def test_moments_at_some_cuts_only_are_invalid(spool):
    cell, without = train(spool), train(spool, shows_moments=False)
    cuts = [*cell.cuts[:3], without.cuts[3], *cell.cuts[4:]]
    part = without.result.epochs[1].parts[0]
    cell = alter_part(cell, 2, 0, state=part.state, optimizer_steps=None)
    cell = replace_struct(cell, cuts=cuts)
    assert message(spool, cell).startswith("the optimizer has moments at some cuts only")


def test_clocks_that_disagree_are_invalid(spool):
    cell = alter_epoch(train(spool), 1, device_s=1e-9)
    for number in (2, 3, 4):
        cell = alter_epoch(cell, number, device_s=1e-9)
    assert "by the device's" in message(spool, cell)


# Status


def test_training_that_the_budget_ended_is_budget(spool):
    result = judged(spool, train(spool, epochs=2))
    assert (result.status, result.message) == (Status.BUDGET, "")


@pytest.mark.parametrize("mode", ["full", "sampled", "off"])
def test_epoch_that_the_budget_ended_is_evaluated_where_it_ended(spool, mode):
    cell = train(spool, mode=mode, budget=21)
    results = judge(spool, [cell] * 4)
    [found] = {replace(result.epochs[-1]).test_loss for result in results}
    assert [epoch.steps for epoch in results[0].epochs] == [8, 8, 5]
    assert found == spool.judge.evaluate(cell.cuts[-1].offset).test_loss
    assert {result.status for result in results} == {Status.BUDGET}


def test_missed_target_is_named(spool):
    result = judged(spool, replace_struct(train(spool, epochs=4), target=1.1))
    assert result.status is Status.TARGET_MISSED
    assert result.message.startswith("reached ")
    assert result.message.endswith("%, not 110.00%")


def test_reached_target_is_ok(spool):
    assert judged(spool, replace_struct(train(spool), target=0.01)).status is Status.OK


def test_failed_cell_stays_as_it_is(spool):
    cell = alter(train(spool, mistake=rate(spool)), status=Status.CRASHED, message="why")
    assert judged(spool, cell) == cell.result


def test_cell_without_epochs_is_diverged(spool):
    cell = replace_struct(alter(train(spool), epochs=[], complete=False), cuts=[])
    assert judged(spool, cell).status is Status.DIVERGED


@pytest.mark.parametrize("mode", ["full", "sampled"])
def test_right_training_that_diverges_is_diverged(spool_of, mode):
    spool = spool_of(**ADAM | {"optimizer": Optimizer(kind="sgd", learning_rate=1e12)})
    cell = train(spool, epochs=1, mode=mode)
    assert None in cell.result.losses
    result = judged(spool, cell)
    assert (result.status, result.message) == (Status.DIVERGED, "the loss is not finite")


def test_loss_that_is_not_finite_where_the_references_is_is_told(spool):
    cell = train(spool)
    losses = [*cell.result.epochs[3].losses[:-1], None]
    result = judged(spool, alter_epoch(cell, 4, losses=losses))
    assert result.status is Status.DIVERGED
    assert result.message == "the loss is not finite; that of the reference is"


@pytest.mark.parametrize("later", [3, 6])
def test_finite_losses_do_not_come_from_parameters_of_nan(spool, monkeypatch, later):
    """Whatever a backend counts and computes: what it hands over is what it goes on from."""
    cut = trained._cut

    def hide(spool, training, *given, **more):
        layers, optimizer, rest = training.state()
        if optimizer.steps >= later:
            layers = [layer._replace(weight=np.full_like(layer.weight, nan)) for layer in layers]
        hidden = SimpleNamespace(state=lambda: (layers, optimizer, rest))
        return cut(spool, hidden, *given, **more)

    monkeypatch.setattr(trained, "_cut", hide)
    found = message(spool, train(spool))
    assert (
        found == f"in step {later + 1} the loss is finite, though the parameters before it are NaN"
    )


def test_losses_that_stray_before_they_are_not_finite_are_invalid(spool):
    cell = train(spool)
    losses = [*cell.result.epochs[3].losses[:-2], 9.0, None]
    assert "the loss strays" in message(spool, alter_epoch(cell, 4, losses=losses))


@pytest.mark.parametrize(("first", "status"), [(1.0, Status.DIVERGED), (1.1, Status.INVALID)])
def test_optimizer_that_is_declared_to_be_another_one_may_diverge(spool, first, status):
    cell = declaring(train(spool, steps=8))
    losses = [*cell.result.epochs[3].losses[:-2], 9.0, None]
    losses[0] *= first
    result = judged(spool, alter_epoch(cell, 4, losses=losses))
    assert result.status is status


def test_part_knows_no_state_by_default():
    assert Part(images=1, train_s=1.0).state is None
