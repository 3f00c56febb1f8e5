"""``nnbench continuous``: measure two revisions side by side, and fail on a regression."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nnbench.cli.compare import (
    FAIL,
    STRICT,
    TABLE_FORMAT,
    announce,
    chosen_limits,
    print_changes,
)
from nnbench.cli.options import Words, command_line, echo_line, option, options
from nnbench.cli.run import execute, without_plugins
from nnbench.contract.errors import NnbenchError, gravest
from nnbench.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nnbench.contract.errors import ExitCode
    from nnbench.execution.probing import Probe
    from nnbench.figures.metrics import Gate
    from nnbench.records.runs import RunInfo
    from nnbench.runs.continuous import Outlook
    from nnbench.runs.preflight import Finding, Sides
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep

TEST_S = 300.0  #: for the checks of a backend, as in ``nnbench test``


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
    type=Words(),
    metavar="TEXT",
    help="More arguments for pip, such as '.[all]'. May be repeated.",
)
@click.option(
    "--test/--no-test",
    "tests",
    default=True,
    help="First check the backends of HEAD whose code changed, as nnbench test does.",
)
@option("backends", help="As in run.")
@option("workload", help="What to train.")
@option("rounds", default=None, shown="as many as the limits take, within 10 minutes")
@options("detect", "seed", "threads", "budget", "timeout", "proof", "require_proof", "executor")
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
    install: tuple[list[str], ...],
    tests: bool,
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
    and with its whole 95% interval, or if a check failed; with {BACKEND_FAILED} if a backend failed, with
    {NOTHING_MEASURED} if one was not measured, with {INCOMPARABLE} if it cannot be compared.
    """
    from nnbench.execution import interpreters
    from nnbench.figures import metrics
    from nnbench.runs import continuous, detection, preflight, schedule, store

    started = monotonic()
    limits = metrics.parse_gates(gates)  # an error in them should not wait for the end of the run
    if asked["detect"] and gates and any(limit.metric is metrics.TRAINING for limit in limits):
        raise click.UsageError(
            "--detect takes the place of a limit on train_s_per_epoch: leave one out"
        )
    is_free = asked["rounds"] is None and not asked["detect"]
    if asked["rounds"] is None:
        most = detection.MOST_ROUNDS if asked["detect"] else continuous.most_rounds(limits)
        asked["rounds"] = most
    continuous.check_workload(asked["workload"])
    store.require_new(output or store.RESULTS)  # better now than when all is built
    both = find_pythons(base, head, pythons, install, progress=progress)
    titles = pythons or (str(base), str(head))
    one, other = interpreters.of_each(interpreters.examine, both)
    sides = preflight.Sides(one, other, titles)
    shown: dict[str, Any] = {"titles": titles, "strict": strict, "table_format": table_format}
    if wrong := [*preflight.broken_plugins(sides, asked["backends"])]:
        sys.exit(refuse(wrong, limits, **shown))
    plan = continuous.plan(sides.interpreters, command=command_line(), overrides={}, **asked)
    if wrong := look_ahead(sides, asked["backends"], tests=tests):
        sys.exit(refuse(wrong, limits, **shown))
    enough = schedule.by(continuous.is_over) if plan.info.detect else None
    if is_free:
        plan = continuous.paced(plan, limits)
        left_s = continuous.SECONDS - (monotonic() - started)
        enough = continuous.Pace(limits, left_s, partial(say_outlook, plan.info))
        say_pace(plan.info, left_s)
    by_verdict = bool(asked["detect"])

    def conclude(run: Sweep) -> ExitCode:
        return report(run.alone, gates=gates, by_verdict=by_verdict, **shown)

    folder = output or store.default_folder(plan.info, "continuous")
    sys.exit(execute(plan, folder, progress=progress, conclude=conclude, enough=enough))


def find_pythons(
    base: str | None,
    head: str | None,
    pythons: Sequence[str],
    install: Sequence[Sequence[str]],
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


def build(base: str, head: str, install: Sequence[Sequence[str]], *, progress: bool) -> list[str]:
    """Build two revisions at once; of a build that fails, show the last lines."""
    from nnbench.execution import environments
    from nnbench.execution.machine import git_state
    from nnbench.show.progress import steps
    from nnbench.show.terminal import Terminal

    commits = {name: environments.find_commit(name) for name in (base, head)}
    if len(set(commits.values())) < 2:
        raise NnbenchError(f"{base} and {head} are the same commit: there is nothing to compare")
    if (git_state() or "").endswith("-dirty"):
        echo_line("nnbench: note: changes that are not committed are not measured", err=True)
    arguments = [word for words in install for word in words]
    named = {f"{name} ({commit[:12]})": commit for name, commit in commits.items()}
    try:
        with steps(Terminal(err=True), is_live=progress) as tell:
            return environments.build(named, arguments, tell)
    except environments.BuildError as error:
        for line in error.output:
            click.echo(f"  {one_line(line)}", err=True)
        raise


def look_ahead(sides: Sides, backends: Sequence[str], *, tests: bool) -> list[Finding]:
    """Return what is wrong before anything is measured: imports, or else checks of what changed."""
    from nnbench.execution import interpreters
    from nnbench.runs import preflight

    pythons = [side.python for side in sides.interpreters]
    probe = partial(interpreters.probe, names=sides.asked(backends))
    probes = interpreters.of_each(probe, pythons)
    wrong = [*preflight.broken_imports(sides, probes)]
    if tests and not wrong:
        wrong = [*failed_checks(sides, backends, probes)]
    return wrong


def failed_checks(
    sides: Sides, backends: Sequence[str], probes: Sequence[Probe | None]
) -> Iterator[Finding]:
    """Run the conformance checks of what changed, in head; yield the backends that do not pass."""
    from nnbench.cli.test import report as report_checks
    from nnbench.runs import preflight
    from nnbench.runs.comparison import Outcome
    from nnbench.testing import execution

    chosen, probe = preflight.changed(sides, backends, probes), probes[-1]
    if chosen and (probe is None or probe.lacks):
        lacks = f"without {' and '.join(probe.lacks)}" if probe else "with such an old nnbench"
        echo_line(f"nnbench: note: what changed is not checked {lacks}", err=True)
        return
    labels = ", ".join(each.label for each in chosen)
    echo_line(f"nnbench: checks what changed: {labels or 'no code'}", err=True)
    for each in chosen:
        done = execution.test(
            each, [], timeout_s=TEST_S, show=False, python=sides.head.python, plugins=()
        )
        with redirect_stdout(sys.stderr):
            report_checks(done)
        if (failures := done.failures) and not done.why_untested:
            others = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
            text = f"{failures[0].check}{others}: {failures[0].message}"
            yield preflight.Finding(each.label, Outcome.NONCONFORMING, text)


def refuse(
    wrong: Sequence[Finding],
    limits: Sequence[Gate],
    *,
    titles: Sequence[str],
    strict: bool,
    table_format: str,
) -> ExitCode:
    """Show why nothing is measured, and return the exit code."""
    from nnbench.runs import comparison, preflight
    from nnbench.show.text import code

    changes = preflight.changes(wrong, limits)
    base, head = map(code, titles)
    caption = f"{head} against {base}: nothing was measured."
    announce(changes, caption, table_format=table_format, strict=strict)
    return comparison.exit_code(changes, strict=strict)


def say_pace(info: RunInfo, left_s: float) -> None:
    """Say beforehand how many rounds there will be."""
    from nnbench.runs.continuous import FEWEST_ROUNDS
    from nnbench.show.text import duration

    until = "until each limit on a ratio is known to be kept or broken: " if info.detect else ""
    fewest = f"{FEWEST_ROUNDS} at least, {info.rounds} at most"
    end = f"none that would end in more than {duration(max(0.0, left_s))}"
    echo_line(f"nnbench: rounds: {until}{fewest}, and after those {end}", err=True)


def say_outlook(info: RunInfo, outlook: Outlook) -> None:
    """Say how long the rounds will take, and what they find by the pairs' variation: of this run, or of selftest."""
    from nnbench.execution import machine
    from nnbench.figures import statistics
    from nnbench.runs.continuous import FEWEST_ROUNDS
    from nnbench.show.text import duration

    slots = outlook.slots
    least, most = (
        duration(-(-n // slots) * outlook.round_s) for n in (FEWEST_ROUNDS, outlook.fits)
    )
    text = f"{FEWEST_ROUNDS} rounds, {least}"
    if outlook.fits > FEWEST_ROUNDS:
        text = f"{FEWEST_ROUNDS} to {outlook.fits} rounds, {least} to {most}"
    at_once = f", and {slots} are made at once" if slots > 1 else ""
    text = f"a round takes {duration(outlook.round_s)}{at_once}: {text}"
    limit = info.detect
    kept = (machine.TURN_SPREADS.load(each.environment, 0.0) for each in info.machines.values())
    stdev = outlook.stdev or max(kept)
    if limit and stdev:
        needed = max(FEWEST_ROUNDS, statistics.rounds_for(stdev, limit))
        found = statistics.findable_beyond(stdev, outlook.fits, limit)
        text += f"; pairs vary by {stdev:.1%}, so {needed} decide at the latest"
        text += f"; {outlook.fits} find slowdowns of {found:.1%}"
    echo_line(f"nnbench: {text}", err=True)


def report(
    run: Run,
    *,
    titles: Sequence[str],
    gates: Sequence[str],
    strict: bool,
    table_format: str,
    by_verdict: bool = False,
) -> ExitCode:
    """Show how head compares in what was finished, and return the exit code."""
    from nnbench.figures import metrics
    from nnbench.proof import judge
    from nnbench.runs import comparison, continuous

    floor = run.info.noise_floor
    limits = [*chosen_limits(gates, run.cells)]
    if by_verdict and run.info.detect:
        training = metrics.Gate(metrics.TRAINING, run.info.detect)
        limits = [training, *(gate for gate in limits if gate.metric is not metrics.TRAINING)]
    changes = continuous.compare(run, limits, floor, by_verdict=by_verdict)
    how = f"paired by round, noise floor {floor:.1%}{' of turns' if run.info.turns else ''}"
    sides = continuous.sides(run)
    formed: dict[str, Any] = {"how": how, "table_format": table_format, "strict": strict}
    print_changes(changes, [sides], titles, is_paired=True, **formed)
    echo_line(f"Results: {run.folder}", err=True)
    found = [comparison.exit_code(changes, strict=strict)]
    if run.info.require_proof:
        found.append(judge.exit_code(run.cells, (), require_proof=True))
    return gravest(found)
