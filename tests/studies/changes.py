"""How often are changes of level found that are there, and others that are not? Series drawn from distributions.

``python -m tests.studies.changes`` draws series of log ratios, as ``nnbench history`` has one of each run, with and without a
step, and counts what :mod:`nnbench.figures.changes` finds in them: false alarms in series that do not change, steps that
are found, how often the interval holds the true place, and how often a warning says that neighbours correlate.
"""

from __future__ import annotations

import argparse
import math
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from nnbench.figures import changes
from tests.studies.coverage import show

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Draw = Callable[[np.random.Generator, int], Values]

NOISE = 0.02  #: standard deviation of a log ratio
STEP = math.log(1.05)
BEFORE_FIRST = 50  #: values that a correlated series has behind it when it begins


def normal(rng: np.random.Generator, size: int) -> Values:
    """Draw from a normal distribution."""
    return NOISE * rng.normal(size=size)


def heavy(rng: np.random.Generator, size: int) -> Values:
    """Draw from Student's distribution of three degrees, of the same standard deviation."""
    return NOISE * rng.standard_t(3, size) / math.sqrt(3)


def correlated(rng: np.random.Generator, size: int) -> Values:
    """Draw values of which each has half of the one before in it."""
    values = normal(rng, size + BEFORE_FIRST)
    for number in range(1, len(values)):
        values[number] = 0.5 * values[number - 1] + math.sqrt(0.75) * values[number]
    return values[BEFORE_FIRST:]


DISTRIBUTIONS: tuple[Draw, ...] = (normal, heavy, correlated)


def equal(draw: Draw, count: int, trials: int, seed: int = 0) -> list[str]:
    """Return how often there are changes in what does not change, how often a warning, and one with a false alarm."""
    rng, alarms, warned = np.random.default_rng(seed), [], []
    for _ in range(trials):
        values = draw(rng, count).tolist()
        found = changes.find(values)
        alarms.append(bool(found))
        warned.append(changes.are_correlated(values, found))
    both = [w for w, a in zip(warned, alarms, strict=True) if a]
    return [f"{fmean(alarms):.1%}", f"{fmean(warned):.1%}", f"{fmean(both):.0%}" if both else "–"]


def stepped(draw: Draw, count: int, after: int, trials: int, seed: int = 0) -> list[str]:
    """Return how often a step before the last values is found, whether its interval holds it, and what else is found."""
    rng, place = np.random.default_rng(seed), count - after
    found, held, width, more = 0, 0, 0, 0
    for _ in range(trials):
        values = draw(rng, count)
        values[place:] += STEP
        all_ = changes.find(values.tolist())
        if all_:
            nearest = min(all_, key=lambda change: abs(change.at - place))
            found += 1
            held += nearest.low <= place <= nearest.high
            width += nearest.high - nearest.low + 1
        more += len(all_) > 1
    shares = (found / trials, held / max(found, 1), more / trials)
    texts = [f"{share:.1%}" for share in shares]
    return [*texts[:2], f"{width / max(found, 1):.1f}", texts[2]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    count, trials = options.count, options.trials
    rows = [[draw.__name__, *equal(draw, count, trials)] for draw in DISTRIBUTIONS]
    headings = ["", "false alarms", "warnings", "warnings where there was one"]
    show(f"{count} values that do not change, {trials} series each", headings, rows)
    trials //= 2
    rows = [
        [f"{draw.__name__}, {after} after it", *stepped(draw, count, after, trials)]
        for draw in (normal, heavy)
        for after in (count // 2, 5, 4, 3)
    ]
    headings = ["", "found", "interval holds it", "values in the interval", "others found"]
    title = f"{count} values with a step of {math.expm1(STEP):.0%}, {trials} series each"
    show(title, headings, rows)


if __name__ == "__main__":
    main()
