"""What the numba backend promises beyond the contract: threads, one pool, one compilation."""

import json
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

numba = pytest.importorskip("numba")

from nnbench_numba import barrier, compilation
from nnbench_numba.network import NumbaNetwork

EXAMPLES, BATCH_SIZE = 20, 8  # the last batch is smaller
SPEC = make_spec((6, 5, 4, 3), KINDS[0] | {"l2": 0.03}, OPTIMIZERS[1])


def train(spec, threads=1, batch_size=BATCH_SIZE):
    network = NumbaNetwork(spec, threads)
    network.load(make_layers(spec))
    data = network.place(make_examples(spec, EXAMPLES))
    losses = network.train_epoch(data, np.arange(EXAMPLES), batch_size)
    return network, losses


@pytest.mark.parametrize(
    "batch_size", [8, 1], ids=["some rows for each", "fewer rows than threads"]
)
def test_threads_change_nothing(batch_size):
    one, losses = train(SPEC, 1, batch_size)
    three, other_losses = train(SPEC, 3, batch_size)
    assert other_losses == pytest.approx(losses, rel=1e-5)
    assert distance(three.dump(), one.dump()) < 1e-5
    assert distance(three.gradients(), one.gradients()) < 1e-5


def test_no_other_network_and_no_other_array_is_compiled_for():
    network, _ = train(SPEC)
    before = network.compilations()
    assert before > 0
    other, _ = train(make_spec((7, 2), KINDS[-1], OPTIMIZERS[-1]), threads=2)
    data = other.place(make_examples(other.spec, EXAMPLES))
    order = np.arange(2 * EXAMPLES)[::2] // 2  # not in one piece
    order.setflags(write=False)
    other.train_epoch(data, order, 3)
    other.feedforward(other.batch(data, order))
    assert other.compilations() == before


def test_three_threads_train_the_same_each_time():
    (one, losses), (two, other_losses) = train(SPEC, 3), train(SPEC, 3)
    assert losses.tolist() == other_losses.tolist()
    assert distance(one.dump(), two.dump()) == 0


def test_networks_train_at_the_same_time():
    expected, losses = train(SPEC, 2)
    with ThreadPoolExecutor(4) as pool:
        trained = list(pool.map(lambda _: train(SPEC, 2), range(4)))
    for network, other_losses in trained:
        assert other_losses.tolist() == losses.tolist()
        assert distance(network.dump(), expected.dump()) == 0


def test_nobody_leaves_the_barrier_before_all_have_come():
    threads, rounds = 3, 200
    arrivals, seen = np.zeros(1, np.int64), np.zeros((threads, rounds), np.int64)

    def come_and_look(thread):
        for i in range(rounds):
            barrier.meet(arrivals, threads)
            seen[thread, i] = arrivals[0]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(come_and_look, range(threads)))
    all_came = threads * np.arange(1, rounds + 1)
    assert (seen >= all_came).all()
    assert (seen < all_came + threads).all()  # nor comes twice before the others go on
    assert arrivals[0] == threads * rounds


TWO_THREADS = """
import json
from threadpoolctl import threadpool_info
from nnbench_numba import kernels
from tests.backends.test_numba import SPEC, train

def pools(api):
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == api]

compiled, inside = kernels.train, []
def watched(*arguments):
    inside.append(pools("blas"))
    return compiled(*arguments)
kernels.train = watched

network, losses = train(SPEC, threads=None)
print(json.dumps([losses.tolist(), inside[-2:], pools("blas"), pools("openmp")]))
"""


def test_threads_are_as_many_as_asked_for_and_the_only_pool(monkeypatch):
    for variable in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(variable, "2")
    command = [sys.executable, "-c", TWO_THREADS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses, inside, after, openmp = json.loads(done.stdout)
    assert losses == train(SPEC, threads=2)[1].tolist()
    assert [set(blas) for blas in inside] == [{1}, {1}]  # a call of each thread
    assert set(after) == {2}
    assert openmp == []


def test_it_compiles_where_nothing_can_be_cached(monkeypatch):
    njit = numba.njit

    def njit_without_cache(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", njit_without_cache)
    double = compilation.compiled(lambda x: 2 * x)
    assert double(3) == 6


def test_a_change_in_any_module_is_compiled_anew(tmp_path):
    copy = tmp_path / "compilation.py"
    shutil.copy(compilation.__file__, copy)

    def cached_name():
        def double(x):
            return 2 * x

        return runpy.run_path(str(copy))["compiled"](double).__qualname__

    before = cached_name()
    assert cached_name() == before
    (tmp_path / "other.py").write_text("SPINS = 2")
    assert cached_name() != before
