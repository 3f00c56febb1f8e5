"""How the backends of a run stand while it goes on: what its tables would say, and what is only provisional.

Of two blocks or more a ratio and its interval are those of the tables. Before that there is nothing but the turns
of a single block. All of them share the same processes, so what another process may be off by, which is the
machine's noise floor, is added to their interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from nnbench.figures.metrics import TRAINING, speedup
from nnbench.records.cells import CellResult, Epoch, Status
from nnbench.records.events import EpochFinished, Failed, Finished, Progress, Ready

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnbench.figures.frames import Group
    from nnbench.records.cells import CellSpec, Part
    from nnbench.records.events import Event
    from nnbench.records.runs import RunInfo

    Pair = tuple[CellResult, CellResult]


@dataclass
class UnderWay:
    """An attempt at a cell of the block that runs, as far as its events tell."""

    spec: CellSpec
    ready: Ready | None = None
    latest: Progress | None = None
    ended: Finished | Failed | None = None
    parts: list[Part] = field(default_factory=list)

    def take_in(self, event: Event) -> None:
        """Take in what its worker has sent."""
        match event:
            case Ready():
                self.ready = event
            case Progress(parts=parts):
                self.latest = event
                self.parts += parts
            case Finished() | Failed():
                self.ended = event
            case EpochFinished():  # of which all parts were there before
                pass

    @property
    def share(self) -> float:
        """How much of its training is done: of its images, or of its budget."""
        if self.ended:
            return 1.0
        if self.ready is None or self.latest is None:
            return 0.0
        images = self.ready.setup.epoch_images * self.spec.workload.epochs
        return min(1.0, max(self.latest.images / images, self.latest.train_s / self.spec.budget_s))

    @property
    def result(self) -> CellResult:
        """What there would be of it if it ended now."""
        ready, latest = self.ready, self.latest
        epoch = latest and Epoch(
            number=latest.epoch,
            images=latest.images,
            train_s=latest.train_s,
            losses=[],
            test_loss=None,
            accuracy=None,
            evaluate_s=None,
            parts=self.parts,
        )
        return CellResult(
            backend=self.spec.label,
            workload=self.spec.workload.name,
            round=self.spec.round,
            seed=self.spec.seed or 0,
            threads=self.spec.threads,
            position=0,
            started="",
            wall_s=0.0,
            status=self.ended.status if isinstance(self.ended, Failed) else Status.OK,
            setup=ready.setup if ready else None,
            epochs=[epoch] if epoch else [],
            precision=ready.precision if ready else "float32",
        )


class Standing(NamedTuple):
    """How a backend compares with the baseline so far; the names are those of the tables' columns."""

    backend: str
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    rounds: int = 0  #: that were judged, and can be compared
    turns: int = 0  #: of one round alone, if the ratio is of those, and provisional
    no_rank: str = ""  #: why it is compared no more

    @property
    def speedup(self) -> float | None:
        """How many times as fast it is as the baseline."""
        return speedup(self.ratio)

    @property
    def speedup_low(self) -> float | None:
        """The lower end of that."""
        return speedup(self.ratio_high)

    @property
    def speedup_high(self) -> float | None:
        """And the upper one."""
        return speedup(self.ratio_low)


def standings(
    info: RunInfo, groups: Mapping[str, Group], block: Mapping[str, Sequence[CellResult]]
) -> list[Standing]:
    """Put the backends of a run into the order of their ratios; last those that have none.

    Parameters
    ----------
    info
        What was asked of the run.
    groups
        Of what was judged so far, as ``nnbench.figures.frames.groups`` makes them.
    block
        The attempts at each cell of the block that runs, by backend.
    """
    now = {label: _group(attempts) for label, attempts in block.items() if attempts}
    found = [_standing(info, label, groups, now) for label in info.backends]
    return sorted(found, key=lambda each: math.inf if each.ratio is None else each.ratio)


def _group(attempts: Sequence[CellResult]) -> Group:
    """Return the attempts at a cell of the block that runs, as if all that trains on were right."""
    from nnbench.figures.frames import Group

    first, *others = attempts
    obstacle = "" if first.status is Status.OK else first.status.value
    further = [each for each in others if each.status is Status.OK]
    return Group([first], [None], [], [obstacle], obstacle, further=further)


def _standing(
    info: RunInfo, label: str, groups: Mapping[str, Group], now: Mapping[str, Group]
) -> Standing:
    from nnbench.figures import frames

    group = groups.get(label)
    obstacles = [each.obstacle for each in (group, now.get(label)) if each]
    if no_rank := next(filter(None, obstacles), ""):
        return Standing(label, no_rank=no_rank)
    if info.proof == "off":
        return Standing(label, no_rank=frames.NOT_PROVED)
    pairs: list[Pair] = []
    if group and info.baseline in groups:
        found = frames.compare(info, group, groups[info.baseline])
        if found and found.pairs > 1:
            interval = found.interval if label != info.baseline else None
            low, high = (interval.low, interval.high) if interval else (None, None)
            return Standing(label, found.ratio, low, high, rounds=found.pairs)
        pairs += frames.paired(group, groups[info.baseline])
    judged = len(pairs)
    if label in now and info.baseline in now:
        pairs += frames.paired(now[label], now[info.baseline])
    return _provisional(info, label, pairs, judged)


def _provisional(info: RunInfo, label: str, pairs: Sequence[Pair], judged: int) -> Standing:
    """Return what the turns of one block say: of several blocks that of which there are more."""
    import numpy as np

    from nnbench.figures import statistics

    shared = [(TRAINING.turn_log_ratios(*pair), pair) for pair in pairs]
    logs, pair = max(shared, key=lambda each: len(each[0]), default=([], None))
    ratio = TRAINING.log_ratio(*pair) if pair else None
    if pair is None or ratio is None or (pair[0].took_turns and not logs):
        return Standing(label)  # nothing yet that it could be held against
    middle = math.exp(ratio)
    if label == info.baseline:
        logs = []
    interval, reach = statistics.interval(np.asarray(logs)), 1 + info.noise_floor
    if interval is None:
        return Standing(label, middle, rounds=judged, turns=len(logs))
    low, high = min(middle, interval.low) / reach, max(middle, interval.high) * reach
    return Standing(label, middle, low, high, rounds=judged, turns=len(logs))
