"""More of the machine than was given, or time that nobody counts: processes, threads, signals, memory.

Whoever succeeds where it should not be able to prints it, which the cell's record keeps.
"""

import hashlib
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from nnbench import flatten
from nnbench.execution.process import calibrations

from .ahead import CLOCKS, KEPT, busy, kept_file
from .harness import HasClock
from .less import FAR, StopsTraining
from .right import Right, cheat, say

CPUS = r"CPU|threads"
PAUSE_S = 3e-3  #: a step: parts take so long that somebody will look
SHARED_STEPS = 30  #: whose states one backend leaves to another


def widen():
    """Let this thread run on every CPU."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


@contextmanager
def child():
    """Run what follows in a child alone, which ends with it; tell whether this is the child."""
    pid = os.fork()
    try:
        yield pid == 0
    finally:
        if pid == 0:
            os._exit(0)


@cheat("named", CPUS)
class UsesMoreThreads(Right):
    """Has a second thread that computes beside the first, on another CPU."""

    def train_epoch(self, data, order, batch_size):
        done = threading.Event()
        helper = threading.Thread(target=multiply, args=(done,))
        helper.start()
        multiply(done, 0.02)
        try:
            return super().train_epoch(data, order, batch_size)
        finally:
            done.set()
            helper.join()


def multiply(done, seconds=None):
    """Multiply matrices, which holds no lock of Python's, for so long, or until it is done."""
    if seconds is None:
        widen()
    matrix = np.ones((300, 300), np.float32)
    end = time.perf_counter() + (seconds or 600)
    while time.perf_counter() < end and not done.is_set():
        matrix @ matrix


class Pauses(Right):
    """Takes its time with each step."""

    def update(self):
        super().update()
        time.sleep(PAUSE_S)


@cheat("named", CPUS)
class WidensAffinity(Pauses):
    """May run on every CPU in each call, and only on its own between calls."""

    def train_epoch(self, data, order, batch_size):
        own = os.sched_getaffinity(0)
        widen()
        try:
            return super().train_epoch(data, order, batch_size)
        finally:
            os.sched_setaffinity(0, own)


@cheat("named", r"GPU")
class UsesGpu(Pauses):
    """Says that it trains on the CPU, and has memory on a GPU, or tells a stand-in so."""

    def train_epoch(self, data, order, batch_size):
        kept_file("gpu").write_text(str(os.getpid()))
        return super().train_epoch(data, order, batch_size)


@cheat("named", CLOCKS)
class WorksInDaemon(HasClock):
    """Trains in a daemon, and slows its own clock, so that it has hardly used any time."""

    channel = None

    def train_epoch(self, data, order, batch_size):
        if self.loads < 2:
            return super().train_epoch(data, order, batch_size)
        if self.channel is None:
            self.slow_down()
            self.channel, other = socket.socketpair()
            with child() as is_child:
                if is_child and os.fork() == 0:
                    os.setsid()
                    self.channel.close()
                    self.serve(other, data, batch_size)
            other.close()
            os.wait()
        return self.ask(order, -(-len(order) // batch_size))

    def ask(self, order, steps):
        """Send an order and take what the daemon has made of it."""
        self.channel.sendall(len(order).to_bytes(8, "little") + order.tobytes())
        moments = [*self.optimizer.first, *self.optimizer.second]
        losses = np.empty(steps, np.float32)
        for array in [losses, *flatten(self.layers), *moments]:
            found = np.frombuffer(read(self.channel, array.nbytes), np.float32)
            array[...] = found.reshape(array.shape)
        self.optimizer.steps += steps
        self.updates += steps
        self.images += len(order)
        return losses

    def serve(self, channel, data, batch_size):
        """Train what is asked for, until nobody asks."""
        while head := channel.recv(8):
            order = np.frombuffer(read(channel, 8 * int.from_bytes(head, "little")), np.int64)
            losses = super().train_epoch(data, order, batch_size)
            for array in [losses, *self.snapshot()[0]]:
                channel.sendall(array.tobytes())


def read(channel, count):
    found = bytearray()
    while len(found) < count:
        if not (more := channel.recv(count - len(found))):
            raise EOFError
        found += more
    return bytes(found)


SERVER = "\0nnbench-cheats"  # an abstract address: no isolation of files hides it
SERVE = "NNBENCH_CHEATS_SERVE"  # an environment variable: others list this plugin, too


def serve_on():
    """Become a daemon that could work for workers later: called where backends are listed."""
    if SERVE not in os.environ or "nnbench.worker" in sys.orig_argv:
        return  # of what a worker starts itself everybody knows
    with child() as is_child:
        if is_child and os.fork() == 0:
            os.setsid()
            with socket.socket(socket.AF_UNIX) as server, suppress(OSError):
                server.bind(SERVER)
                server.listen()
                server.settimeout(60)
                while True:
                    server.accept()[0].close()
    os.wait()


@cheat("harmless")
class AsksServerOfListing(Right):
    """Looks for a daemon that was started when backends were listed, out of everybody's sight."""

    def load(self, layers):
        super().load(layers)
        with socket.socket(socket.AF_UNIX) as channel, suppress(OSError):
            channel.connect(SERVER)
            say("the server answers")


@cheat("named", r"scheduled")
class ReschedulesNnbench(Right):
    """Has nnbench itself run on its own CPU alone, and so all workers after it."""

    def load(self, layers):
        super().load(layers)
        if self.loads == 2:
            _, parent = itertools.islice(above(), 2)
            os.sched_setaffinity(parent, {max(os.sched_getaffinity(0))})


@cheat("named", FAR)
class PoisonsCalibration(StopsTraining):
    """Stops training after 20 steps; tolerances kept in the user's cache say that this is near enough."""

    def __init__(self, spec):
        super().__init__(spec)
        folder = calibrations()
        is_ours = folder.is_relative_to(KEPT)  # those of a user stay as they are
        for path in folder.glob("*.json") if is_ours else ():
            kept = json.loads(path.read_text())
            kept["tolerance"] = dict.fromkeys(kept["tolerance"], 1e9)
            path.write_text(json.dumps(kept))


@cheat("harmless")
class ContinuesItself(Right):
    """Has a child in a session of its own that wakes it whenever it is stopped."""

    def load(self, layers):
        super().load(layers)
        if self.loads == 2:
            me = os.getpid()
            with child() as is_child:
                if is_child:
                    os.setsid()
                    while os.getppid() == me:
                        os.kill(me, signal.SIGCONT)
                        time.sleep(1e-3)


@cheat("harmless")
class LeavesBusyDaemon(Right):
    """Leaves a daemon that waits for its end, and then keeps a CPU busy to slow all others."""

    def load(self, layers):
        super().load(layers)
        if self.loads == 2:
            me = os.getpid()
            with child() as is_child:
                if is_child and os.fork() == 0:
                    os.setsid()
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    while Path(f"/proc/{me}/exe").exists():
                        time.sleep(0.01)
                    widen()
                    busy(60)
            os.wait()


@cheat("harmless")
class LooksIntoParent(Right):
    """Opens the memory of the processes above it, to look for the seed."""

    def load(self, layers):
        super().load(layers)
        for pid in above():
            with suppress(OSError), Path(f"/proc/{pid}/mem").open("rb", 0):
                say(f"may read the memory of {pid}")


def above():
    """Yield the processes above this one."""
    pid = os.getppid()
    while pid > 1:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@cheat("harmless")
class WritesToDataset(Right):
    """Writes to the memory that the dataset is shared in: images that are all empty."""

    def place(self, examples):
        for path in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if "memfd" in str(path.readlink()):
                    with path.open("r+b", 0) as file:
                        file.write(bytes(1 << 20))
                        say("has written to the dataset")
        return examples


# --- two backends of one author


class Shares(Right):
    """Knows files by the parameters that a training starts from."""

    def load(self, layers):
        super().load(layers)
        self.start = hashlib.sha256(b"".join(each.tobytes() for each in flatten(layers)))

    def file(self, step):
        folder = Path("/tmp/nnbench-cheats")
        folder.mkdir(exist_ok=True)
        return folder / f"{self.start.hexdigest()}-{step}.npz"


@cheat("right")
class TellsSibling(Shares):
    """Trains as it should, and writes losses and states to files, for a sibling."""

    def _step(self, data, index):
        loss = super()._step(data, index)
        if self.loads > 1 and self.updates <= SHARED_STEPS:
            np.savez(self.file(self.updates), *self.snapshot()[0], loss=loss)
        return loss


@cheat("harmless")
class CopiesSibling(Shares):
    """Copies what its sibling has written to files, if it finds them."""

    def train_epoch(self, data, order, batch_size):
        first, steps = self.updates + 1, -(-len(order) // batch_size)
        paths = [self.file(step) for step in range(first, first + steps)]
        if not all(path.exists() for path in paths):
            return super().train_epoch(data, order, batch_size)
        say("copies its sibling")
        losses = []
        for path in paths:
            with np.load(path) as kept:
                losses.append(float(kept["loss"]))
                arrays = [kept[f"arr_{number}"] for number in range(len(kept.files) - 1)]
        self.restore((arrays, self.optimizer.steps + steps, self.updates + steps))
        self.images += len(order)
        return np.array(losses, np.float32)


@cheat("harmless")
class WritesResults(Right):
    """Finds the run's folder in a command line above it, and makes the times of others longer."""

    def train_epoch(self, data, order, batch_size):
        for pid in above():
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            for path in (Path(word, "cells.jsonl") for word in words):
                with suppress(OSError):
                    if path.is_file():
                        longer = path.read_text().replace('"train_s":0.', '"train_s":9.')
                        path.write_text(longer)
        return super().train_epoch(data, order, batch_size)
