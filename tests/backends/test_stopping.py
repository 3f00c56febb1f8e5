"""Between its parts a worker is stopped, threads and all: every backend goes on as if nothing had been."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nnbench import catalog
from nnbench.execution.variables import THREAD_VARIABLES
from tests.conftest import is_quick

RUNNING_S, STOPPED_S = 0.004, 0.008
#: trains each backend undisturbed, and once more while it is stopped every few milliseconds
CHILD = """
import sys
import numpy as np
from nnbench import catalog
from nnbench.testing.networks import SPECS
from nnbench.testing.problems import BATCH_SIZE, make_problem, same_bits

problem = make_problem(SPECS[0])
order = np.tile(problem.orders[0][:16], 60)
networks = {}

def train(name):
    network, data = networks[name]
    network.load(problem.layers)
    losses = network.train_epoch(data, order, BATCH_SIZE)
    network.synchronize()
    return network.dump(), losses.tolist()

for name in sys.argv[1:]:
    network = catalog.backends()[name].network(problem.spec, BATCH_SIZE)
    networks[name] = network, network.place(problem.examples)
alone = {name: train(name) for name in networks}
print("ready", flush=True)
input()
for name, (layers, losses) in alone.items():
    again, others = train(name)
    print(name, same_bits(again, layers) and others == losses, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_stops_in_the_middle_of_a_call_change_nothing():
    names = [
        name
        for name, backend in catalog.backends().items()
        if is_quick(backend) and not catalog.why_unavailable(backend)
    ]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *names],
        env=os.environ | dict.fromkeys(THREAD_VARIABLES, "2"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("go\n")
        child.stdin.flush()
        stops = 0
        while child.poll() is None:
            os.killpg(child.pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.killpg(child.pid, signal.SIGCONT)
            time.sleep(RUNNING_S)
            stops += 1
        lines = child.stdout.read().splitlines()
    assert lines == [f"{name} True" for name in names]
    assert stops > len(names)
