"""Try what people may give nnbench: ``python -m tests.fuzz``.

With names of cases, these alone are tried; they come of the name, so whoever has it has the case.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

from nnbench.execution import machine
from tests.fuzz import runner

FOLDER = Path("out", "fuzz")
CASES = 5_000
#: Of so many one is tried in a process of its own, too: that takes a hundred times as long.
EVERY = 250


def main() -> int:
    """Try cases, and return 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="KIND:SEED:NUMBER", help="cases to try again")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--cases", type=int, default=CASES, help="how many")
    parser.add_argument("--seconds", type=float, help="as many as are begun in so many seconds")
    parser.add_argument("--every", type=int, default=EVERY, help="in a process of its own, too")
    parser.add_argument("--benches", type=int, default=machine.most_threads(), help="at a time")
    asked = parser.parse_args()
    names = runner.endless(asked.seed)
    if asked.names:
        names = iter(asked.names)
    elif asked.seconds is None:
        names = islice(names, asked.cases)
    report = runner.fuzz(
        names,
        benches=asked.benches,
        every=1 if asked.names else asked.every,
        seconds=asked.seconds,
        tell=tell,
    )
    sys.stdout.write(f"{report}\n")
    return bool(report.failures)


def tell(failure: runner.Failure) -> None:
    """Say what failed, and keep its input."""
    sys.stdout.write(f"{runner.keep(failure, FOLDER)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
