"""``nnbench continuous``: measure two revisions side by side, and fail on a regression."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nnbench.cli.compare import FAIL, STRICT, TABLE_FORMAT, chosen_limits, print_changes
from nnbench.cli.options import command_line, option, options
from nnbench.cli.run import execute, given, without_plugins
from nnbench.contract.errors import NnbenchError, gravest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnbench.contract.errors import ExitCode
    from nnbench.runs.run import Run


@click.command()
@click.argument("base", required=False)
@click.argument("head", required=False)
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="PATH",
    help="Given twice: the interpreters of two environments, instead of revisions.",
)
@click.option(
    "--install",
    multiple=True,
    metavar="TEXT",
    help="More arguments for pip, such as '.[all]'. May be repeated.",
)
@option("backends", help="As in run.")
@option("workload", help="What to train.")
@option("rounds", default=10)
@options("detect", "seed", "threads", "budget", "timeout", "proof", "require_proof")
@FAIL
@STRICT
@TABLE_FORMAT
@option("output", shown="results/<time>-continuous")
@option("progress")
@without_plugins
def continuous(
    base: str | None,
    head: str | None,
    *,
    pythons: tuple[str, ...],
    install: tuple[str, ...],
    gates: tuple[str, ...],
    output: Path | None,
    progress: bool,
    strict: bool,
    table_format: str,
    **asked: Any,
) -> NoReturn:
    """Compare revision HEAD of the repository here with BASE.

    Builds both in environments of their own on this machine, and runs their cells in pairs. Ends as compare
    does: with {REGRESSION} if a time, with {ACCURACY} if an accuracy got worse, beyond its limit
    and with its whole 95% interval; with {BACKEND_FAILED} if a backend failed, with
    {NOTHING_MEASURED} if one was not measured, with {INCOMPARABLE} if its precision changed.
    """
    from nnbench.execution import interpreters
    from nnbench.figures import metrics
    from nnbench.runs import continuous, detection, store

    limits = metrics.parse_gates(gates)  # an error in them should not wait for the end of the run
    if asked["detect"]:
        if gates and any(limit.metric is metrics.TRAINING for limit in limits):
            raise click.UsageError(
                "--detect takes the place of a limit on train_s_per_epoch: leave one out"
            )
        if "rounds" not in given():
            asked["rounds"] = detection.MOST_ROUNDS
    continuous.check_workload(asked["workload"])
    both = find_pythons(base, head, pythons, install, progress=progress)
    base_side, head_side = map(interpreters.examine, both)
    sides = base_side, head_side
    plan = continuous.plan(sides, command=command_line(), overrides={}, **asked)
    titles = pythons or (str(base), str(head))
    conclude = partial(report, titles=titles, gates=gates, strict=strict, table_format=table_format)
    folder = output or store.default_folder(plan.info, "continuous")
    enough = continuous.is_over if plan.info.detect else None
    sys.exit(execute(plan, folder, progress=progress, conclude=conclude, enough=enough))


def find_pythons(
    base: str | None,
    head: str | None,
    pythons: Sequence[str],
    install: Sequence[str],
    *,
    progress: bool,
) -> list[str]:
    """Return the interpreters of both sides; those of revisions are built."""
    from nnbench.execution import interpreters

    if base is not None and head is not None and not pythons:
        return build(base, head, install, progress=progress)
    if len(pythons) != 2 or base is not None:
        raise click.UsageError("give two revisions, BASE and HEAD, or --python twice")
    if install:
        raise click.UsageError("--install is for revisions; nothing is built with --python")
    return [interpreters.locate(text) for text in pythons]


def build(base: str, head: str, install: Sequence[str], *, progress: bool) -> list[str]:
    """Build two revisions at once; of a build that fails, show the last lines."""
    from rich.console import Console

    from nnbench.execution import environments
    from nnbench.execution.machine import git_state
    from nnbench.show.progress import steps

    commits = {name: environments.find_commit(name) for name in (base, head)}
    if len(set(commits.values())) < 2:
        raise NnbenchError(f"{base} and {head} are the same commit: there is nothing to compare")
    if (git_state() or "").endswith("-dirty"):
        click.echo("nnbench: note: changes that are not committed are not measured", err=True)
    arguments = [word for text in install for word in shlex.split(text)]
    named = {f"{name} ({commit[:12]})": commit for name, commit in commits.items()}
    try:
        with steps(Console(stderr=True), is_live=progress) as tell:
            return environments.build(named, arguments, tell)
    except environments.BuildError as error:
        for line in error.output:
            click.echo(f"  {line}", err=True)
        raise


def report(
    run: Run,
    *,
    titles: Sequence[str],
    gates: Sequence[str],
    strict: bool,
    table_format: str,
) -> ExitCode:
    """Show how head compares in what was finished, and return the exit code."""
    from nnbench.execution import machine
    from nnbench.figures import metrics
    from nnbench.proof import judge
    from nnbench.runs import comparison, continuous

    floor = machine.noise_floor(run.info.environment, turns=run.info.turns)
    limits = [*chosen_limits(gates, run.cells)]
    if run.info.detect:
        training = metrics.Gate(metrics.TRAINING, run.info.detect)
        limits = [training, *(gate for gate in limits if gate.metric is not metrics.TRAINING)]
    changes = continuous.compare(run, limits, floor)
    how = f"paired by round, noise floor {floor:.1%}{' of turns' if run.info.turns else ''}"
    sides = continuous.sides(run)
    print_changes(changes, sides, titles, how=how, table_format=table_format, strict=strict)
    click.echo(f"Results: {run.folder}", err=True)
    found = [comparison.exit_code(changes, strict=strict)]
    if run.info.require_proof:
        found.append(judge.exit_code(run.cells, (), require_proof=True))
    return gravest(found)
