"""Is a wrong backend found, whatever the seed? Those that go wrong after 20 steps, all parts proved.

``python -m tests.studies.wrong_ones --rounds 20`` trains each on MNIST for one epoch with 20 random seeds, and
ends with 1 if any cell was not found. ``--epochs 5`` asks for the whole workload.
"""

from __future__ import annotations

import argparse
import sys

from tests.studies import proofs

NAME = "wrong_ones"
WRONG = (
    *("other-epsilon", "other-rate", "drops-one-in-hundred", "stale-one-in-fifty"),
    *("tf32-products", "bf16-products", "float16-products", "tf32-in-one-product"),
    *("rounds-weights", "bf16-moments", "scales-gradient", "scales-gradient-and-tells"),
)


def main() -> None:
    """Train, count, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--backends", nargs="+", default=WRONG, choices=WRONG)
    options = parser.parse_args()
    arguments = ["-w", "mnist", "--epochs", options.epochs, "-r", options.rounds]
    arguments += ["--proof", "full", "-b", ",".join(["plain", *options.backends])]
    found = proofs.count(proofs.run(f"{NAME}-{options.epochs}", *arguments))
    proofs.write(NAME, found)
    for name, each in found.items():
        print(f"{name}: {each['found']} of {each['cells']} found", flush=True)  # noqa: T201 - a script
    missed = [n for n, each in found.items() if each["found"] != (n != "plain") * each["cells"]]
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
