"""What does it cost a backend to train in parts, and after others? Its parts beside epochs of one call.

``python -m tests.studies.cold_parts --rounds 6`` trains each backend beside another one, with a schedule of its own: an
epoch is, as a coin falls, one call, or has parts as in any run; before a part of it the other backend trains one, or it
does not. Everything is in one cell, in an order that is drawn, so that what comes and goes on the machine meets all three alike.
Lead-ins are left out, as in any figure; what they lose is said apart. It writes ``results/turns/cold_parts.json``.
"""

from __future__ import annotations

import argparse
import tempfile
from math import log
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from nnbench import catalog
from nnbench.execution import cell, turns
from nnbench.execution.assignment import Assignment
from nnbench.figures import statistics
from nnbench.runs import schedule, store
from tests.studies import conditions, proofs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nnbench.records.cells import CellResult

NAME = "cold_parts"
KINDS = ("epoch", "warm", "cold")  #: a turn's number says which, modulo their count
COLD_AFTER, ELSE_AFTER = "torch-eager", "numpy"  #: what trains before a cold part


def main() -> None:
    """Run, print, and write."""
    known = catalog.backends().items()
    able = [n for n, each in known if not (each.named_only or catalog.why_unavailable(each))]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--workload", default="mnist")
    parser.add_argument("--backends", nargs="+", default=able)
    options = parser.parse_args()
    found = {}
    for backend in options.backends:
        found[backend] = describe(run(backend, options))
        print(f"{backend}: {found[backend]}", flush=True)  # noqa: T201 - a script
        asked = {"workload": options.workload, "epochs": options.epochs, "lead_s": cell.LEAD_S}
        proofs.write(NAME, {**asked, "backends": found}, folder="turns")


class Schedule:
    """Says who trains next, and how much of an epoch, in the place of what a run does."""

    def __init__(self, measured: str) -> None:
        self.measured = measured
        self._random = Random(measured)
        self._draw = Assignment.draw
        self._kind: str | None = None  # of the part that the measured backend trains now
        self._starts_epoch = True

    def take(self, seats: Iterable[Any], numbers: Iterator[int]) -> Iterator[tuple[Any, int]]:
        """Yield who trains next, until the backend that is measured has finished."""
        other, *found = sorted(seats, key=lambda seat: seat.spec.label == self.measured)
        own = found[0] if found else other
        while own.goes_on and found:  # the budget leaves it out of further blocks
            kind = self._random.choice(KINDS[1:])
            if self._starts_epoch and self._random.random() < 0.5:
                kind = "epoch"
            if kind == "cold" and not other.goes_on:
                kind = "warm"
            number = len(KINDS) * next(numbers)
            if kind == "cold":
                yield other, number
            self._kind = kind
            yield own, number + KINDS.index(kind)
            self._kind = None

    def draw(self, task: Assignment, position: int, *limits: Any) -> int:
        """Return how many examples the next part has: the rest of an epoch, or as many as in any run."""
        left = task.examples - position % task.examples
        images = left if self._kind == "epoch" else self._draw(task, position, *limits)
        if self._kind:
            self._starts_epoch = images == left
        return images


def run(backend: str, options: argparse.Namespace) -> list[CellResult]:
    """Train a backend beside another one, and return its cells."""
    ours = Schedule(backend)

    def draw(task: Assignment, *given: Any) -> int:
        return ours.draw(task, *given)

    other = ELSE_AFTER if backend == COLD_AFTER else COLD_AFTER
    asked = [backend, other], options.workload, options.rounds
    plan = conditions.plan(*asked, epochs=options.epochs)
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(turns, "take", ours.take),
        mock.patch.object(Assignment, "draw", draw),
    ):
        folder = Path(name) / "run"
        schedule.run(plan, folder, lambda _: None)
        return [each for each in store.read_cells(folder) if each.backend == backend]


class Timed(NamedTuple):
    """A call after its lead-in, and what that lost, each in seconds."""

    seconds: float
    images: int
    lead_s: float
    lead_images: int


def describe(cells: Sequence[CellResult]) -> dict[str, Any]:
    """Return how parts compare with epochs of one call, with 95% intervals over the cells, and what lead-ins lose."""
    times = [found for each in cells if all((found := by_kind(each)).values())]
    rates = [
        {kind: median(t.seconds / t.images for t in each[kind]) for kind in KINDS} for each in times
    ]
    lost = [
        timed.lead_s - timed.lead_images * rate["epoch"]
        for rate, each in zip(rates, times, strict=True)
        for timed in each["cold"]
    ]
    return {
        "cells": len(times),
        "part_s": median(t.seconds for each in times for t in each["warm"]),
        "parts": {kind: sum(len(each[kind]) for each in times) for kind in KINDS},
        "warm": against(rates, "warm", "epoch"),
        "cold": against(rates, "cold", "epoch"),
        "lead_s": median(t.lead_s for each in times for t in each["cold"]),
        "lead_lost_s": median(lost),
    }


def by_kind(result: CellResult) -> dict[str, list[Timed]]:
    """Return the calls of each kind, but for the first one, which loads."""
    found: dict[str, list[Timed]] = {kind: [] for kind in KINDS}
    for epoch in result.epochs:
        for part in epoch.parts:
            if part.turn not in {None, 0, 1, 2}:
                rest = part.train_s - part.lead_s, part.images - part.lead_images
                found[KINDS[part.turn % len(KINDS)]].append(
                    Timed(*rest, part.lead_s, part.lead_images)
                )
    return found


def against(rates: Sequence[dict[str, float]], kind: str, other: str) -> dict[str, float | None]:
    """Return the median ratio of two kinds of calls, with its interval."""
    found = statistics.compare([log(rate[kind] / rate[other]) for rate in rates])
    low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
    return {"ratio": found.ratio, "low": low, "high": high}


if __name__ == "__main__":
    main()
