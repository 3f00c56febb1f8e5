"""``nnbench selftest``: find out what this machine can tell apart."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nnbench.cli.options import Whole, command_line, echo_line, option
from nnbench.cli.run import execute, without_plugins
from nnbench.contract.bounds import LARGEST
from nnbench.contract.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.runs.run import Run
    from nnbench.runs.selftest import Machines
    from nnbench.runs.sweep import Sweep


ROUNDS = (3, 6, 10, 30)  #: for which it is said what they find


@click.command()
@click.option("--backend", "-b", default="numpy", help="What to run; the quickest is best.")
@option("workload", help="What to train.")
@option(
    "rounds",
    help="Blocks at most; after a minute, and six blocks, none is begun.",
    default=30,
    type=Whole(6, LARGEST),
)
@option("seed")
@option("proof", default="off")
@option("threads", help="CPU threads of each cell.")
@option("executor")
@option("output", shown="results/<time>-selftest")
@option("progress")
@without_plugins
def selftest(
    *,
    backend: str,
    output: Path | None,
    progress: bool,
    **asked: Any,
) -> NoReturn:
    """Measure what differences this machine can tell, in a minute.

    Runs one backend under several names, three of them equal and the others slowed down by known
    shares. Half of the blocks give the floor, and the others are judged by it: ends with {ACCURACY}
    if equals are told apart there. The floor is kept for this machine, and later runs use it.
    """
    from nnbench.execution import machine
    from nnbench.runs import selftest, store

    store.require_new(output or store.RESULTS)  # better now than after a minute
    machine.TURN_FLOORS.check()
    plan = selftest.plan(
        backend,
        command=command_line(),
        overrides={"epochs": selftest.EPOCHS},
        budget=60.0,
        timeout=300.0,
        **asked,
    )
    folder = output or store.default_folder(plan.info, "selftest")
    enough = selftest.time_is_up()

    def of_one(run: Sweep) -> ExitCode:
        return conclude(run.alone)

    sys.exit(execute(plan, folder, progress=progress, conclude=of_one, enough=enough))


def conclude(run: Run) -> ExitCode:
    """Print what was found of each kind of machine, and keep its floor."""
    from nnbench.runs import selftest

    nothing = selftest.Machines([], run.info.environment, run.cells)
    kinds, is_right = selftest.by_kind(run) or [nothing], True
    for kind in kinds:
        names = ", ".join(kind.names)
        if kind.blocks < selftest.FEWEST_BLOCKS and kind is not kinds[0]:
            text = f"{names}: no floor, which takes {selftest.FEWEST_BLOCKS} blocks, and it has"
            echo_line(f"nnbench: {text} {kind.blocks}", err=True)
            continue
        if len(kinds) > 1:
            click.echo(f"{names}:\n")
        is_right &= report(kind, run.info.started, turns=run.info.turns)
    echo_line(f"The cells are in {run.folder}.")
    return ExitCode.OK if is_right else ExitCode.ACCURACY


def report(kind: Machines, started: str, *, turns: bool) -> bool:
    """Print every comparison, the floor and what it finds; keep the floor. Tell whether no equals were told apart."""
    from nnbench.execution import machine
    from nnbench.figures import statistics
    from nnbench.figures.metrics import TRAINING
    from nnbench.runs import selftest
    from nnbench.show.text import Sheet, markdown, size

    found = selftest.evaluate(kind.cells)
    rows, slower = [], partial(size, TRAINING)
    for trial in found.trials:
        c = trial.comparison
        bounds = f"{slower(c.interval.low)} to {slower(c.interval.high)}" if c.interval else ""
        injected = f"{trial.share:.0%}" if trial.share else "none"
        verdict = f"{c.verdict}: false alarm" if trial.is_false_alarm else c.verdict
        rows.append([trial.name, injected, slower(c.ratio), bounds, f"{found.floor:.1%}", verdict])
    headings = ["compared", "injected", "takes more", "95% interval", "floor", "verdict"]
    click.echo(markdown(Sheet("", headings, rows)))
    smallest = selftest.smallest_found(found.trials)
    share = f"{smallest:.0%}" if smallest else "none of those injected"
    half = f"Noise floor of half of the blocks: {found.floor:.1%}; the others are judged by it."
    click.echo(f"{half} Smallest slowdown found, with all larger: {share}.")
    click.echo(
        f"The ratio of a pair varies by {found.stdev:.1%}. So in four of five runs are found:\n"
    )
    sizes = [
        [str(n), f"{statistics.findable(found.stdev, n, found.kept_floor):.1%}"] for n in ROUNDS
    ]
    click.echo(markdown(Sheet("", ["rounds", "slowdown of at least"], sizes)))
    if found.false_alarms:
        text = f"equals were told apart, so the floor is that of the others: {found.kept_floor:.1%}"
        echo_line(f"nnbench: {text}", err=True)
    floors = machine.TURN_FLOORS if turns else machine.FLOORS
    kept = floors.save(kind.environment, found.kept_floor)
    if turns:
        machine.TURN_SPREADS.save(kind.environment, found.stdev)
        machine.MEASURED.save(kind.environment, started)
    echo_line(f"The floor is kept in {kept}.")
    return not found.false_alarms
