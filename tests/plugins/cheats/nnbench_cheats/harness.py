"""The harness attacked: its clocks, its functions, its frames and its pipes, in the worker's process."""

import ctypes
import dataclasses
import gc
import io
import os
import statistics
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nnbench import flatten, pipes
from nnbench.data import datasets
from nnbench.records import cells, events, worker
from nnbench.worker import training

from .ahead import CLOCKS, LOGITS, PEAK, PutsOffToDump
from .right import Right, cheat

ANSWERS = r"pipe|answer"
SLOWER = 100  #: a false clock than the right one
TIMED = ("training", "train")  #: the worker's module and function that keep the clock


def replace_everywhere(old, new):
    """Put something in the place of a thing, wherever a module of nnbench has a name for it."""
    for name, module in [*sys.modules.items()]:
        if name == "nnbench" or name.startswith("nnbench.") or name == "time":
            for key, value in [*vars(module).items()]:
                if value is old:
                    setattr(module, key, new)


def frames():
    """Yield the callers' frames, from the nearest."""
    frame = sys._getframe(1).f_back
    while frame:
        yield frame
        frame = frame.f_back


# --- a false clock


class HasClock(Right):
    """Can have a clock of its own, while it trains."""

    clock: Any = None

    def slow_down(self):
        """Replace perf_counter by a clock that goes at a hundredth of the speed."""
        right, start = time.perf_counter, time.perf_counter()
        self.clock = lambda: start + (right() - start) / SLOWER
        self.right = right
        replace_everywhere(right, self.clock)

    def gradients(self):
        if self.clock:  # training is over, and phases would take a hundred times as long
            replace_everywhere(self.clock, self.right)
            self.clock = None
        return super().gradients()


@cheat("named", CLOCKS)
class SlowsClock(HasClock):
    """Replaces perf_counter by a clock that goes at a hundredth of the speed."""

    def load(self, layers):
        super().load(layers)
        if self.loads == 2:
            self.slow_down()


@cheat("named", CLOCKS)
class MovesStart(Right):
    """Sets the start of the clock to now, in the frame of whoever called it."""

    def synchronize(self):
        now = time.perf_counter()
        for frame in frames():
            code = frame.f_code
            if self.loads < 2 or (Path(code.co_filename).stem, code.co_name) != TIMED:
                continue
            found = frame.f_locals  # each look at it reads the frame anew
            for name, value in [*found.items()]:
                if isinstance(value, float) and 0 < now - value < 600:
                    found[name] = now
            if sys.version_info < (3, 13):
                ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


@cheat("named", CLOCKS)
class ShortensAnswer(Right):
    """Replaces what the worker sends with, and divides the times in it by a hundred."""

    def load(self, layers):
        super().load(layers)
        if self.loads == 2:
            send = pipes.send

            def shortened(pipe, message):
                if isinstance(message, worker.Trained):
                    less = {name: getattr(message, name) / SLOWER for name in ("train_s", "cpu_s")}
                    message = msgspec.structs.replace(message, **less)
                send(pipe, message)

            replace_everywhere(send, shortened)


class Ahead(Right):
    """Trains between the order's coming and the start of the clock."""

    known = None

    def train_ahead(self, order, layers):
        if layers is not None:
            super().load(self.spec.view(np.frombuffer(layers, np.float32).copy()))
        self.known = super().train_epoch(self.data, order, self.batch_size)

    def place(self, examples):
        if not hasattr(self, "data"):
            self.data = examples
        return examples

    def load(self, layers):
        if self.known is None:
            super().load(layers)

    def train_epoch(self, data, order, batch_size):
        self.batch_size = batch_size
        known, self.known = self.known, None
        return super().train_epoch(data, order, batch_size) if known is None else known


@cheat("named", rf"{CLOCKS}|{PEAK}")
class TrainsOnReceipt(Ahead):
    """Replaces what the worker receives with, and trains before the worker starts its clock."""

    def __init__(self, spec):
        super().__init__(spec)
        receive = pipes.receive

        def ahead(pipe, kind):
            message = receive(pipe, kind)
            if isinstance(message, worker.Train):
                self.train_ahead(np.frombuffer(message.order, np.int64), message.layers)
            return message

        replace_everywhere(receive, ahead)


@cheat("named", rf"{CLOCKS}|{PEAK}")
class TrainsWhenCounting(Ahead):
    """Finds the order in the frame of whoever asks for compilations, before the clock starts."""

    def compilations(self):
        for frame in frames():
            found = frame.f_locals
            command = found.get("command")
            if isinstance(command, worker.Train) and "seconds" not in sys._getframe(1).f_locals:
                self.train_ahead(np.frombuffer(command.order, np.int64), command.layers)
                break
        return 0


@cheat("named", CLOCKS)
class TakesOver(Right):
    """Never returns: it answers itself, for the rest of the cell, with a hundredth of the time."""

    def train_epoch(self, data, order, batch_size):
        if self.loads < 2:
            return super().train_epoch(data, order, batch_size)
        gc.unfreeze()  # what was there before training is not listed otherwise
        ends = [each for each in gc.get_objects() if is_pipe(each)]
        [commands] = [each for each in ends if each.readable()]
        [answers] = [each for each in ends if each.writable()]
        command: Any = worker.Train(order.tobytes())
        while not isinstance(command, worker.Close):
            pipes.send(answers, self.answer(command, data, batch_size))
            command = pipes.receive(commands, worker.Command)
        pipes.send(answers, worker.Closed(None))
        os._exit(0)

    def answer(self, command, data, batch_size):
        """Return what the worker would, with a hundredth of the time."""
        match command:
            case worker.Train(order=order):
                start = time.perf_counter()
                losses = super().train_epoch(data, np.frombuffer(order, np.int64), batch_size)
                taken = (time.perf_counter() - start) / SLOWER
                load_s = taken / 100 if self.images * 8 <= len(order) else None
                counts = (taken, 0, 0.0, 0.0, 0, None)
                return worker.Trained(taken, load_s, losses.tobytes(), *counts)
            case worker.Predict(order=order):
                images = self.test.rows(np.frombuffer(order, np.int64))
                return worker.Predicted(self.predict(images).tobytes(), 0.01)
            case worker.Inspect():
                return worker.Inspected(None, None)
            case _:
                state = self.optimizer_state()
                shown = np.concatenate(flatten(self.dump()), axis=None)
                moments = np.concatenate(flatten([*state.first, *state.second]), axis=None)
                return worker.State(shown.tobytes(), state.steps, moments.tobytes())

    def place(self, examples):
        self.test = examples  # the last split that is placed
        return examples


def is_pipe(found):
    """Tell whether something is an end of a pipe of the worker's."""
    if not isinstance(found, io.BufferedReader | io.BufferedWriter) or found.closed:
        return False
    return found.fileno() > 2 and Path(f"/proc/self/fd/{found.fileno()}").is_fifo()


@cheat("named", rf"{ANSWERS}|{CLOCKS}|bytes of losses")
class AnswersTwice(Right):
    """Writes answers of its own into every pipe that is open, before the worker does."""

    def train_epoch(self, data, order, batch_size):
        losses = super().train_epoch(data, order, batch_size)
        if self.loads > 1:
            values = (1e-4, None, losses.tobytes(), 1e-4, 0, 0.0, 0.0, 0, None)
            content = msgspec.msgpack.encode(worker.Trained(*values))
            frame = pipes.LENGTH.pack(len(content)) + content
            for path in Path("/proc/self/fd").iterdir():
                with suppress(OSError):  # the end that is read
                    if path.is_fifo() and int(path.name) > 2:
                        os.write(int(path.name), frame)
            threading.Timer(0.5, os._exit, [0]).start()  # nobody need wait for it
        return losses


@cheat("named", CLOCKS)
class LiesInSetup(PutsOffToDump):
    """Has the worker say that it has so many parameters that a dump may take long, and puts off to it."""

    def __init__(self, spec):
        super().__init__(spec)
        make = training.make_setup

        def made(*told):
            return dataclasses.replace(make(*told), parameters=10**12)

        replace_everywhere(make, made)


@cheat("named", r"fine")
class FailsWell(Right):
    """Ends after one epoch, in the worker's place, with the word that it has failed with the status ok."""

    def train_epoch(self, data, order, batch_size):
        if self.loads > 1 and self.epoch(data):
            for frame in frames():
                if send := frame.f_locals.get("send"):
                    send(events.Failed(cells.Status.OK, "all is fine"))
            os._exit(0)
        return super().train_epoch(data, order, batch_size)


@cheat("named", r"device")
class TimesItself(Right):
    """Says that the device took a thousandth of a second."""

    def device_seconds(self):
        return 1e-3 / 60


# --- what it is judged by


@cheat("harmless")
class ReadsLabelsOfFrames(Right):
    """Looks for the test labels in the frames of its callers, and predicts those it finds."""

    def predict(self, batch):
        for frame in frames():
            for value in [*frame.f_locals.values()]:
                labels = getattr(getattr(value, "test", None), "labels", None)
                labels = getattr(value, "labels", labels)
                if isinstance(labels, np.ndarray) and len(labels) == TEST and labels.any():
                    logits = np.zeros((TEST, self.spec.sizes[-1]), np.float32)
                    logits[np.arange(TEST), labels] = 100
                    return logits[: len(batch.inputs)]
        return super().predict(batch)


@cheat("harmless")
class ReadsLabelsOfMemory(Right):
    """Looks for the test labels among all objects of the process."""

    def predict(self, batch):
        gc.unfreeze()  # what was there before training is not listed otherwise
        count = len(batch.inputs)
        tuples = (value for value in gc.get_objects() if isinstance(value, tuple))
        for each in (each for value in tuples for each in value if is_labels(each, count)):
            logits = np.zeros((count, self.spec.sizes[-1]), np.float32)
            logits[np.arange(count), each] = 100
            return logits
        return super().predict(batch)


def is_labels(found, count):
    if not isinstance(found, np.ndarray) or found.dtype != np.int64 or found.shape != (count,):
        return False
    return bool(found.any()) and 0 <= found.min() <= found.max() < 10


@cheat("named", LOGITS)
class ReadsLabelsOfDisk(Right):
    """Knows the images of MNIST, whose labels lie on the disk, and predicts those."""

    def predict(self, batch):
        if not hasattr(self, "known"):
            test = datasets.load_mnist().test
            pairs = zip(test.inputs, test.labels, strict=True)
            self.known = {row.tobytes(): label for row, label in pairs}
        logits = super().predict(batch)
        for row, image in zip(logits, batch.inputs, strict=True):
            if (label := self.known.get(image.tobytes())) is not None:
                row[label] = 100
        return logits


TEST = 200  #: images of the tests' dataset to predict


@cheat("harmless")
class PatchesEvaluation(Right):
    """Replaces whatever in the worker's process has to do with judging, and NumPy's statistics."""

    def load(self, layers):
        super().load(layers)
        if self.loads != 2:
            return
        for name, module in [*sys.modules.items()]:
            for key in ("evaluate", "summarize", "judge", "accuracy", "deviation", "output_loss"):
                if name.startswith("nnbench.") and key in vars(module):
                    setattr(module, key, lambda *_, **__: 0.0)
        for module, name in ((statistics, "median"), (statistics, "mean"), (np, "median")):
            setattr(module, name, lambda *_, **__: 0.0)
