"""A barrier for threads inside compiled code, which hold no lock of Python's.

Numba has no atomics for CPUs, but LLVM has.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numba.extending
from numba.core import types

from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench_numba.arrays import Integers

SPINS = 2000  #: some microseconds; then another thread may need this CPU

give_way = types.ExternalFunction(
    "SwitchToThread" if os.name == "nt" else "sched_yield", types.int32()
)


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
def meet(arrivals: Integers, threads: int) -> None:
    """Wait until all threads have come here as often as this one.

    They wait by spinning, as a step may take 50 microseconds, less than it takes to wake a thread.
    ``arrivals``, shape (1,), counts them, and is never reset.
    """
    wanted = (fetch_add(arrivals, 1) // threads + 1) * threads
    spins = 0
    while load(arrivals) < wanted:
        if spins < SPINS:
            spins += 1
        else:
            give_way()
