"""Work done before it was asked for, kept from another time, or left for later."""

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from nnbench_example.network import cross_entropy

from nnbench import Layer, flatten, minibatches
from nnbench.data import seeding

from .less import FAR, LOSS
from .right import Right, cheat, say

CLOCKS = r"CPU|clock|dump"
LOGITS = r"logits|predict"
PEAK = r"GFLOP"
GUESSED = 16  #: the batch size of the tests
PRETENDED_S = 1e-4  #: a step that is replayed: no time at all would be seen to be impossible
AHEAD = 30  #: steps to train before they are asked for
MOST = 8000  #: examples to train on ahead: each batch's state is kept
#: where a cheat keeps what the next round shall find
KEPT = Path(os.environ.get("NNBENCH_CHEATS_FOLDER", "/var/tmp/nnbench-cheats"))


class Replays(Right):
    """Has all losses and states of a training before it begins."""

    known: Any = None

    def prepare(self, batches, data):
        """Train, off the clock, and keep what is to be shown."""
        self.known, self.shown = [], [self.snapshot()]
        for index in batches:
            self.known.append(float(self._step(data, index)))
            self.shown.append(self.snapshot())

    def train_epoch(self, data, order, batch_size):
        done, steps = self.updates, -(-len(order) // batch_size)
        if self.loads == 1 or self.known is None or done + steps > len(self.known):
            return super().train_epoch(data, order, batch_size)
        busy(steps * PRETENDED_S)
        self.restore(self.shown[done + steps])
        return np.array(self.known[done : done + steps], np.float32)

    def place(self, examples):
        if not hasattr(self, "train"):
            self.train = examples
        return examples


@cheat("named", FAR)
class TrainsInLoad(Replays):
    """Trains when the parameters come, in the order of the rows, and replays it."""

    def load(self, layers):
        super().load(layers)
        if self.loads > 1:
            start = self.snapshot()
            self.prepare(minibatches(np.arange(len(self.train.inputs)), GUESSED), self.train)
            self.restore(start)


@cheat("named", FAR)
class TrainsInPlace(Replays):
    """Trains when the data come, from parameters and orders of the seed 0, and replays it.

    With ``--seed 0`` it is right about both.
    """

    def place(self, examples):
        if not hasattr(self, "train"):
            self.train = examples
            self.load(seeding.initial_layers(self.spec, "uniform", 0))
            self.prepare(self.guess(len(examples.inputs)), examples)
            self.loads = 0
        return examples

    def guess(self, count):
        rng = seeding.generator(0, seeding.ORDER)
        for _ in range(max(1, MOST // count)):
            yield from minibatches(rng.permutation(count), GUESSED)

    def load(self, layers):
        super().load(layers)
        if self.known and self.loads > 1:
            self.restore(self.shown[0])


@cheat("named", FAR)
class TrainsInWarmUp(Replays):
    """Goes on with the parameters and the losses of the warm-up."""

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1:
            whole = np.resize(order, len(data.inputs))
            self.prepare(minibatches(whole, batch_size), data)
            return np.resize(np.array(self.known, np.float32), -(-len(order) // batch_size))
        return super().train_epoch(data, order, batch_size)


def kept_file(name):
    KEPT.mkdir(exist_ok=True)
    return KEPT / name


@cheat("harmless")
class KeepsOnDisk(Right):
    """Keeps each part's losses and state on disk, and looks for them in every round."""

    found = 0

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1:
            return super().train_epoch(data, order, batch_size)
        digest = hashlib.sha256(order.tobytes())
        for array in self.snapshot()[0]:
            digest.update(array.tobytes())
        path = kept_file(f"{digest.hexdigest()}.npz")
        if path.exists():
            with np.load(path) as kept:
                arrays = [kept[f"arr_{number}"] for number in range(len(kept.files) - 2)]
                steps = self.optimizer.steps + len(kept["losses"])
                self.restore((arrays, steps, self.updates + len(kept["losses"])))
                return kept["losses"]
        losses = super().train_epoch(data, order, batch_size)
        np.savez(path, *self.snapshot()[0], losses=losses, count=self.updates)
        return losses


@cheat("named", FAR)
class ReplaysLastRound(Right):
    """Keeps the losses and states of the first round on disk, and shows them in all others.

    It knows a part of the first round by its number alone.
    """

    part = 0

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1:
            return super().train_epoch(data, order, batch_size)
        path, self.part = kept_file(f"part-{self.part}.npz"), self.part + 1
        steps = -(-len(order) // batch_size)
        if path.exists():
            with np.load(path) as kept:
                arrays = [kept[f"arr_{number}"] for number in range(len(kept.files) - 1)]
                self.restore((arrays, self.optimizer.steps + steps, self.updates + steps))
                return np.resize(kept["losses"], steps)
        losses = super().train_epoch(data, order, batch_size)
        np.savez(path, *self.snapshot()[0], losses=losses)
        return losses


@cheat("named", FAR)
class CachesByPointer(Right):
    """Knows a part by the address and the length of its order, and returns what it had then."""

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1:
            return super().train_epoch(data, order, batch_size)
        self.cache = getattr(self, "cache", {})
        steps = -(-len(order) // batch_size)
        key = order.ctypes.data
        if (known := self.cache.get(key)) is not None:
            self.optimizer.steps += steps
            self.images += len(order)
            return np.resize(known, steps)
        losses = self.cache[key] = super().train_epoch(data, order, batch_size)
        return losses


@cheat("named", FAR)
class CachesByObject(Right):
    """Knows a batch by the identity of its array, and takes the gradients that it had then."""

    def backprop(self, batch):
        self.cache = getattr(self, "cache", {})
        if self.is_late and (known := self.cache.get(id(batch.inputs))):
            self.kept = list(known)
            return cross_entropy(self.logits, batch)[0]
        loss = super().backprop(batch)
        self.cache[id(batch.inputs)] = list(self.kept)
        return loss


@cheat("named", LOGITS)
class CachesLogits(Right):
    """Returns the logits of the first evaluation ever after."""

    def predict(self, batch):
        self.known = getattr(self, "known", {})
        key = batch.inputs.tobytes()
        if key not in self.known:
            self.known[key] = super().predict(batch).copy()
        return self.known[key]


@cheat("harmless")
class TrainsAheadInPredict(Replays):
    """Trains on in predict, off the clock, where each batch is all examples, and replays that."""

    def predict(self, batch):
        if self.loads > 1:
            start, done = self.snapshot(), self.updates
            self.prepare([np.arange(len(self.train.inputs))] * AHEAD, self.train)
            self.known, self.shown = [0.0] * done + self.known, [start] * done + self.shown
            self.restore(start)
        return super().predict(batch)

    def train_epoch(self, data, order, batch_size):
        if self.known is not None:
            say("has trained ahead")
        return super().train_epoch(data, order, batch_size)


# --- left for later


class LazyLosses(np.ndarray):
    """Computes when it is read."""

    work: Any = None

    def read(self):
        if self.work is not None:
            work, self.work = self.work, None
            self[:] = work()
        return self

    def __array__(self, *args, **kwargs):
        return np.asarray(self.read().view(np.ndarray), *args)

    def tolist(self):
        return self.read().view(np.ndarray).tolist()

    def tobytes(self, *args):
        return self.read().view(np.ndarray).tobytes(*args)

    def astype(self, *args, **kwargs):
        return self.read().view(np.ndarray).astype(*args, **kwargs)


@cheat("named", rf"{FAR}|{CLOCKS}|{PEAK}")
class ReturnsLazyArray(Right):
    """Returns an array that trains when somebody looks at it."""

    pending: Any = None

    def train_epoch(self, data, order, batch_size):
        self.finish()
        losses = np.zeros(-(-len(order) // batch_size), np.float32).view(LazyLosses)
        train = super().train_epoch
        losses.work = self.pending = lambda: train(data, order.copy(), batch_size)
        return losses

    def finish(self):
        work, self.pending = self.pending, None
        if work:
            work()

    def dump(self):
        self.finish()
        return super().dump()


class ReadsItself:
    """No array, but something of which NumPy makes one."""

    def __init__(self, work, count):
        self.work, self.count = work, count

    def __len__(self):
        return self.count

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.work(), dtype)


@cheat("harmless")
class ReturnsLazyObject(Right):
    """Returns an object that trains when NumPy makes an array of it: that is on the clock."""

    def train_epoch(self, data, order, batch_size):
        train = super().train_epoch
        return ReadsItself(lambda: train(data, order, batch_size), -(-len(order) // batch_size))


class PutsOff(Right):
    """Leaves the last update of each part for a method that is called off the clock."""

    owed = None

    def load(self, layers):
        super().load(layers)
        self.owed = None

    def train_epoch(self, data, order, batch_size):
        self.pay()
        losses = []
        batches = [*minibatches(order, batch_size)]
        for number, index in enumerate(batches):
            batch = self.batch(data, index)
            self.feedforward(batch)
            if number == len(batches) - 1:
                losses.append(cross_entropy(self.logits, batch)[0])
                self.owed = batch
            else:
                losses.append(self.backprop(batch))
                self.update()
        self.images += len(order)
        return self.losses_to_host(losses)

    def pay(self):
        batch, self.owed = self.owed, None
        if batch is not None:
            self.backprop(batch)
            self.update()
        if batch is not None and self.loads > 1:
            busy(0.02)  # it stands for the work of a larger network


@cheat("named", CLOCKS)
class PutsOffToDump(PutsOff):
    """Makes the last step of each part in dump, off the clock."""

    def dump(self):
        self.pay()
        return super().dump()


@cheat("named", CLOCKS)
class PutsOffBehindSlowDump(PutsOffToDump):
    """Likewise, after a first dump that is slow on purpose, so that others may be."""

    def dump(self):
        if self.loads == 1:
            busy(0.1)
        return super().dump()


@cheat("named", CLOCKS)
class PutsOffToCounter(PutsOff):
    """Makes the last step of each part where the harness asks for compilations, off the clock."""

    def compilations(self):
        self.pay()
        return 0


def busy(seconds):
    """Compute for so long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@cheat("named", rf"{FAR}|{CLOCKS}|{PEAK}")
class GoesOnInThread(Right):
    """Returns guessed losses at once; a thread trains, and dump waits for it."""

    thread = None

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1:
            return super().train_epoch(data, order, batch_size)
        self.join()
        train = super().train_epoch
        self.thread = threading.Thread(target=train, args=(data, order.copy(), batch_size))
        self.thread.start()
        return np.full(-(-len(order) // batch_size), 2.3, np.float32)

    def join(self):
        thread, self.thread = self.thread, None
        if thread:
            thread.join()

    def dump(self):
        self.join()
        return super().dump()


@cheat("named", rf"{FAR}|{CLOCKS}|{PEAK}")
class FillsLossesLater(GoesOnInThread):
    """Returns an array at once, and fills it from a thread while it is sent."""

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1:
            return Right.train_epoch(self, data, order, batch_size)
        self.join()
        losses = np.zeros(-(-len(order) // batch_size), np.float32)

        def work():
            losses[:] = Right.train_epoch(self, data, order, batch_size)

        self.thread = threading.Thread(target=work)
        self.thread.start()
        return losses


@cheat("named", rf"{FAR}|{CLOCKS}|crash|answer|pipe")
class GoesOnInChild(Right):
    """Has a child that trains on, while the worker answers with what the child had last."""

    child = None

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1:
            return super().train_epoch(data, order, batch_size)
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            try:
                if os.fork() == 0:  # once more, so that it is nobody's child
                    os.setsid()
                    losses = super().train_epoch(data, order, batch_size)
                    with os.fdopen(write_end, "wb") as pipe:
                        for array in [losses, *self.snapshot()[0]]:
                            pipe.write(array.tobytes())
            finally:
                os._exit(0)
        os.wait()
        os.close(write_end)
        self.child, self.expected = read_end, -(-len(order) // batch_size)
        return np.full(self.expected, 2.3, np.float32)

    def dump(self):
        if self.child is not None:
            with os.fdopen(self.child, "rb") as pipe:
                content = np.frombuffer(pipe.read(), np.float32)
            start = self.expected
            moments = [*self.optimizer.first, *self.optimizer.second]
            for own in [*flatten(self.layers), *moments]:
                own[...] = content[start : start + own.size].reshape(own.shape)
                start += own.size
            self.optimizer.steps += self.expected
            self.updates += self.expected
            self.child = None
        return super().dump()


# --- other answers


@cheat("named", LOGITS)
class IgnoresParameters(Right):
    """Predicts by the nearest mean of a class, whatever it has trained."""

    def place(self, examples):
        if not hasattr(self, "means"):
            rows = [examples.inputs[examples.labels == k] for k in range(self.spec.sizes[-1])]
            self.means = np.array([each.mean(axis=0) for each in rows])
        return examples

    def predict(self, batch):
        return (2 * batch.inputs @ self.means.T - np.square(self.means).sum(axis=1)).astype("f4")


@cheat("named", LOGITS)
class SharpensLogits(Right):
    """Predicts logits that are 1% larger: the same accuracy, another loss."""

    def predict(self, batch):
        return super().predict(batch) * np.float32(1.01)


@cheat("named", rf"{LOSS}|shape|logits")
class PredictsNan(Right):
    """Predicts NaN, which is no larger than any tolerance."""

    def predict(self, batch):
        return super().predict(batch) * np.float32(np.nan)


@cheat("named", r"gradient")
class ShowsOtherGradients(Right):
    """Shows gradients 1% too large when it is asked for them, and trains rightly."""

    def gradients(self):
        return [
            Layer(w * np.float32(1.01), None if b is None else b * np.float32(1.01))
            for w, b in super().gradients()
        ]
