"""What a worker did when it was asked, as it says and as it is seen from outside; and what parts and epochs have of that."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnbench.execution import pauses
from nnbench.execution.energy import Counters, Energy
from nnbench.execution.tree import own_wait_s
from nnbench.records.cells import Epoch, Part
from nnbench.records.worker import Trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.execution import process
    from nnbench.records.judging import Evaluation
    from nnbench.records.worker import State

PASSING_S = 0.1  #: that whoever copies out a state may wait for a CPU; beyond that it is work


class Piece(NamedTuple):
    """What a timed call did in one epoch: fields of an epoch, which has their sums."""

    images: int
    train_s: float
    losses: list[float | None]
    calls: int
    cpu_s: float
    involuntary_switches: int
    waited_s: float | None
    steal_s: float
    compilations: int
    device_s: float | None  #: by the device's own clock


def share_out(trained: Trained, images: Sequence[int], batch_size: int) -> list[Piece]:
    """Share a timed call out among its epochs: times by images, what can't be shared to the last."""
    losses = [finite_or_none(loss) for loss in np.frombuffer(trained.losses, np.float32).tolist()]
    pieces = []
    for number, count in enumerate(images, start=1):
        share, is_last = count / sum(images), number == len(images)
        steps = -(-count // batch_size)
        pieces.append(
            Piece(
                images=count,
                train_s=trained.train_s * share,
                losses=losses[:steps],
                calls=int(is_last),
                cpu_s=trained.cpu_s * share,
                involuntary_switches=trained.involuntary_switches if is_last else 0,
                waited_s=_times(trained.waited_s, share),
                steal_s=trained.steal_s * share,
                compilations=trained.compilations if is_last else 0,
                device_s=_times(trained.device_s, share),
            )
        )
        losses = losses[steps:]
    return pieces


def _times(value: float | None, share: float) -> float | None:
    return None if value is None else value * share


def _plus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value + other


def after(lead: Trained, rest: Trained) -> Trained:
    """Return what a lead-in and the rest of its part come to, as one call."""
    return Trained(
        train_s=lead.train_s + rest.train_s,
        load_s=lead.load_s,
        losses=lead.losses + rest.losses,
        cpu_s=lead.cpu_s + rest.cpu_s,
        involuntary_switches=lead.involuntary_switches + rest.involuntary_switches,
        waited_s=_plus(lead.waited_s, rest.waited_s),
        steal_s=lead.steal_s + rest.steal_s,
        compilations=lead.compilations + rest.compilations,
        device_s=_plus(lead.device_s, rest.device_s),
    )


def _since(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else max(0.0, now - before)


def finite_or_none(value: float) -> float | None:
    """Return a Python float of nine digits, all that float32 has; None for NaN and infinity."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


class Used(NamedTuple):
    """What a worker used while it did what it was asked, as it is seen from outside."""

    wall_s: float  #: the way there and back included
    late_s: float | None  #: nnbench itself waited for a CPU, until the worker was stopped
    waited_s: float | None  #: all threads of the worker did
    cpu_s: float | None  #: of all its processes
    threads: int | None  #: that have computed, as far as that was seen
    energy: Energy = Energy()

    @property
    def alone_s(self) -> float | None:
        """How long it would have taken if nobody had waited for a CPU, for longer than one does in passing."""
        if self.late_s is None or self.waited_s is None:
            return None
        return max(0.0, self.wall_s - self.late_s - min(self.waited_s, PASSING_S))


class Meter:
    """Measures what a worker uses, from the moment it is let go on until it is stopped again.

    Parameters
    ----------
    worker
        It need not be stopped yet.
    counters
        Of the energy that it uses; without them that is not counted.
    """

    def __init__(self, worker: process.Worker, counters: Counters | None = None) -> None:
        worker.stop()
        self._worker, self._before = worker, worker.tree.count()
        worker.watch.counts.clear()
        self._counters = counters or Counters()
        self._counters.begin()
        pauses.begin_call()
        worker.go_on()
        self._own_wait_s, self._start = own_wait_s(), perf_counter()

    def stop(self) -> Used:
        """Stop the worker, and return what it has used."""
        wall_s = perf_counter() - self._start
        self._counters.pause()
        self._worker.stop()
        before, after = self._before, self._worker.tree.count()
        # Threads that end with a call are seen by whoever looked during it.
        seen = (count.computing(before) for count in (after, *self._worker.watch.counts))
        used = Used(
            wall_s=wall_s,
            late_s=_since(self._own_wait_s, own_wait_s()),
            waited_s=_since(before.waited_s, after.waited_s),
            cpu_s=_since(before.cpu_s, after.cpu_s),
            threads=next(filter(None, seen), None),
        )
        return used._replace(energy=self._counters.end())  # which may wait


class Call(NamedTuple):
    """A timed call, and the state after it."""

    counts: list[tuple[int, int]]  #: epochs that it lies in, and how many of its images each has
    trained: Trained
    lead_images: int
    lead_s: float
    state: State
    used: Used
    dump: Used

    def parts(self, sha256: str, turn: int | None) -> list[Part]:
        """Return what each epoch has of it, in a turn of its block; the last one ends at the cut."""
        images = [count for _, count in self.counts]
        parts = []
        for count in images:
            share = count / sum(images)
            parts.append(
                Part(
                    images=count,
                    train_s=self.trained.train_s * share,
                    turn=turn,
                    wall_s=self.used.wall_s * share,
                    late_s=_times(self.used.late_s, share),
                    waited_s=_times(self.used.waited_s, share),
                    cpu_s=_times(self.used.cpu_s, share),
                    threads=self.used.threads,
                    cpu_j=_times(self.used.energy.cpu_j, share),
                )
            )
        parts[-1] = replace(
            parts[-1],
            lead_images=self.lead_images,
            lead_s=self.lead_s,
            state=sha256,
            optimizer_steps=self.state.steps,
            dump_s=self.dump.alone_s,
            dump_cpu_s=self.dump.cpu_s,
        )
        return parts


class Sample(NamedTuple):
    """Images of the test split, and what ``predict`` gave for them."""

    images: bytes | None  #: int64, as they were drawn; None is the whole split
    size: int
    logits: bytes
    evaluate_s: float  #: of the whole split, at their pace


@dataclass
class Course:
    """An epoch under way."""

    number: int
    pieces: list[Piece] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def add(self, piece: Piece, part: Part) -> None:
        """Take in what a timed call did in it."""
        self.pieces.append(piece)
        self.parts.append(part)

    def epoch(self, evaluation: Evaluation, sample: Sample | None) -> Epoch:
        """Join the pieces of an epoch and its evaluation; what one does not know is unknown."""
        columns = zip(Piece._fields, zip(*self.pieces, strict=True), strict=True)
        sums: dict[str, Any] = {
            n: None if None in each else reduce(add, each) for n, each in columns
        }
        return Epoch(
            number=self.number,
            parts=self.parts,
            test_loss=evaluation.test_loss,
            accuracy=evaluation.accuracy,
            evaluate_s=sample and sample.evaluate_s,
            predicted_images=sample and sample.size,
            **sums,
        )
