"""What the numba backend promises beyond the contract: chunks, one pool, one compilation."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

numba = pytest.importorskip("numba")

from nnbench_numba import kernels
from nnbench_numba.network import NumbaNetwork

EXAMPLES, BATCH_SIZE = 20, 8  # the last batch is smaller
SPEC = make_spec((6, 5, 4, 3), KINDS[0] | {"l2": 0.03}, OPTIMIZERS[1])


def train(spec, chunks=1, batch_size=BATCH_SIZE):
    network = NumbaNetwork(spec, chunks)
    network.load(make_layers(spec))
    data = network.place(make_examples(spec, EXAMPLES))
    losses = network.train_epoch(data, np.arange(EXAMPLES), batch_size)
    return network, losses


@pytest.mark.parametrize("batch_size", [8, 1], ids=["some rows for each", "fewer rows than chunks"])
def test_chunks_change_nothing(batch_size):
    one, losses = train(SPEC, 1, batch_size)
    three, other_losses = train(SPEC, 3, batch_size)
    assert other_losses == pytest.approx(losses, rel=1e-5)
    assert distance(three.dump(), one.dump()) < 1e-5
    assert distance(three.gradients(), one.gradients()) < 1e-5


def test_no_other_network_and_no_other_array_is_compiled_for():
    network, _ = train(SPEC)
    before = network.compilations()
    assert before > 0
    other, _ = train(make_spec((7, 2), KINDS[-1], OPTIMIZERS[-1]), chunks=2)
    data = other.place(make_examples(other.spec, EXAMPLES))
    order = np.arange(2 * EXAMPLES)[::2] // 2  # not in one piece
    order.setflags(write=False)
    other.train_epoch(data, order, 3)
    other.feedforward(other.batch(data, order))
    assert other.compilations() == before


TWO_THREADS = """
import json, numba, numpy as np
from threadpoolctl import threadpool_info
from nnbench_numba import kernels
from tests.backends.test_numba import SPEC, train

def blas():
    return {p["filepath"]: p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

compiled, inside = kernels.train, []
def watched(*arguments):
    inside.append(blas())
    return compiled(*arguments)
kernels.train = watched

network, losses = train(SPEC, chunks=None)
print(json.dumps([numba.get_num_threads(), losses.tolist(), list(inside[-1].values()),
                  list(blas().values())]))
"""


def test_two_threads_train_the_same_and_leave_blas_only_one(monkeypatch):
    for variable in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(variable, "2")
    command = [sys.executable, "-c", TWO_THREADS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    threads, losses, inside, after = json.loads(done.stdout)
    assert threads == 2
    assert losses == pytest.approx(train(SPEC)[1], rel=1e-5)
    assert set(inside) == {1}
    assert set(after) == {2}


def test_it_compiles_where_nothing_can_be_cached(monkeypatch):
    njit = numba.njit

    def njit_without_cache(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", njit_without_cache)
    double = kernels.compiled()(lambda x: 2 * x)
    assert double(3) == 6
