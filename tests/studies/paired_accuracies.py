"""How far apart are right backends? ``python -m tests.studies.paired_accuracies RUN…``

Prints for each run of MNIST how far accuracies of the same round are apart, in images and in noises
(``nnbench.figures.accuracies``), and what the verdicts are. Then how often there is a finding between
trainings of different seeds, which are further apart than rounding brings those of one seed: pairs are
drawn from the rounds of the longest run's baseline. Exits with 1 if right backends were further apart
than the floor, or if different seeds make more findings than ``accuracies.CERTAINTY`` allows.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnbench.figures import accuracies
from nnbench.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnbench.figures.accuracies import Pair
    from nnbench.records.cells import CellResult

TEST_IMAGES = 10_000  #: of MNIST; published runs do not say
TRIALS = 20_000
ROUNDS = (1, 2, 3, 5, 10, 20)


def main() -> None:
    """Print both, and judge."""
    folders = list(map(Path, sys.argv[1:]))
    furthest = max(map(study, folders))
    print(f"furthest: {furthest:.3f} noises; floor: {accuracies.FLOOR:.3f}")  # noqa: T201 - a script
    base = max((next(sides(folder)) for folder in folders), key=len)
    shares = [strangers(base, rounds) for rounds in ROUNDS]
    sys.exit(furthest > accuracies.FLOOR or max(shares) > 1 - accuracies.CERTAINTY)


def study(folder: Path) -> float:
    """Print a line for a run, and return how far its backends are from the baseline at most."""
    base, *others = sides(folder)
    compared = [pairs for other in others if (pairs := accuracies.pair(other, base))]
    found = list(map(noises, (pair for pairs in compared for pair in pairs)))
    verdicts = [accuracies.compare(pairs, accuracies.CERTAINTY).verdict for pairs in compared]
    images = max(abs(each) for each, _ in found)
    most = max(abs(each) for _, each in found)
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    apart = f"{images:.0f} images or {most:.3f} noises at most"
    print(f"{folder}: {len(found)} pairs, {apart}; {counts}")  # noqa: T201 - a script
    return most


def sides(folder: Path) -> Iterator[list[CellResult]]:
    """Yield the cells of the baseline, and then those of each other backend."""
    run = Run.open(folder)
    for name in sorted(run.groups, key=lambda name: name != run.info.baseline):
        yield [replace(cell, test_images=TEST_IMAGES) for cell in run.of(name)]


def noises(pair: Pair) -> tuple[float, float]:
    """Return how far apart a pair is, in images and in noises."""
    found = accuracies.compare([pair])
    noise = found.floor / accuracies.FLOOR
    return found.mean * TEST_IMAGES, found.mean / noise


def strangers(base: list[CellResult], rounds: int) -> float:
    """Print and return the share of findings between trainings of seeds that are drawn anew for each."""
    rng = random.Random(0)
    verdicts = [
        accuracies.compare(
            list(zip(rng.choices(base, k=rounds), rng.choices(base, k=rounds), strict=True)),
            accuracies.CERTAINTY,
        ).verdict
        for _ in range(TRIALS)
    ]
    share = sum(verdict in accuracies.FINDINGS for verdict in verdicts) / TRIALS
    print(f"different seeds, {rounds} rounds: {share:.3%} of {TRIALS:,} are findings")  # noqa: T201 - a script
    return share


if __name__ == "__main__":
    main()
