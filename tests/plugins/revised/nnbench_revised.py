"""Backends that NNBENCH_TEST_REVISION changes, as a commit would: base, or head."""

from __future__ import annotations

import os
import time

import numpy as np

from nnbench import Backend, hookimpl
from nnbench_numpy.network import NumpyNetwork

IS_HEAD = os.environ.get("NNBENCH_TEST_REVISION") == "head"


class Slowed(NumpyNetwork):
    """Sleeps in every step of head."""

    def update(self) -> None:
        if IS_HEAD:
            time.sleep(0.002)
        super().update()


class Broken(NumpyNetwork):
    """Climbs in head."""

    def update(self) -> None:
        if IS_HEAD:
            np.negative(self._gradients, out=self._gradients)
        super().update()


class Crashing(NumpyNetwork):
    """Raises in head."""

    def update(self) -> None:
        if IS_HEAD:
            raise RuntimeError("not today")
        super().update()


@hookimpl
def nnbench_backends():
    lasting = [("steady", NumpyNetwork), ("slowed", Slowed), ("broken", Broken)]
    passing = ("added", NumpyNetwork) if IS_HEAD else ("removed", NumpyNetwork)
    networks = [*lasting, ("crashing", Crashing), passing]
    return [Backend(name=name, summary="revised", create=create) for name, create in networks]
