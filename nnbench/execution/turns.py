"""How the cells of a block take turns: part by part, in an order that nobody can foresee.

In a turn each backend that has not finished trains a part, or some short ones, so that what comes and goes on a machine
meets all of them alike. One worker runs at a time, the others are stopped.
"""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TURN_S = 0.01  #: of training at least, or a part; longer turns are fewer, and say less
RANDOM = SystemRandom()


class Trainee(Protocol):
    """What takes turns."""

    @property
    def goes_on(self) -> bool:
        """Whether it has another part to train."""

    @property
    def spent_s(self) -> float:
        """Seconds on training so far."""


T = TypeVar("T", bound=Trainee)


def take(trainees: Iterable[T], numbers: Iterator[int]) -> Iterator[tuple[T, int]]:
    """Yield who is to train a part, and in which turn, until all have finished.

    Parameters
    ----------
    trainees
        Whoever gets them trains one part of each before the next one is taken.
    numbers
        Of the turns to come.
    """
    everyone = list(trainees)
    while going := [each for each in everyone if each.goes_on]:
        turn = next(numbers)
        RANDOM.shuffle(going)
        for each in going:
            before, parts = each.spent_s, 0
            while each.goes_on and not is_over(each.spent_s - before, parts):
                yield each, turn
                parts += 1


def is_over(seconds: float, parts: int) -> bool:
    """Tell whether a turn is over for one who has trained so many parts: another would lead further away."""
    return parts > 0 and seconds * (1 + 0.5 / parts) >= TURN_S
