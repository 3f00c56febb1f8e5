"""How Numba compiles this package: once, for every network."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of all modules here. Numba's cache looks at a function's own file only, so a change in another
#: module, whose functions it calls, would go unnoticed.
SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()[:16]

DISPATCHERS: list[Any] = []  #: all functions that are compiled


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, from Numba's cache if there is a place for one.

    The flags allow sums in another order and fused multiply-adds, as BLAS has them, but no
    approximate division or root, and they keep infinities and NaN.
    """
    compile_with = partial(
        numba.njit, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy", nogil=True
    )
    function.__qualname__ += f"_{SOURCES}"  # which names the file in the cache
    try:
        dispatcher = compile_with(cache=True)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache can it write
        dispatcher = compile_with()(function)
    DISPATCHERS.append(dispatcher)
    return dispatcher


def compilations() -> int:
    """Count what was compiled, or loaded from the cache, in this process."""
    return sum(len(dispatcher.signatures) for dispatcher in DISPATCHERS)
