"""How often does the sampled proof find what hides in parts that are not proved?

``python -m tests.studies.cheat_odds --rounds 40`` trains those cheats on MNIST under ``--proof sampled``, and prints
the share of the cells that were found, with its 95% interval (Wilson).
"""

from __future__ import annotations

import argparse
from math import sqrt

from tests.studies import proofs

NAME = "cheat_odds"
HIDING = ("dead-network", "skips-a-quarter", "skips-one-part", "skips-long-parts", "rounds-later")
Z = 1.96  #: of the 95% interval


def main() -> None:
    """Train, count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    arguments = ["-w", "mnist", "-r", options.rounds, "--proof", "sampled"]
    cells = proofs.run(NAME, *arguments, "-b", ",".join(["plain", *HIDING]))
    found = proofs.count(cells)
    for name, each in found.items():
        each["share"] = each["found"] / each["cells"]
        each["low"], each["high"] = wilson(each["found"], each["cells"])
        text = f"{each['found']} of {each['cells']} found"
        print(f"{name}: {text} ({each['low']:.0%} to {each['high']:.0%})", flush=True)  # noqa: T201 - a script
    proofs.write(NAME, found)


def wilson(found: int, cells: int) -> tuple[float, float]:
    """Return the interval of a share, after Wilson (1927)."""
    share, squared = found / cells, Z**2 / cells
    middle = share + squared / 2
    half = Z * sqrt(share * (1 - share) / cells + squared / cells / 4)
    return (middle - half) / (1 + squared), (middle + half) / (1 + squared)


if __name__ == "__main__":
    main()
