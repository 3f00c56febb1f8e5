"""Say what was expected, what came, and which well-known mistake gives such numbers.

A mistake fits if it explains nearly all of a deviation; the one that explains most is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.testing.report import LIKELY, NOTHING_FITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.floating]
    Named = dict[str, Array]  # arrays of one training by name

TOLERANCE = 1e-4  #: relative, of each array, for float32 backends
SMALLEST_NORM = 1e-3  #: below it, a deviation counts as absolute
UNEXPLAINED = 0.05  #: the share of a deviation that a fitting mistake may leave
EXACT = 1e-3  #: a mistake that leaves less is the one
ALIKE = 10  #: two roundings are alike if their deviations are within this factor
ROUNDING = 0.01  #: a larger relative deviation is no rounding
SHOWN = 3  #: values of an array in a message
NOT_FINITE = "a division by zero, an overflow, or memory that was never set"


class Candidate(NamedTuple):
    """What would have come, had a mistake been made."""

    hint: str
    values: Named
    is_rounding: bool = False  #: only the size of the deviation can be compared


def check(
    what: str, found: Named, expected: Named, candidates: Iterable[Candidate] = ()
) -> str | None:
    """Return a message if an array deviates from what is expected, or else None."""
    return report(what, found, expected, candidates) if deviates(found, expected) else None


def deviates(found: Named, expected: Named) -> bool:
    """Tell whether an array is further off than rounding explains."""
    return any(deviation(found[name], expected[name]) > TOLERANCE for name in expected)


def deviation(found: Array, expected: Array) -> float:
    """Return how far an array is off, relative to its norm."""
    if not np.isfinite(found).all():
        return np.inf
    scale = max(float(np.linalg.norm(expected)), SMALLEST_NORM)
    return float(np.linalg.norm(found - expected)) / scale


def report(what: str, found: Named, expected: Named, candidates: Iterable[Candidate]) -> str:
    """Return a message about arrays that deviate."""
    worst = max(expected, key=lambda name: deviation(found[name], expected[name]))
    hint = explain(join(found, expected), join(expected, expected), candidates, list(expected))
    facts = f"{what}: {describe(worst, found[worst].ravel(), expected[worst].ravel())}"
    return message(facts, hint)


def message(facts: str, hint: str) -> str:
    """Join what was expected and what came with the likely mistake."""
    return f"{facts}. {LIKELY}{hint}"


def describe(name: str, found: Array, expected: Array) -> str:
    """Show a few values of an array from where it is furthest off, and compare its size."""
    first = min(int(np.argmax(np.abs(found - expected))), max(0, expected.size - SHOWN))
    part = slice(first, first + SHOWN)
    where = f"{name}, from value {first} on" if first else name
    sizes = compare_sizes(found, expected)
    return f"{where}: expected {show(expected[part])}, came {show(found[part])}{sizes}"


def show(values: Array) -> str:
    """Write a few values."""
    return "[" + ", ".join(f"{value:.4g}" for value in values.tolist()) + "]"


def compare_sizes(found: Array, expected: Array) -> str:
    """Say how many times too large or too small an array is, if it points the right way."""
    norms = float(np.linalg.norm(found)), float(np.linalg.norm(expected))
    if not np.isfinite(norms[0]) or 0 in norms:
        return ""
    ratio, aligned = norms[0] / norms[1], float(found @ expected) / (norms[0] * norms[1])
    if aligned < 0.99 or abs(ratio - 1) < 0.01:
        return ""
    return f" ({ratio:.3g} times too large)" if ratio > 1 else f" ({1 / ratio:.3g} times too small)"


def explain(
    found: Array, expected: Array, candidates: Iterable[Candidate], names: Sequence[str]
) -> str:
    """Return the hint of the candidate that fits best."""
    if not np.isfinite(found).all():
        return NOT_FINITE
    off = float(np.linalg.norm(found - expected))
    left, fitting, roundings = UNEXPLAINED, "", []
    for hint, arrays, is_rounding in candidates:
        values = join(arrays, names)
        if values.shape != found.shape or not np.isfinite(values).all():
            continue
        if is_rounding:
            roundings.append((hint, float(np.linalg.norm(values - expected))))
        elif (distance := float(np.linalg.norm(found - values)) / off) < left:
            left, fitting = distance, hint
            if distance < EXACT:
                break
    if not fitting and off < ROUNDING * np.linalg.norm(expected):
        fitting = next((h for h, size in roundings if size / ALIKE < off < size * ALIKE), "")
    return fitting or NOTHING_FITS


def join(arrays: Named, names: Iterable[str]) -> Array:
    """Return all values as one vector."""
    return np.concatenate([np.ravel(arrays[name]) for name in names])
