"""Which stretches of a cell are proved where not all of them are.

A stretch that is drawn at random may miss the one that is wrong, so the most suspicious ones are
followed, too: where the parameters moved furthest for their number of steps, as they do where good
ones are put back after a pretence, and where a step took the least time, as it does where work was
left out.
"""

from __future__ import annotations

import math
from random import SystemRandom
from typing import TYPE_CHECKING, NamedTuple, assert_never

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from nnbench.records.cells import ProofMode

FIRST_EPOCH = 1


class Traits(NamedTuple):
    """What is seen of a stretch before it is followed."""

    epoch: int  #: in which it starts, from 1
    steps: int
    train_s: float  #: by the worker's clock
    moved: float  #: norm of what its parameters moved


def choose(stretches: Sequence[Traits], mode: ProofMode, random: Random | None = None) -> list[int]:
    """Return the numbers of the stretches to be proved, in order.

    Parameters
    ----------
    stretches
        All of a cell.
    mode
        ``sampled`` is the whole first epoch, the two most suspicious later stretches, and one more.
    random
        Draws that one; by default as nobody can foresee.
    """
    match mode:
        case "off":
            return []
        case "full":
            return list(range(len(stretches)))
        case "sampled":
            return _sample(stretches, random or SystemRandom())
        case _:
            assert_never(mode)


def _sample(stretches: Sequence[Traits], random: Random) -> list[int]:
    later = [i for i, each in enumerate(stretches) if each.epoch > FIRST_EPOCH]
    chosen = set(range(len(stretches))) - set(later)
    for key in (_leap, _haste):
        if later:
            found = max(later, key=lambda i: key(stretches[i]))
            chosen.add(found)
            later.remove(found)
    if later:
        chosen.add(random.choice(later))
    return sorted(chosen)


def _leap(stretch: Traits) -> float:
    """How far the parameters moved, where steps in random directions add up as their root."""
    leap = stretch.moved / math.sqrt(stretch.steps)
    return leap if math.isfinite(leap) else math.inf


def _haste(stretch: Traits) -> float:
    return -stretch.train_s / stretch.steps
