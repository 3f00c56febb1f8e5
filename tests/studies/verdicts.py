"""How often are nnbench's verdicts right? Blocks whose answer is known, on this machine.

``python -m tests.studies.verdicts numpy`` runs one backend under nine names in each block: six equals, and three that do
10%, 5% and 3% more work. Each equal is compared with the next one, and each of the others with an equal. Three blocks in
a row are what a run of three rounds sees, so each pair of names gives a trial of it, and a run with ``--detect 3%`` is
followed through the same blocks. Neighbours share a name; so the bound on false alarms is of every second pair of equals
alone. ``--load`` keeps every CPU busy in bursts meanwhile. What the turns of each block came to is written to
``results/verdicts/BACKEND-quiet.csv`` (or ``-load``), and a second call goes on where the first was stopped. Beside it a
JSON file says what it amounts to, and ``--table`` prints that of all as Markdown.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from math import log, sqrt
from pathlib import Path
from statistics import fmean, median, variance
from typing import TYPE_CHECKING, Any

from scipy import stats

from nnbench import catalog
from nnbench.execution import machine
from nnbench.figures import metrics, statistics
from nnbench.records.cells import Handicap
from nnbench.records.runs import DEFAULT_TURN_FLOOR, Environment
from nnbench.runs import schedule
from tests.cells import read_final
from tests.studies import conditions, proofs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.figures.statistics import Comparison
    from nnbench.records.cells import CellResult
    from nnbench.runs.planning import Plan

    Block = dict[str, dict[str, float]]  # by pair, then by estimator
    Comparing = Callable[[Sequence[float]], Comparison]

FOLDER = "verdicts"
EQUALS = {"a1": "a0", "a2": "a1", "a3": "a2", "a4": "a3", "a5": "a4"}
APART = ("a1", "a3", "a5")  #: pairs of equals that have no name in common
SLOWED = {"w10": "a0", "w5": "a2", "w3": "a4"}
SHARES = {"w10": 0.10, "w5": 0.05, "w3": 0.03}
PAIRS = EQUALS | SLOWED
ROUNDS, DETECT = 3, 0.03
RANKING = "weighed"  #: the estimator that nnbench uses
AT_ONCE = 6  #: blocks of a run, after which the CPUs are chosen anew, and what was found is written


def main() -> None:
    """Make blocks until there are enough, and write what they amount to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", nargs="?", default="numpy")
    parser.add_argument("--trials", type=int, default=200, help="with equals, of three rounds each")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="train on the 10,000 test images")
    parser.add_argument("--load", action="store_true", help="bursts of work on every CPU")
    parser.add_argument("--table", action="store_true", help="print what was found so far")
    options = parser.parse_args()
    if options.table:
        print_table()
        return
    name = f"{options.backend}-{'load' if options.load else 'quiet'}"
    asked = {key: getattr(options, key) for key in ("epochs", "small", "load")}
    needed = -(-options.trials // len(EQUALS)) * ROUNDS
    if path_of(name).exists():
        refuse_another(name, asked)
        blocks = read(name)
    else:
        blocks = []
        proofs.write(name, asked, folder=FOLDER, study=FOLDER)
    with conditions.bursts() if options.load else nullcontext():
        while len(blocks) < needed:
            found = run(options, min(AT_ONCE, needed - len(blocks)))
            append(name, len(blocks), found)
            blocks += found
            print(f"{name}: {len(blocks)} of {needed} blocks", flush=True)  # noqa: T201 - a script
    proofs.write(name, {**asked, **describe(blocks)}, folder=FOLDER, study=FOLDER)


# Measuring


def run(options: argparse.Namespace, rounds: int) -> list[Block]:
    """Make a run, and return the logarithms of its pairs' ratios."""
    with tempfile.TemporaryDirectory() as folder:
        overrides: dict[str, Any] = {"epochs": options.epochs}
        if options.small:
            overrides |= {"dataset": str(conditions.small_dataset(Path(folder)))}
        plan = conditions.plan([options.backend], "mnist", rounds, **overrides)
        schedule.run(with_variants(plan), Path(folder) / "run", lambda _: None)
        return [*in_blocks(read_final(Path(folder) / "run"))]


def with_variants(plan: Plan) -> Plan:
    """Return the plan of the same run, with its backend under every name."""
    [entry] = plan.entries
    variants = [entry.as_variant(name) for name in sorted({*EQUALS, *PAIRS.values()})]
    variants += [
        entry.as_variant(name, handicap=Handicap("work", share)) for name, share in SHARES.items()
    ]
    labels = {variant.label: "" for variant in variants}
    info = replace(plan.info, backends=labels, baseline=variants[0].label)
    return plan._replace(info=info, entries=variants)


def in_blocks(cells: Iterable[CellResult]) -> Iterator[Block]:
    """Yield what the pairs of each block came to."""
    blocks: dict[int, dict[str, CellResult]] = {}
    for cell in cells:
        assert metrics.epoch_s(cell), f"{cell.backend}: {cell.status}: {cell.message}"
        blocks.setdefault(cell.round, {})[cell.backend.rpartition("@")[2]] = cell
    for _, block in sorted(blocks.items()):
        yield {name: estimates(block[name], block[other]) for name, other in PAIRS.items()}


def estimates(cell: CellResult, other: CellResult) -> dict[str, float]:
    """Return the logarithm of a pair's ratio: as it ranks, by the median and the mean of its turns, and by whole cells."""
    own, others = metrics.image_s(cell), metrics.image_s(other)
    logs = [log(own[turn] / others[turn]) for turn in own.keys() & others.keys()]
    ranking = metrics.TRAINING.log_ratio(cell, other)
    whole, base = metrics.epoch_s(cell), metrics.epoch_s(other)
    assert ranking is not None
    assert whole
    assert base
    return {
        RANKING: ranking,
        "median": median(logs),
        "mean": fmean(logs),
        "cells": log(whole / base),
        "turns": len(logs),
    }


# What was measured


def path_of(name: str) -> Path:
    """Return where the blocks stand."""
    return proofs.RESULTS / FOLDER / f"{name}.csv"


def append(name: str, first: int, blocks: Sequence[Block]) -> None:
    """Write blocks, a line for each pair."""
    with path_of(name).open("a", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        if first == 0:
            lines.writerow(["block", "pair", *blocks[0]["a1"]])
        for number, block in enumerate(blocks, first):
            for pair, found in block.items():
                lines.writerow([number, pair, *(f"{value:.6g}" for value in found.values())])


def read(name: str) -> list[Block]:
    """Return the blocks that there are."""
    blocks: list[Block] = []
    with path_of(name).open() as file:
        for line in csv.DictReader(file):
            number, pair = int(line.pop("block")), line.pop("pair")
            if number == len(blocks):
                blocks.append({})
            blocks[number][pair] = {key: float(value) for key, value in line.items()}
    return blocks


def refuse_another(name: str, asked: dict[str, Any]) -> None:
    """End where the blocks there are are of another kind of machine, other versions included, or were asked otherwise."""
    before = json.loads(path_of(name).with_suffix(".json").read_text())
    libraries = {each for backend in catalog.backends().values() for each in backend.libraries}
    here = machine.examine(libraries)
    known = Environment(**before["environment"])
    if here.kind != known.kind or not asked.items() <= before["found"].items():
        sys.exit(f"{path_of(name)} is of another kind of machine, or was asked otherwise")


# What it amounts to


def describe(blocks: Sequence[Block]) -> dict[str, Any]:
    """Return how often the verdicts were right."""
    return {
        "blocks": len(blocks),
        "turns": median(pair["turns"] for block in blocks for pair in block.values()),
        "floor": DEFAULT_TURN_FLOOR,
        "stdev": {
            estimator: sqrt(fmean(variance(logs(blocks, pair, estimator)) for pair in PAIRS))
            for estimator in (RANKING, "median", "mean", "cells")
        },
        "equals": of_equals(blocks),
        "slowed": {pair: of_slowed(blocks, pair) for pair in SLOWED},
        "detect": {
            "equals": of_detect(blocks, EQUALS),
            "slowed": of_detect(blocks, ["w3"]),
        },
    }


def logs(blocks: Sequence[Block], pair: str, estimator: str = RANKING) -> list[float]:
    """Return what the blocks say of a pair."""
    return [block[pair][estimator] for block in blocks]


def trials(blocks: Sequence[Block], pair: str) -> list[Comparison]:
    """Return what runs of three rounds say of a pair."""
    values = logs(blocks, pair)
    starts = range(0, len(values) - ROUNDS + 1, ROUNDS)
    return [statistics.compare(values[i : i + ROUNDS], DEFAULT_TURN_FLOOR) for i in starts]


def of_equals(blocks: Sequence[Block]) -> dict[str, Any]:
    """Count what was said of equals, with the bound of Clopper and Pearson (1934) on false alarms."""
    found = [each for pair in EQUALS for each in trials(blocks, pair)]
    apart = [each for pair in APART for each in trials(blocks, pair)]
    of_these = sum(map(is_alarm, apart))
    return {
        "trials": len(found),
        "verdicts": Counter(each.verdict for each in found),
        "false_alarms": sum(map(is_alarm, found)),
        "trials_apart": len(apart),
        "false_alarms_apart": of_these,
        "bound": float(stats.beta.ppf(0.95, of_these + 1, len(apart) - of_these)),
        "held": share(holds(each, 1.0) for each in found),
    }


def is_alarm(found: Comparison) -> bool:
    """Tell whether a difference was found."""
    return found.verdict in {"slower", "faster"}


def of_slowed(blocks: Sequence[Block], pair: str) -> dict[str, Any]:
    """Count what was said of one that does more work."""
    found = trials(blocks, pair)
    return {
        "trials": len(found),
        "verdicts": Counter(each.verdict for each in found),
        "found": share(each.verdict == "slower" for each in found),
        "ratio": median(each.ratio for each in found) if found else None,
        "held": share(holds(each, 1 + SHARES[pair]) for each in found),
    }


def of_detect(blocks: Sequence[Block], pairs: Iterable[str]) -> dict[str, Any]:
    """Follow runs that end with their verdict; of each pair the last one may be cut short, and is left out."""
    ended = [each for pair in pairs for each in until_decided(logs(blocks, pair))]
    rounds = [each.pairs for each in ended]
    return {
        "trials": len(ended),
        "verdicts": Counter(each.verdict for each in ended),
        "rounds": fmean(rounds) if rounds else None,
        "most_rounds": max(rounds, default=None),
    }


def until_decided(values: Sequence[float]) -> Iterator[Comparison]:
    """Yield the verdicts of one run after the other, each of as many blocks as it needs."""
    start = 0
    for end in range(1, len(values) + 1):
        found = statistics.compare(values[start:end], DEFAULT_TURN_FLOOR, DETECT)
        if found.verdict != "inconclusive":
            yield found
            start = end


def holds(found: Comparison, truth: float) -> bool:
    """Tell whether an interval holds what is true."""
    return found.interval is not None and found.interval.low <= truth <= found.interval.high


def share(values: Iterable[bool]) -> float | None:
    """Return how many of all are true."""
    known = [*values]
    return sum(known) / len(known) if known else None


def print_table() -> None:
    """Print what all that was measured amounts to, as Markdown."""
    head = ["", "pair varies by", "equals: false alarms", "undecided", "held"]
    head += ["10% found", "5% found"]
    head += ["`--detect 3%`: found", "rounds", "false alarms"]
    names = sorted(path.stem for path in (proofs.RESULTS / FOLDER).glob("*.csv"))
    rows = [row(name, describe(read(name))) for name in names]
    for each in [head, ["---", *["---:"] * (len(head) - 1)], *rows]:
        print(f"| {' | '.join(each)} |")  # noqa: T201 - a script


def row(name: str, found: dict[str, Any]) -> list[str]:
    """Return a line of the table."""
    backend, condition = name.rsplit("-", 1)
    equals, slowed, detect = found["equals"], found["slowed"], found["detect"]
    three = detect["slowed"]
    alarms = sum(detect["equals"]["verdicts"][each] for each in ("slower", "faster"))
    return [
        f"`{backend}`, {condition}",
        f"{found['stdev'][RANKING]:.2%}",
        f"{equals['false_alarms']} of {equals['trials']} (≤ {equals['bound']:.1%})",
        str(equals["verdicts"]["inconclusive"]),
        f"{equals['held']:.1%}",
        *(
            f"{slowed[pair]['verdicts']['slower']} of {slowed[pair]['trials']}"
            for pair in ("w10", "w5")
        ),
        f"{three['verdicts']['slower']} of {three['trials']}",
        f"{three['rounds']:.1f}",
        f"{alarms} of {detect['equals']['trials']}",
    ]


if __name__ == "__main__":
    main()
