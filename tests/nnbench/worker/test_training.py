"""What the harness does around a timed call, and that it does not grow with the training."""

from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from nnbench import Layer, Network
from nnbench.data.task import load_task
from nnbench.records import EpochFinished, Event, Finished, Ready
from nnbench.worker import counters, training
from nnbench.worker.counters import Usage
from nnbench.worker.training import Evaluation, Trained, Trainer
from tests.cells import TOY, make_spec

NOTHING = Usage(cpu_s=0.0, involuntary_switches=0, waited_s=None, steal_s=0.0)


class Counting(Network[Any, Any]):
    """Does nothing, and counts what the harness asks of it."""

    def __init__(self):
        self.calls: Counter[str] = Counter()
        self.compiled = 0

    def load(self, layers):
        del layers

    def dump(self):
        return [Layer(np.zeros((1, 1), np.float32), None)]

    def gradients(self):
        return self.dump()

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
    return Trainer(network, None, batch_size, budget_s=60.0, pace_s=1e-9)


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
def test_harness_does_the_same_for_an_epoch_of_any_length(reads, steps):
    network = Counting()
    [part] = make_trainer(network).epoch(np.arange(4 * steps))
    assert len(part.losses) == steps
    assert reads == {"perf_counter": 2, "read": 2}
    assert network.calls == {
        "train_epoch": 1,
        "synchronize": 1,
        "compilations": 2,
        "device_seconds": 1,
    }


def test_call_reports_what_it_used():
    part = make_trainer(Counting()).call(np.arange(8))
    assert part.images == 8
    assert part.losses == [0.25, 0.25]
    assert part.device_s == 0.25
    assert part.compilations == 0
    assert part.cpu_s > 0


def test_compilation_in_a_timed_call_is_counted():
    assert make_trainer(Compiling()).call(np.arange(8)).compilations == 3


def test_epoch_sums_up_its_parts():
    usages = [Usage(1.0, 2, 0.5, 0.25), Usage(0.5, 1, 0.25, 0.0)]
    parts = [Trained(4, 2.0, [1.0], *usage, 1, 1.5) for usage in usages]
    epoch = training.summarize(1, parts, Evaluation(0.5, 0.9, 0.1))
    assert (epoch.calls, epoch.images, epoch.train_s, epoch.device_s) == (2, 8, 4.0, 3.0)
    assert (epoch.cpu_s, epoch.involuntary_switches) == (1.5, 3)
    assert (epoch.waited_s, epoch.steal_s, epoch.compilations) == (0.75, 0.25, 2)


def test_what_one_part_does_not_know_the_epoch_does_not_know():
    parts = [Trained(4, 2.0, [1.0], *NOTHING, 0, device_s) for device_s in (1.0, None)]
    epoch = training.summarize(1, parts, Evaluation(0.5, 0.9, 0.1))
    assert (epoch.waited_s, epoch.device_s) == (None, None)


def test_warm_up_of_a_backend_that_does_nothing_ends():
    lengths = []

    class Nothing(Counting):
        def train_epoch(self, data, order, batch_size):
            del data, batch_size
            lengths.append(len(order))
            return np.zeros(1, np.float32)

    training.warm_up(make_trainer(Nothing()), load_task(TOY, 0))
    assert max(lengths) / 2 < training.WARM_UP_IMAGES <= max(lengths)


def run_cell(backend, **changes):
    """Carry out a cell of the toy in this process; return what crosses the pipe."""
    spec = make_spec(backend, workload=replace(TOY, epochs=3, **changes), budget_s=60.0)
    lines: list[bytes] = []
    training.run_cell(spec, lambda event: lines.append(msgspec.json.encode(event)))
    return [msgspec.json.decode(line, type=Event) for line in lines]


def test_cell_says_what_its_speed_can_be_judged_by():
    setups = {
        b: next(e.setup for e in run_cell(b) if isinstance(e, Ready)) for b in ("python", "numpy")
    }
    assert setups["numpy"].operations == 4 * 15 + 6 * 25 + 6 * 5
    assert setups["numpy"].device == "cpu"
    assert setups["numpy"].nonzero_share == 1.0
    assert setups["python"].nonzero_share == pytest.approx(14 / 15)  # one zero


def test_cell_says_whether_its_parameters_changed():
    *_, last = run_cell("numpy")
    assert isinstance(last, Finished)
    assert last.changed


def test_every_epoch_has_its_counters():
    epochs = [event.epoch for event in run_cell("numpy") if isinstance(event, EpochFinished)]
    assert len(epochs) == 3
    assert all(epoch.calls == 1 and epoch.cpu_s > 0 for epoch in epochs)
