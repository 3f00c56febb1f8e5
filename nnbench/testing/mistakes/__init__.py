"""Well-known mistakes, made on purpose: the float64 reference with one piece replaced.

What a backend got wrong is named by the mistake that gives its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.testing.mistakes import backprop, batches, updates
from nnbench.testing.mistakes.training import HALF, RIGHT, Outcome, Training, added

if TYPE_CHECKING:
    from nnbench.testing.problems import Problem

__all__ = ["HALF", "RIGHT", "Outcome", "Training", "added", "known"]


def known(problem: Problem) -> list[Training]:
    """Return every mistake that could be made on a problem.

    Of those that give the same numbers the first is named, so the narrower ones come first.
    """
    return [
        *updates.MISTAKES,
        *backprop.MISTAKES,
        *batches.mistakes(problem.batch_size),
    ]
