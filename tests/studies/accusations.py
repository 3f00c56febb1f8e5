"""Is a right backend ever accused? Every built-in backend on every workload, with all parts proved.

``python -m tests.studies.accusations --rounds 20`` makes one run for each workload and each group of
backends; each round has a random seed. It ends with 1 if any cell is invalid. ``python``, other ``--slow`` ones,
and all on ``mnist-wide``, have a budget for each cell, which ends their training early.
"""

from __future__ import annotations

import argparse
import sys

from nnbench import catalog
from tests.studies import proofs

NAME = "accusations"
SLOW = ("python", "torch-compile")
BUDGETS = {"mnist-wide": 2.0}  #: of all backends, in seconds
#: Right, but unusual ones, by workload.
HONEST = {
    "mnist": (
        *("takes-other-side", "sums-in-other-order", "computes-in-float64", "owns-its-step"),
        *("shows-no-state", "says-tf32", "says-bf16"),
    ),
    "mnist-wide": ("takes-other-side",),
}


def main() -> None:
    """Train, count, print, and judge."""
    workloads = [*catalog.workloads()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workloads", nargs="+", default=workloads, choices=workloads)
    parser.add_argument("--slow", nargs="*", default=SLOW, help="backends with a budget")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds of training a slow cell")
    options = parser.parse_args()
    able = [n for n, b in catalog.backends().items() if not catalog.why_unavailable(b)]
    quick = [name for name in able if name not in options.slow]
    slow = [name for name in able if name in options.slow]
    found = {}
    for workload in options.workloads:
        common = ["-w", workload, "-r", options.rounds, "--proof", "full", "-b"]
        label = f"{NAME}-{workload}"
        limit = ["--budget", BUDGETS[workload]] if workload in BUDGETS else []
        names = [*quick, *HONEST.get(workload, ())]
        cells = proofs.run(f"{label}-quick", *common, ",".join(names), *limit)
        if slow:
            limit = ["--budget", min(options.budget, BUDGETS.get(workload, options.budget))]
            cells += proofs.run(f"{label}-slow", *common, ",".join(slow), *limit)
        found[workload] = proofs.count(cells)
        proofs.write(NAME, found)
        report(workload, found[workload])
    sys.exit(any(each["found"] for counts in found.values() for each in counts.values()))


def report(workload: str, counts: dict[str, dict[str, object]]) -> None:
    """Print a line for each backend."""
    for name, each in counts.items():
        text = f"{each['found']} of {each['cells']} invalid, {each['status']}"
        proved = f"{each['steps_proved']} of {each['steps_trained']} steps proved"
        print(f"{workload}: {name}: {text}, {proved}, {each['flips']} flips", flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
