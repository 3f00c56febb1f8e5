"""How often are the intervals right? Log ratios whose centre is known, drawn from distributions.

``python -m tests.studies.coverage`` draws a block's log ratios anew in each trial and counts how often the 95%
interval holds the centre. Where the centre is that of equal backends, the other trials are false
alarms. ``--detect`` looks at each block, and stops when there is a verdict. It takes the intervals from ``nnbench.figures.statistics``, and holds them against the percentile
bootstrap of the median, which nnbench had from six pairs on. Every table is the same each time (``--seed``).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.figures import statistics
from nnbench.records.runs import DEFAULT_TURN_FLOOR
from nnbench.runs.detection import MOST_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Draw = Callable[[np.random.Generator, int], Values]

NOISE = 0.01  #: a standard deviation, of what the distributions are multiples of
PAIRS = (2, 3, 4, 6, 9, 10, 20)


def normal(rng: np.random.Generator, size: int) -> Values:
    """Draw what theory likes best."""
    return NOISE * rng.normal(size=size)


def heavy(rng: np.random.Generator, size: int) -> Values:
    """Draw from Student's distribution of three degrees: now and then one is far away."""
    return NOISE * rng.standard_t(3, size)


def contaminated(rng: np.random.Generator, size: int) -> Values:
    """Draw one in ten from a distribution ten times as wide, as if something else had run."""
    return normal(rng, size) * np.where(rng.random(size) < 0.1, 10, 1)


def grouped(rng: np.random.Generator, size: int) -> Values:
    """Draw the difference of two processes, of which three in ten got a place that costs 3%."""
    ones, others = rng.binomial(1, 0.3, (2, size)).astype(np.float64)
    both: Values = normal(rng, size) + 0.03 * (ones - others)
    return both


DISTRIBUTIONS: tuple[Draw, ...] = (normal, heavy, contaminated, grouped)


def covered(draw: Draw, pairs: int, trials: int, seed: int) -> float:
    """Return the share of trials whose interval holds the centre."""
    rng = np.random.default_rng(seed)
    intervals = (statistics.interval(draw(rng, pairs)) for _ in range(trials))
    return float(np.mean([i is not None and i.low <= 1 <= i.high for i in intervals]))


def covered_by_bootstrap(draw: Draw, pairs: int, trials: int, seed: int) -> float:
    """Return the same of the percentiles of resampled medians."""
    rng = np.random.default_rng(seed)
    ends = (
        np.quantile(statistics.resampled_medians(draw(rng, pairs), rng), [0.025, 0.975])
        for _ in range(trials)
    )
    return float(np.mean([low <= 0 <= high for low, high in ends]))


def covered_apart(draw: Draw, values: int, trials: int, seed: int) -> float:
    """Return the same of two samples that are no pairs, as ``nnbench compare`` has them."""
    rng = np.random.default_rng(seed)
    samples = (np.exp(draw(rng, 2 * values)).reshape(2, values).tolist() for _ in range(trials))
    intervals = (statistics.ratio_of_medians(*sample) for sample in samples)
    return float(np.mean([i is not None and i.low <= 1 <= i.high for i in intervals]))


class Sought(NamedTuple):
    """What came of trials that looked for a difference until there was a verdict."""

    verdicts: Counter[str]
    covered: float  #: share of trials whose interval held the centre, where they stopped
    rounds: float  #: on average
    most: float  #: that 19 of 20 trials took at most


def seek(
    draw: Draw, ratio: float, detect: float, noise: float, trials: int, seed: int = 0
) -> Sought:
    """Look for a difference after each block, as ``--detect`` does, with a noise of so much a pair."""
    rng = np.random.default_rng(seed)
    verdicts, rounds, held = Counter[str](), [], 0
    for _ in range(trials):
        logs = (math.log(ratio) + noise / NOISE * draw(rng, MOST_ROUNDS)).tolist()
        for n in range(1, MOST_ROUNDS + 1):
            found = statistics.compare(logs[:n], DEFAULT_TURN_FLOOR, detect)
            if found.verdict != "inconclusive":
                break
        verdicts[found.verdict] += 1
        rounds.append(n)
        held += found.interval is not None and found.interval.low <= ratio <= found.interval.high
    return Sought(verdicts, held / trials, fmean(rounds), float(np.quantile(rounds, 0.95)))


def show(title: str, headings: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """Print a table as Markdown."""
    lines = [list(map(str, row)) for row in (headings, *rows)]
    lines.insert(1, ["---", *["---:"] * (len(lines[0]) - 1)])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    sys.stdout.write(f"{title}:\n\n{text}\n\n")


def report_intervals(trials: int, seed: int) -> None:
    """Print how often intervals hold the centre."""

    def row(name: str, count: Callable[..., float], pairs: int, trials: int) -> list[str]:
        shares = (count(draw, pairs, trials, seed) for draw in DISTRIBUTIONS)
        return [f"{pairs} {name}", *(f"{share:.1%}" for share in shares)]

    rows = [row("pairs", covered, pairs, trials) for pairs in PAIRS]
    rows += [
        row("pairs, bootstrap of the median", covered_by_bootstrap, pairs, trials // 4)
        for pairs in (6, 7, 10)
    ]
    rows += [row("values of each run, no pairs", covered_apart, n, trials // 4) for n in (3, 6, 10)]
    error = 1.96 * math.sqrt(0.95 * 0.05 / trials)
    title = f"Intervals that hold the centre, of {trials}, ± {error:.1%}, and of {trials // 4}, ± {2 * error:.1%}"
    show(title, ["", *(draw.__name__ for draw in DISTRIBUTIONS)], rows)


def report_sought(trials: int, seed: int) -> None:
    """Print how often verdicts are right that were waited for, and how long they took."""
    rows = []
    for detect, noise in ((0.03, 0.01), (0.03, 0.012), (0.03, 0.02), (0.02, 0.012)):
        for draw in DISTRIBUTIONS:
            equal, slower = (
                seek(draw, ratio, detect, noise, trials, seed) for ratio in (1.0, 1 + detect)
            )
            alarms = equal.verdicts["slower"] + equal.verdicts["faster"]
            found = slower.verdicts["slower"]
            shares = (alarms, found, slower.verdicts["same"])
            covered = min(equal.covered, slower.covered)
            took = (f"{each.rounds:.1f} ({each.most:.0f})" for each in (equal, slower))
            rows.append(
                [
                    f"{detect:.0%} at {noise:.1%}, {draw.__name__}",
                    *(f"{share / trials:.1%}" for share in shares),
                    f"{covered:.1%}",
                    *took,
                ]
            )
    headings = ["", "false alarms", "found", "missed", "held, at least"]
    headings += ["rounds, equal (19 of 20)", "rounds, slower (19 of 20)"]
    show(f"A difference that is looked for after each block, {trials} trials each", headings, rows)


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detect", action="store_true")
    options = parser.parse_args()
    if options.detect:
        report_sought(options.trials, options.seed)
    else:
        report_intervals(options.trials, options.seed)


if __name__ == "__main__":
    main()
