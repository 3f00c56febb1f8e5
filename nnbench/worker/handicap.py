"""Slow a network down by a known share, to see whether that is found (``nnbench selftest``)."""

from __future__ import annotations

from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nnbench.contract.backend import Model
    from nnbench.records import Handicap


def slow_down(network: Model[Any, Any], handicap: Handicap) -> None:
    """Make every later ``train_epoch`` of a network take longer by the handicap's share."""
    train = network.train_epoch

    def slowed(data: Any, order: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
        start = perf_counter()
        losses = train(data, order, batch_size)
        network.synchronize()
        extra = handicap.share * (perf_counter() - start)
        sleep(extra) if handicap.kind == "sleep" else work(extra)
        return losses

    network.train_epoch = slowed  # type: ignore[method-assign]  # of this network alone
    # The device's clock knows nothing of it, and would be found to disagree with the host's.
    network.device_seconds = lambda: None  # type: ignore[method-assign]  # likewise


def work(seconds: float) -> None:
    """Keep the CPU busy for so many seconds."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass
