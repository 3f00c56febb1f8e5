"""What the harness does around a timed call, and that it does not grow with the training."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nnbench import Layer, Network, Optimizer, OptimizerState
from nnbench.contract.bounds import SHORTEST_S
from nnbench.contract.spec import NetworkSpec
from nnbench.execution.assignment import Assignment
from nnbench.records.events import Ready
from nnbench.records.worker import (
    Dump,
    Inspect,
    Inspected,
    Predict,
    Predicted,
    Reached,
    State,
    Train,
    Trained,
)
from nnbench.worker import counters, memory, training
from nnbench.worker.training import Trainer
from tests.cells import TOY, make_spec, stored

SPEC = NetworkSpec(
    sizes=(1, 1),
    activation="relu",
    loss="squared_error",
    optimizer=Optimizer(kind="adam", learning_rate=1.0),
    bias=False,
)
ONE = [Layer(np.ones((1, 1), np.float32), None)]


class Counting(Network[Any, Any]):
    """Does nothing, and counts what the harness asks of it."""

    def __init__(self):
        self.calls: Counter[str] = Counter()
        self.compiled = 0

    def load(self, layers):
        self.calls["load"] += 1
        self.layers = layers

    def dump(self):
        return self.layers

    def gradients(self):
        return ONE

    def place(self, examples):
        return examples

    def batch(self, data, index):
        del data
        return index

    def feedforward(self, batch):
        return batch

    def backprop(self, batch):
        return 1.0 / len(batch)

    def update(self):
        pass

    def train_epoch(self, data, order, batch_size):
        self.calls["train_epoch"] += 1
        return super().train_epoch(data, order, batch_size)

    def synchronize(self):
        self.calls["synchronize"] += 1

    def compilations(self):
        self.calls["compilations"] += 1
        return self.compiled

    def device_seconds(self):
        self.calls["device_seconds"] += 1
        return 0.25


class Compiling(Counting):
    def train_epoch(self, data, order, batch_size):
        self.compiled += 3
        return super().train_epoch(data, order, batch_size)


def make_trainer(network, batch_size=4):
    network.layers = ONE
    return Trainer(network, SPEC, None, batch_size)


def losses(trained):
    return np.frombuffer(trained.losses, np.float32).tolist()


@pytest.fixture
def reads(monkeypatch):
    """Count how often the harness reads the clock and the kernel's counters."""
    found: Counter[str] = Counter()

    def count(module, name):
        real = getattr(module, name)

        def counted(*arguments):
            found[name] += 1
            return real(*arguments)

        monkeypatch.setattr(module, name, counted)

    count(training, "perf_counter")
    count(counters, "read")
    return found


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_harness_does_the_same_for_a_part_of_any_length(reads, steps):
    network = Counting()
    part = make_trainer(network).train(np.arange(4 * steps))
    assert len(losses(part)) == steps
    assert reads == {"perf_counter": 2, "read": 2}
    assert network.calls == {
        "train_epoch": 1,
        "synchronize": 1,
        "compilations": 2,
        "device_seconds": 1,
    }


def test_part_reports_what_it_used():
    part = make_trainer(Counting()).train(np.arange(8))
    assert losses(part) == [0.25, 0.25]
    assert part.device_s == 0.25
    assert part.compilations == 0
    assert part.cpu_s > 0
    assert part.load_s is None


def test_compilation_in_a_timed_call_is_counted():
    assert make_trainer(Compiling()).train(np.arange(8)).compilations == 3


def test_load_of_the_first_part_is_on_its_clock():
    network = Counting()
    part = make_trainer(network).train(np.arange(4), ONE)
    assert network.calls["load"] == 1
    assert 0 < part.load_s < part.train_s


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_losses_is_refused(count):
    class Counted(Counting):
        def train_epoch(self, data, order, batch_size):
            del data, order, batch_size
            return np.zeros(count, np.float32)

    with pytest.raises(
        ValueError, match=rf"losses of train_epoch have the shape \({count},\), not"
    ):
        make_trainer(Counted()).train(np.arange(8))


def test_losses_are_computed_on_the_clock_whatever_they_are(reads):
    class Lazy:
        def __array__(self, dtype=None, copy=None):
            assert reads["perf_counter"] == 1
            return np.array([1.0, 2.0], dtype)

    class Late(Counting):
        def train_epoch(self, data, order, batch_size):
            del data, order, batch_size
            return Lazy()

    assert losses(make_trainer(Late()).train(np.arange(8))) == [1.0, 2.0]


def answers_to(trainer, command):
    answers: list[Any] = []
    trainer.obey(command, answers.append)
    return answers


def test_state_is_handed_over():
    class Adam(Counting):
        def optimizer_state(self):
            return OptimizerState(7, ONE, [Layer(np.full((1, 1), 2.0), None)])

    trainer = make_trainer(Adam())
    [trained] = answers_to(trainer, Train(np.arange(4).tobytes()))
    assert isinstance(trained, Trained)
    [state] = answers_to(trainer, Dump())
    moments = np.array([1.0, 2.0], np.float32).tobytes()
    assert state == State(np.ones(1, np.float32).tobytes(), 7, moments)


def test_optimizer_that_shows_no_state_has_none():
    [state] = answers_to(make_trainer(Counting()), Dump())
    assert (state.steps, state.moments) == (None, None)


@pytest.mark.parametrize("layers", [[], [Layer(np.ones((1, 2)), None)], [Layer(np.ones(1), None)]])
def test_state_of_another_shape_is_refused(layers):
    class Misshapen(Counting):
        def dump(self):
            return layers

    with pytest.raises(ValueError, match=r"dump gives arrays of the shapes .*, not \[\(1, 1\)\]"):
        make_trainer(Misshapen()).state()


class Predicting(Counting):
    """Its logits are the numbers of the images."""

    def predict(self, batch):
        return batch[:, None].astype(np.float64)


@pytest.mark.parametrize("count", [1, training.BATCH_SIZE, training.BATCH_SIZE + 1])
def test_every_image_that_is_asked_for_is_predicted_once(count):
    order = np.arange(count)[::-1]
    [predicted] = answers_to(make_trainer(Predicting()), Predict(order.tobytes()))
    assert isinstance(predicted, Predicted)
    assert predicted.logits == order.astype(np.float32).tobytes()
    assert predicted.evaluate_s > 0


def test_logits_of_another_shape_are_refused():
    class Flat(Counting):
        def predict(self, batch):
            return batch

    with pytest.raises(ValueError, match=r"logits of predict have the shape \(3,\), not \(3, 1\)"):
        make_trainer(Flat()).predict(np.arange(3))


def test_gradients_come_before_any_update():
    class Ordered(Counting):
        def update(self):
            self.calls["update"] += 1

        def gradients(self):
            assert not self.calls["update"]
            return ONE

    network = Ordered()
    reached, inspected = answers_to(make_trainer(network), Inspect(np.arange(4).tobytes(), 1.0))
    assert reached == Reached("the phases")
    assert inspected.gradients == np.ones(1, np.float32).tobytes()
    assert inspected.phases is not None
    assert network.calls["update"]


def test_phases_that_may_take_no_time_are_left_out():
    class Once(Counting):
        def feedforward(self, batch):
            self.calls["feedforward"] += 1
            return batch

    network = Once()
    [inspected] = answers_to(make_trainer(network), Inspect(np.arange(4).tobytes(), 0.0))
    assert inspected.gradients == np.ones(1, np.float32).tobytes()
    assert inspected.phases is None
    assert network.calls["feedforward"] == 1


def test_warm_up_of_a_backend_that_does_nothing_ends():
    lengths = []

    class Nothing(Counting):
        def train_epoch(self, data, order, batch_size):
            del data
            lengths.append(len(order))
            return zeros[: -(-len(order) // batch_size)]

    zeros = np.zeros(2 * training.WARM_UP_IMAGES, np.float32)
    pace_s = training.warm_up(make_trainer(Nothing()), 10)
    assert max(lengths) / 2 < training.WARM_UP_IMAGES <= max(lengths)
    assert SHORTEST_S <= pace_s < training.WARM_UP_S / 1000


def test_warm_up_has_every_shape_that_training_will_meet():
    shapes = set()

    class Remembering(Counting):
        def batch(self, data, index):
            del data
            shapes.add(len(index))
            return index

    training.warm_up(make_trainer(Remembering()), 10)
    assert shapes == {4, 2}


def prepare(backend, **changes):
    """Prepare a cell of the toy in this process; return the trainer and its answer."""
    task = Assignment(TOY, 0, stored(TOY))
    answers: list[Any] = []
    trainer = training.prepare(task.job(make_spec(backend, **changes)), answers.append)
    return trainer, [each for each in answers if not isinstance(each, Reached)]


def test_cell_says_what_its_speed_can_be_judged_by():
    setups = {}
    for backend in ("python", "numpy"):
        _, [ready] = prepare(backend)
        assert isinstance(ready, Ready)
        setups[backend] = ready.setup
    assert 0 < setups["numpy"].pace_s < setups["numpy"].warmup_s


@pytest.mark.parametrize(
    ("loss", "given"), [("squared_error", "targets"), ("cross_entropy", "labels")]
)
def test_test_split_has_answers_that_are_all_zero(loss, given):
    inputs = np.ones((5, 1), np.float32)
    found = training.without_answers(replace(SPEC, loss=loss), inputs)
    assert found.inputs is inputs
    assert [name for name in ("labels", "targets") if getattr(found, name) is not None] == [given]
    assert not getattr(found, given).any()


def test_trained_cell_predicts_from_its_parameters():
    trainer, _ = prepare("numpy")
    task = Assignment(TOY, 0, stored(TOY))
    order = np.arange(5).tobytes()
    [first] = answers_to(trainer, Train(order, task.layers))
    [before] = answers_to(trainer, Predict(order))
    answers_to(trainer, Train(order))
    [after] = answers_to(trainer, Predict(order))
    assert before.logits != after.logits
    [again] = answers_to(trainer, Train(order, task.layers))
    assert again.losses == first.losses  # whatever came before
    *_, inspected = answers_to(trainer, Inspect(order, 1.0))
    assert isinstance(inspected, Inspected)


def test_looking_at_the_memory_is_not_in_the_set_up(monkeypatch):
    """By a clock that nothing but the look lets go on."""
    now = [0.0]
    mark = memory.mark

    def look():
        now[0] += 100.0
        return mark()

    monkeypatch.setattr(memory, "mark", look)
    monkeypatch.setattr(training, "perf_counter", lambda: now[0])
    monkeypatch.setattr(training, "warm_up", lambda *_, **__: 1.0)
    trainer, [ready] = prepare("numpy")
    assert trainer.imported
    assert ready.setup.setup_s == 0
