"""How long blocks take that run side by side, and what follows for those that are to come."""

from __future__ import annotations

from time import monotonic

SHORTEST_S = 1e-3  #: that a block is taken to last


class Times:
    """When the blocks of a run began, and how long those took that are over.

    A block begins when it is given out: what it waits for, such as CPUs, is a part of what it takes. So the mean is over
    blocks, and not over machines: of two machines the faster one makes more of them, by as much as it adds.
    """

    def __init__(self) -> None:
        self.slots = 1  #: blocks that can run at once, as of now
        self.began: dict[int, float] = {}  #: those that run, by their round
        self.took_s: list[float] = []  #: of those that are over

    def begin(self, round_: int) -> None:
        """Note that the block of a round begins, if it has not."""
        self.began.setdefault(round_, monotonic())

    def end(self, round_: int) -> None:
        """Note that all cells of a block are here."""
        if round_ in self.began:
            self.took_s.append(monotonic() - self.began.pop(round_))

    def drop(self, round_: int) -> None:
        """Forget a block that was lost."""
        self.began.pop(round_, None)

    @property
    def given(self) -> int:
        """Blocks that were given out, and not lost."""
        return len(self.began) + len(self.took_s)

    @property
    def block_s(self) -> float | None:
        """What a block takes; None if none is over."""
        return sum(self.took_s) / len(self.took_s) if self.took_s else None

    @property
    def longest_s(self) -> float:
        """What the longest block took, or has taken so far; 0 without any."""
        now = monotonic()
        return max([*self.took_s, *(now - began for began in self.began.values())], default=0.0)

    def fitting(self, seconds: float) -> int:
        """Return how many more blocks end within so many seconds, if each takes as long as those before."""
        block_s = self.block_s or SHORTEST_S
        return sum(max(0, int((seconds - free) / block_s)) for free in self._free_s(block_s))

    def needed_s(self, more: int, block_s: float) -> float:
        """Return seconds until all that run are over, and so many more, each of which takes ``block_s``.

        A place is free within that time, so that the places get equally many of them, but for one.
        """
        free = sorted(self._free_s(block_s))
        each, rest = divmod(more, len(free))
        ends = [free[-1] + each * block_s]
        if rest:
            ends.append(free[rest - 1] + (each + 1) * block_s)
        return max(ends)

    def _free_s(self, block_s: float) -> list[float]:
        """Return after how many seconds each place is free, if blocks take so long; one at least."""
        now = monotonic()
        busy = [max(0.0, block_s - (now - began)) for began in self.began.values()]
        return [*busy, *[0.0] * (max(1, self.slots) - len(busy))]
