"""Time feedforward, backprop and update apart, on one full batch, after training.

The method is pyperf's: first find how many loops make a timing long enough, then take several
values. The device is synchronized at the ends of a loop only. A backprop cannot always be
repeated without its feedforward (autograd frees its graph), so the pair is timed and the
feedforward, timed beside it, is taken off.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from nnbench.records.cells import Phases

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from nnbench.contract.backend import Network

VALUES = 5
LOOP_S = 0.005  #: the shortest loop that counts as one value
MAX_LOOPS = 1 << 16


def measure(
    network: Network[Any, Any], data: Any, index: NDArray[np.int64], seconds: float
) -> Phases:
    """Return several values of each phase, in microseconds a batch.

    All values together take so many seconds at most; a slow backend gets fewer, one at least.
    """
    batch = None

    def gather() -> None:
        nonlocal batch  # one batch is valid at a time
        batch = network.batch(data, index)

    def feedforward() -> None:
        network.feedforward(batch)

    def both() -> None:
        network.feedforward(batch)
        network.backprop(batch)

    gather()
    both()  # so that update has gradients
    actions: list[Callable[[], object]] = [gather, feedforward, both, network.update]
    loops = [_calibrate(network, action) for action in actions]

    def measure_once() -> list[float]:
        return [_time(network, a, n) / n * 1e6 for a, n in zip(actions, loops, strict=True)]

    start = perf_counter()
    rows = [measure_once()]
    more = int(seconds / (perf_counter() - start)) - 1
    rows += [measure_once() for _ in range(min(VALUES - 1, more))]
    gathers, forwards, pairs, updates = (list(column) for column in zip(*rows, strict=True))
    return Phases(
        gather_us=gathers,
        feedforward_us=forwards,
        backprop_us=[max(p - f, 0.0) for p, f in zip(pairs, forwards, strict=True)],
        update_us=updates,
    )


def _time(network: Network[Any, Any], action: Callable[[], object], loops: int) -> float:
    network.synchronize()
    start = perf_counter()
    for _ in range(loops):
        action()
    network.synchronize()
    return perf_counter() - start


def _calibrate(network: Network[Any, Any], action: Callable[[], object]) -> int:
    """Double the loops until they take long enough."""
    loops = 1
    while _time(network, action, loops) < LOOP_S and loops < MAX_LOOPS:
        loops *= 2
    return loops
