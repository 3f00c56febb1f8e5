"""Look names up as users type them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeVar

from nnbench.contract.errors import NnbenchError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def find(kind: str, name: str, known: Mapping[str, T]) -> T:
    """Return what a name stands for.

    Raises
    ------
    NnbenchError
        If it is unknown; the message suggests the nearest one.
    """
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise NnbenchError(f"no {kind} named {name!r}; {hint}known: {', '.join(sorted(known))}")
