"""Training in parallel: shares of batches, processes that end or fail, and what all ranks have in common.

The ranks are started once, which takes seconds. ``make conformance`` runs the suite on ``torch-ddp``, and a training
with its proof.
"""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from operator import attrgetter, methodcaller
from pathlib import Path

import numpy as np
import psutil
import pytest

from nnbench import BackendUnavailableError, catalog, minibatches, reference
from nnbench.testing.problems import make_short_task, same_bits
from tests.backends.expected import train_reference
from tests.conftest import give
from tests.plugins.helpers import wait_until
from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

torch = pytest.importorskip("torch")

RANKS = 2
EXAMPLES, BATCH_SIZE = 21, 8  # the last batch has five: three for one rank, two for the other
SGD, ADAM, *_ = OPTIMIZERS
RELU = KINDS[0]
#: Starts a rank, says who it is, and waits to be killed.
PARENT = """
import sys
from nnbench_torch.ranks import Ranks
print(*Ranks(1, "cpu").every(__import__("os").getpid), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def ranks():
    """Start two ranks for all tests, or skip them."""
    give("torch-ddp")
    from nnbench_torch.ranks import start, usable_cpus

    if len(usable_cpus()) < RANKS:
        pytest.skip(f"{RANKS} ranks need a CPU each")
    started = start(RANKS, "cpu")
    yield started
    started.close()
    start.cache_clear()


def make(spec):
    network = catalog.backends()["torch-ddp"].network(spec, BATCH_SIZE, processes=RANKS)
    network.load(make_layers(spec))
    return network


@pytest.mark.usefixtures("ranks")
@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        (RELU, ADAM),
        ({"activation": "sigmoid", "loss": "squared_error", "bias": False, "l2": 0.03}, SGD),
        ({"activation": "relu", "loss": "cross_entropy", "bias": True, "l2": 0.03}, OPTIMIZERS[-1]),
    ],
    ids=["adam", "sgd", "adam-fresh"],
)
def test_ragged_batches_match_the_reference(kind, optimizer):
    """Some of one example, which a single rank has, are among them."""
    spec = make_spec((6, 5, 4, 3), kind, optimizer)
    network, examples = make(spec), make_examples(spec, EXAMPLES)
    data = network.place(examples)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(3)]
    orders.append(np.arange(BATCH_SIZE + 1))  # the last batch is one example
    losses = np.concatenate([network.train_epoch(data, order, BATCH_SIZE) for order in orders])
    expected, layers = train_reference(spec, examples, orders, BATCH_SIZE)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4
    state = network.optimizer_state()
    if optimizer.keeps_moments:
        steps = sum(len(list(minibatches(order, BATCH_SIZE))) for order in orders)
        assert state.steps == steps
    else:
        assert state is None


def test_all_ranks_have_the_same_parameters(ranks):
    from nnbench_torch.distributed import ShareNetwork

    spec = make_spec((6, 5, 4, 3), RELU, ADAM)
    network = make(spec)
    data = network.place(make_examples(spec, EXAMPLES))
    network.train_epoch(data, np.arange(EXAMPLES), BATCH_SIZE)
    one, other = ranks.every(ShareNetwork.dump, network._network)
    assert same_bits(one, other)
    assert same_bits(network.dump(), one)


@pytest.mark.usefixtures("ranks")
def test_each_predicts_its_share():
    spec = make_spec((6, 5, 4, 3), RELU, SGD)
    network, examples = make(spec), make_examples(spec, EXAMPLES)
    data = network.place(examples)
    for rows in (np.array([4, 2, 20]), np.array([7])):  # which one rank has alone
        logits = reference.feedforward(spec, make_layers(spec), examples.inputs[rows])[-1]
        batch = network.batch(data, rows)
        assert network.predict(batch) == pytest.approx(logits, rel=1e-4, abs=1e-5)
        assert network.feedforward(batch) == pytest.approx(logits, rel=1e-4, abs=1e-5)


def test_hundred_steps_of_mnist_equal_those_of_one_process(ranks):
    """In float64, in which rounding is no excuse."""
    from nnbench_torch.autograd import AutogradNetwork
    from nnbench_torch.distributed import DistributedNetwork
    from nnbench_torch.network import Data

    task = make_short_task("mnist-sgd")
    order = np.resize(np.concatenate(list(task.orders())), 100 * task.batch_size)
    torch.set_default_dtype(torch.float64)
    ranks.first(torch.set_default_dtype, torch.float64)
    try:
        one, both = AutogradNetwork(task.network), DistributedNetwork(task.network, ranks)
    finally:
        torch.set_default_dtype(torch.float32)
        ranks.first(torch.set_default_dtype, torch.float32)
    for network in (one, both):
        network.load(task.layers)
    data, kept = one.place(task.train), both.place(task.train)
    inputs, targets = (ranks.keep(attrgetter(name), kept) for name in Data._fields)
    shared = ranks.keep(Data, ranks.keep(methodcaller("double"), inputs), targets)
    exact = Data(data.inputs.double(), data.targets)
    losses = both.train_epoch(shared, order, task.batch_size)
    expected = one.train_epoch(exact, order, task.batch_size)
    assert (losses.dtype.name, len(losses)) == ("float64", 100)
    assert np.abs(losses - expected).max() < 1e-12
    assert losses[-1] < losses[0] / 2  # they have trained


def test_ranks_that_are_stopped_go_on_as_if_nothing_had_been(ranks):
    """In the middle of a step, and one after the other, as a worker's processes are stopped."""
    spec = make_spec((6, 5, 4, 3), RELU, ADAM)
    network, order = make(spec), np.tile(np.arange(16), 50)
    data = network.place(make_examples(spec, EXAMPLES))
    expected = network.train_epoch(data, order, BATCH_SIZE)
    network.load(make_layers(spec))
    is_over, pids = threading.Event(), ranks.every(os.getpid)
    stops: list[int] = []

    def stop_and_go():
        while not is_over.wait(0.01):
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in pids:
                    os.kill(pid, number)
                    time.sleep(0.005)
            stops.append(1)

    others = threading.Thread(target=stop_and_go)
    others.start()
    try:
        again = network.train_epoch(data, order, BATCH_SIZE)
    finally:
        is_over.set()
        others.join()
    assert np.array_equal(again, expected)
    assert stops


def test_each_has_cpus_of_its_own(ranks):
    cpus = ranks.every(os.sched_getaffinity, 0)
    assert all(cpus)
    assert not set.intersection(*cpus)
    assert set.union(*cpus) == os.sched_getaffinity(0)
    assert ranks.every(torch.get_num_threads) == [len(own) for own in cpus]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
def test_only_this_machine_reaches_them(ranks):
    """Nothing listens but on the loopback interface."""
    addresses = []
    for pid in (os.getpid(), *ranks.every(os.getpid)):
        sockets = {
            connection.laddr.ip
            for connection in psutil.Process(pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        addresses.append(sockets)
    assert set.union(*addresses) <= {"127.0.0.1", "::1"}
    assert any(addresses)


def test_what_nobody_refers_to_is_kept_no_longer(ranks):
    from nnbench_torch.ranks import Kept

    kept = ranks.keep(int, 3)
    assert ranks.every(abs, kept) == [3, 3]
    number = kept.number
    del kept
    gc.collect()
    ranks.first(os.getpid)  # which tells them
    with pytest.raises(KeyError):
        ranks.first(abs, Kept(number))


def test_error_in_all_ranks_is_raised_and_leaves_them_in_step(ranks):
    with pytest.raises(ValueError, match="invalid literal for int") as raised:
        ranks.first(int, "x")
    assert raised.value.__notes__[0] in {"in rank 0", "in rank 1"}
    assert ranks.every(abs, -1) == [1, 1]


def test_error_that_cannot_be_sent_is_told():
    from nnbench_torch.ranks import portable

    class LocalError(Exception):
        pass

    told = portable(LocalError("no such thing"), 3)
    assert (type(told), str(told)) == (RuntimeError, "LocalError: no such thing in rank 3")


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (-1, "processes=-1: write how many, or 0 for one on each CPU"),
        (3, "processes=3: each needs a CPU of its own, there: 2 (write threads=3, too)"),
    ],
)
def test_number_of_processes_has_its_bounds(processes, expected, monkeypatch):
    from nnbench_torch import distributed

    monkeypatch.setattr(distributed, "usable_cpus", lambda: [0, 1])
    spec = make_spec((6, 3), RELU, SGD)
    with pytest.raises(BackendUnavailableError) as raised:
        catalog.backends()["torch-ddp"].network(spec, BATCH_SIZE, processes=processes)
    assert str(raised.value) == expected
    assert [distributed.how_many(n, "cpu") for n in (0, 1, 2)] == [2, 1, 2]


def test_each_process_needs_a_gpu(monkeypatch):
    from nnbench_torch import distributed

    monkeypatch.setattr(distributed, "usable_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [distributed.how_many(n, "cuda") for n in (0, 1, 2)] == [2, 1, 2]
    with pytest.raises(BackendUnavailableError, match=r"each needs a GPU of its own, there: 2$"):
        distributed.how_many(3, "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(BackendUnavailableError, match=r"each needs a GPU of its own, there: 0$"):
        distributed.how_many(0, "cuda")


def test_torch_without_distributed_is_a_reason(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    for name in ("ranks", "distributed"):
        monkeypatch.delitem(sys.modules, f"nnbench_torch.{name}", raising=False)
    with pytest.raises(BackendUnavailableError, match=r"built without torch\.distributed"):
        catalog.backends()["torch-ddp"].resolve(make_spec((6, 3), RELU, SGD), BATCH_SIZE)


def test_all_ranks_end_with_who_started_them():
    """However it ends: here nothing but the kernel can tell them."""
    give("torch-ddp")
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        rank = int(parent.stdout.readline())
        assert not is_gone(rank)
        parent.kill()
    wait_until(lambda: is_gone(rank))


def is_gone(pid):
    """Tell whether a process has ended, collected or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_end_of_a_rank_is_told_in_a_sentence(ranks):
    """The last test: it ends the ranks. Another one's complaint that it has gone is not what is told."""
    spec = make_spec((6, 5, 4, 3), RELU, SGD)
    network = make(spec)
    data = network.place(make_examples(spec, EXAMPLES))
    one, other = ranks.every(os.getpid)
    threading.Timer(0.3, os.kill, (other, signal.SIGKILL)).start()
    with pytest.raises(RuntimeError, match=r"^rank 1: Signal 9 \(SIGKILL\) received by PID \d+$"):
        network.train_epoch(data, np.tile(np.arange(16), 500_000), BATCH_SIZE)
    assert is_gone(one)
    with pytest.raises(RuntimeError, match=r"^the ranks are out of step: rank 1: Signal 9"):
        network.dump()
