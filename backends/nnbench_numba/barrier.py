"""A barrier for threads inside compiled code, which hold no lock of Python's.

Numba has no atomics for CPUs, but LLVM has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba.extending
import numpy as np
from numba.core import types

from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SPINS = 200_000  #: some fifty microseconds, half a step; then another thread may need this CPU
NAP_US = 10

usleep: Any = types.ExternalFunction("usleep", types.int32(types.uint32))  # of the C library

# untyped here: its type has callers pass the typing context, too
intrinsic: Callable[[Any], Any] = numba.extending.intrinsic


def first(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return a pointer to the first number of an array, the first of the arguments."""
    return context.make_array(signature.args[0])(context, builder, arguments[0]).data


@intrinsic
def fetch_add(_: Any, array: Any, value: Any) -> Any:
    """Add to an array's first number, and return what it was, in one piece."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = first(context, builder, signature, arguments)
        return builder.atomic_rmw("add", at, arguments[1], "seq_cst")

    return types.int64(array, value), generate


@intrinsic
def load(_: Any, array: Any) -> Any:
    """Return an array's first number as other threads left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = first(context, builder, signature, arguments)
        return builder.load_atomic(at, "seq_cst", align=8)

    return types.int64(array), generate


@compiled
def meet(arrivals: NDArray[np.int64], threads: int) -> None:
    """Wait until all threads have come here as often as this one.

    They wait by spinning, as that is shorter than it takes to wake a thread, and then sleep: where
    others use the CPUs, a thread that only yields waits for their whole time slices. ``arrivals``,
    shape (1,), counts how often threads have come, and is never reset.
    """
    wanted = (fetch_add(arrivals, 1) // threads + 1) * threads
    spins = 0
    while load(arrivals) < wanted:
        spins += 1
        if spins > SPINS:
            usleep(np.uint32(NAP_US))
