"""How many images of the test split ``predict`` gets at the end of an epoch: all, if there is time for that.

Accuracy needs none of it, since a judge computes that from the parameters. What ``predict`` gives is timed, and held
against them: a fast backend's whole, of a slow one as many images as fit into its budget. Which ones, the cell draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW = 50  #: images that tell how long all would take
TRIES = 2  #: of these: in the first one something may compile


@dataclass
class Evaluations:
    """What the evaluations of a cell may take, and have taken."""

    images: int  #: of the test split
    budget_s: float  #: for all of them together
    spent_s: float = 0.0
    image_s: float | None = None  #: seconds an image, when some were last predicted

    def counts(self) -> Iterator[int]:
        """Yield how many images to ask for in one evaluation, which takes half of what is left at most.

        The last number, the largest, is what counts; those before it are there to see. Between two, whoever asks
        tells :meth:`note` how long it took. There is one image at least, however slow.
        """
        until, asked = self.spent_s + self.left_s / 2, 0
        for _ in range(TRIES if self.image_s is None else 0):
            asked = min(FEW, self.images)
            yield asked
            if max(asked, self._room(until)) >= self.images or self.spent_s >= until:
                break
        while (room := self._room(until)) > asked:  # again, if it was taken for slower than it is
            asked = room
            yield room

    def note(self, images: int, seconds: float) -> None:
        """Take in how long some images took."""
        self.spent_s += seconds
        self.image_s = seconds / images

    @property
    def left_s(self) -> float:
        """What further evaluations may take."""
        return max(0.0, self.budget_s - self.spent_s)

    def _room(self, until: float) -> int:
        """Return how many images fit until then at the latest pace."""
        fitting = (until - self.spent_s) / max(self.image_s or 0.0, 1e-9)
        return max(1, min(self.images, int(fitting)))
