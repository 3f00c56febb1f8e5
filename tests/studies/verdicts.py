"""How often are nnbench's verdicts right? Runs whose answer is known, on this machine.

``python -m tests.studies.verdicts --runs 10`` runs the numpy backend under seven names in each
block: five that are equal (four A/A comparisons between neighbours) and two that do 10% more work
(each against an equal one). ``--load`` keeps a second program busy in bursts beside it. The noise
floor is the one that ``nnbench selftest`` keeps, or the default.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnbench.execution.machine import noise_floor
from nnbench.figures import metrics, statistics
from nnbench.records import Handicap
from nnbench.runs import planning, schedule
from tests.cells import read_final
from tests.studies.conditions import bursts, small_dataset

if TYPE_CHECKING:
    from nnbench.figures.statistics import Comparison
    from nnbench.records import CellResult
    from nnbench.runs.planning import Plan

EQUALS = ("a0", "a1", "a2", "a3", "a4")
SLOWED = {"w1": "a0", "w2": "a2"}  # each with the equal one that it is compared with
SLOWDOWN = Handicap("work", 0.10)


def main() -> None:
    """Make the runs and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--load", action="store_true", help="bursts of work on every CPU")
    parser.add_argument("--small", action="store_true", help="train on the 10,000 test images")
    options = parser.parse_args()
    equal: list[Comparison] = []
    slowed: list[Comparison] = []
    with bursts() if options.load else tempfile.TemporaryDirectory():
        for number in range(options.first, options.first + options.runs):
            for kind, found in zip((equal, slowed), trial(number, options), strict=True):
                kind += found
            report(number, equal, slowed)


def trial(number: int, options: argparse.Namespace) -> tuple[list[Comparison], list[Comparison]]:
    """Make one run and return its A/A comparisons and those with a slowdown."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = {"epochs": options.epochs}
        if options.small:
            overrides |= {"dataset": str(small_dataset(Path(folder)))}
        blocks, floor = run(number, options.rounds, overrides, Path(folder) / "run")
    pairs = list(zip(EQUALS[1:], EQUALS[:-1], strict=True))
    equal = [compare(blocks, a, b, floor) for a, b in pairs]
    slowed = [compare(blocks, a, b, floor) for a, b in SLOWED.items()]
    return equal, slowed


def compare(
    blocks: list[dict[str, CellResult]], variant: str, other: str, floor: float
) -> Comparison:
    """Compare two variants block by block."""
    logs = [metrics.TRAINING.log_ratio(block[variant], block[other]) for block in blocks]
    assert None not in logs
    return statistics.compare([log for log in logs if log is not None], floor)


def run(
    number: int, rounds: int, overrides: dict[str, Any], folder: Path
) -> tuple[list[dict[str, CellResult]], float]:
    """Make one run and return the cells of each block by variant, and the noise floor."""
    plan = planning.plan(
        command="study",
        backends=["numpy"],
        workload="mnist",
        overrides=overrides,
        rounds=rounds,
        seed=1000 * number,
        threads=1,
        budget=60.0,
        timeout=300.0,
        baseline=None,
    )
    return measure(plan, folder), noise_floor(plan.info.environment)


def measure(plan: Plan, folder: Path) -> list[dict[str, CellResult]]:
    """Run every variant and return the cells of each block, by variant."""
    [entry] = plan.entries
    variants = [entry.as_variant(name) for name in EQUALS]
    variants += [entry.as_variant(name, handicap=SLOWDOWN) for name in SLOWED]
    labels = {variant.label: "" for variant in variants}
    info = replace(plan.info, backends=labels, baseline=variants[0].label)
    schedule.run(plan._replace(info=info, entries=variants), folder, lambda _: None)
    blocks: list[dict[str, CellResult]] = [{} for _ in range(info.rounds)]
    for cell in read_final(folder):
        assert metrics.epoch_s(cell), cell.message
        blocks[cell.round][cell.backend.rpartition("@")[2]] = cell
    return blocks


def report(number: int, equal: list[Comparison], slowed: list[Comparison]) -> None:
    """Print the counts so far."""
    alarms = sum(c.verdict in {"slower", "faster"} for c in equal)
    found = sum(c.verdict == "slower" for c in slowed)
    wrong = alarms + sum(c.verdict in {"same", "faster"} for c in slowed)
    spread = max(abs(c.ratio - 1) for c in equal)
    text = f"A/A: {alarms} false alarms in {len(equal)} (furthest ratio {spread:.1%} from 1)"
    text += f"; 10% slowdown: {found} found in {len(slowed)}; wrong verdicts: {wrong}"
    print(f"run {number + 1}: {text}", flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
