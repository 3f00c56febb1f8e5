"""How often is a machine called odd that is not, and how often is one found that is?

``python -m tests.studies.odd_machines`` draws the log ratios of the blocks of equal machines, of backends that share the noise of
their baseline, and asks ``nnbench.figures.outliers`` which are odd. In half of the cases one of them is: there some share of the backends takes
longer. Every table is the same each time (``--seed``).
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from time import process_time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.figures import outliers
from nnbench.records.runs import DEFAULT_TURN_FLOOR
from tests.studies.coverage import contaminated, heavy, normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Draw = Callable[[np.random.Generator, int], Values]

MACHINES = ((2, 5), (2, 10), (4, 5), (4, 10), (10, 5), (20, 10))  #: and blocks of each
DRAWS: dict[str, Draw] = {
    "normal": normal,
    "heavy tails": heavy,
    "one in ten far off": contaminated,
}
SHIFTS = (0.0, 0.03, 0.05, 0.10)
BACKENDS = 8
ALPHA = 1 - outliers.CERTAINTY


class Found(NamedTuple):
    """Of some trials."""

    odd: int  #: in which the machine that is odd was found, in the backend that is
    other: int  #: in which another machine was called odd
    cpu_s: float  #: that looking took, at the mean


def ratios(
    rng: np.random.Generator,
    machines: int,
    blocks: int,
    draw: Draw,
    *,
    own: float = 0.0,
    correlated: float = 0.0,
) -> dict[str, Values]:
    """Draw the log ratios of each machine: blocks × backends.

    ``own`` is the standard deviation of what each machine and backend differs by for good, and ``correlated`` how much of a
    block's noise the next one on the machine has.
    """
    found = {}
    for number in range(machines):
        size = blocks * (BACKENDS + 1)
        noise = draw(rng, size).reshape(blocks, BACKENDS + 1) / math.sqrt(2)
        for before, now in pairwise(noise):
            now *= math.sqrt(1 - correlated**2)
            now += correlated * before
        found[f"m{number}"] = noise[:, 1:] - noise[:, :1] + own * rng.normal(size=BACKENDS)
    return found


def trials(
    machines: int,
    blocks: int,
    draw: Draw,
    shift: float,
    number: int,
    seed: int = 0,
    **noise: float,
) -> Found:
    """Look for an odd machine so many times: the last one, whose last backend takes longer by ``shift``."""
    rng = np.random.default_rng(seed)
    names, odd = [f"b{i}" for i in range(BACKENDS)], f"m{machines - 1}"
    found, others, before = 0, 0, process_time()
    for _ in range(number):
        given = ratios(rng, machines, blocks, draw, **noise)
        given[odd][:, -1] += math.log1p(shift)
        called = outliers.among(given, names, DEFAULT_TURN_FLOOR, ALPHA)
        of_two = machines == 2  # which of the two is odd they cannot say
        right = [each for each in called if shift and (each.machine == odd or of_two)]
        found += any(each.backend == names[-1] for each in right)
        others += len(called) > len(right)
    return Found(found, others, (process_time() - before) / number)


def table(number: int, seed: int) -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    found = "".join(f"| {shift:.0%} found " for shift in SHIFTS[1:])
    yield f"| machines × blocks | noise of 1% | called odd, of {number} without one {found}| others called odd then | CPU ms |"
    yield f"|---|---|{'---:|' * (len(SHIFTS) + 2)}"
    for machines, blocks in MACHINES:
        for name, draw in DRAWS.items():
            none, *some = (trials(machines, blocks, draw, s, number, seed) for s in SHIFTS)
            shares = "".join(f"| {each.odd / number:.0%} " for each in some)
            others = sum(each.other for each in some)
            yield (
                f"| {machines} × {blocks} | {name} | {none.other} {shares}"
                f"| {others} of {len(some) * number} | {1000 * none.cpu_s:.0f} |"
            )


def apart(number: int, seed: int) -> Iterator[str]:
    """Yield what comes of machines that are not quite equal, or of blocks that depend on each other."""
    yield f"| 10 machines × 10 blocks | called odd, of {number} |"
    yield "|---|---:|"
    cases: dict[str, dict[str, float]] = {
        "equal": {},
        "each differs by 0.3% of its own": {"own": 0.003},
        "each differs by 1% of its own": {"own": 0.01},
        "half of a block's noise is that of the one before": {"correlated": 0.5},
    }
    for name, noise in cases.items():
        found = trials(10, 10, normal, 0.0, number, seed, **noise)
        yield f"| {name} | {found.other} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for part in (table, apart):
        for line in part(options.trials, options.seed):
            print(line, flush=True)  # noqa: T201 - a script
        print()  # noqa: T201 - as above


if __name__ == "__main__":
    main()
