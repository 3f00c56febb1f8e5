"""A plugin whose backends say what the results shall record of them, or fail to, and read a variable."""

import os
from functools import partial

from nnbench import Backend, hookimpl
from nnbench_numpy.network import NumpyNetwork

MODE = "RECORDING_MODE"


def record(network):
    return {"compiler": "tcc\n 0.9", "network": type(network).__name__, "count": 3}


def create(spec):
    os.environ[MODE]
    return NumpyNetwork(spec)


def fail(_network):
    raise OSError("no git here")


@hookimpl
def nnbench_backends():
    member = partial(Backend, summary="it says", create="nnbench_numpy.network:NumpyNetwork")
    reading = partial(Backend, summary="it reads", create=create)
    return [
        member(name="recording", record=record),
        member(name="failing", record=fail),
        reading(name="named", environment=(MODE,), record=lambda _: {"mode": os.environ[MODE]}),
        reading(name="unnamed"),
    ]
