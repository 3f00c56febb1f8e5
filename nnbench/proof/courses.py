"""Whether a training of which not all is proved lies where that of its seed does.

The reference trains each seed from its own start, once for all of its cells. How far rounding alone takes a
training from there is seen from another one, in float32, which is asked for where it matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnbench.records.judging import Conclude

#: Of a test loss, relative, from that of the seed's own training. Right trainings of five epochs of mnist
#: stray by up to 7e-3, and where rounding moves the reference's own by more, they may by several times that.
EVALUATION, SPREADS = 3e-2, 5.0


def problem(found: Conclude) -> str | None:
    """Say in which epoch a training left that of its seed, or return None."""
    if found.course is None:
        return None
    limit = EVALUATION
    for number, right in enumerate(found.course.evaluations, start=1):
        if right.test_loss is None:
            return None  # from here on, right trainings may come to anything
        if found.rounded:
            spread = _off(found.rounded.evaluations[number - 1].test_loss, right.test_loss)
            if spread is None:
                return None
            limit = max(limit, SPREADS * spread)  # trainings that have parted do not meet again
        if number > found.chosen.whole or number not in found.evaluations:
            continue
        off = _off(found.evaluations[number].test_loss, right.test_loss)
        if off is None or off > limit:
            text = "not finite" if off is None else f"{off:.1e} off that of the seed's own training"
            return f"the test loss after epoch {number} is {text}, more than {limit:.0e}"
    return None


def _off(value: float | None, right: float) -> float | None:
    """Return a relative difference; None where the value is not finite."""
    return None if value is None else abs(value - right) / max(abs(right), 1e-12)
