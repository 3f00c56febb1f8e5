"""``nnbench run``: train every backend, write the tables, and show them."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from nnbench import prctl
from nnbench.cli.options import FOLDER, command_line, echo_line, options
from nnbench.cli.signals import Terminated
from nnbench.config.run_table import EFFORTS, OF_FILES, OPTIONS, SEVERAL
from nnbench.contract.errors import ExitCode, gravest
from nnbench.data.workloads import OVERRIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnbench.config.axes import Axes
    from nnbench.runs.planning import Plan
    from nnbench.runs.run import Run
    from nnbench.runs.schedule import Enough
    from nnbench.runs.sweep import Sweep


def without_plugins(command: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """Have a command know of plugins by what they list in another process, and run none of their code.

    Nor may the processes that do so look into this one.
    """

    def import_what_it_needs() -> None:
        from nnbench.runs import planning, schedule
        from nnbench.show import progress

        _ = planning, schedule, progress

    @wraps(command)
    def run_without(**options: Any) -> NoReturn:
        from nnbench.execution import listing

        prctl.hide_memory()
        with listing.relied_on(meanwhile=import_what_it_needs):
            command(**options)

    return run_without


@click.command()
@options(*(key for key in OPTIONS if key not in OF_FILES), several=SEVERAL)
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="A TOML file with options of this command; those given here win.",
)
@click.option(
    "--resume", type=FOLDER, help="Finish the run in this folder, as planned; no other options."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would run, and what that takes: cells, time, memory, disk. Nothing is trained.",
)
@without_plugins
def run(*, resume: Path | None, config: Path | None, dry_run: bool, **asked: Any) -> NoReturn:
    """Train backends on a workload, prove it, and write tables.

    Of what is trained, and of threads, there may be several values: each combination is a point of the run, and has its rows.
    """
    from nnbench.runs import planning, store

    if resume:
        if not given() <= {"resume", "progress", "dry_run"}:
            text = "--resume goes on as planned, and takes no options but --progress and --dry-run"
            raise click.UsageError(text)
        plan, progress = planning.resume(resume), asked["progress"]
        if dry_run:
            sys.exit(foresee(plan, resume))
        sys.exit(execute_until_detected(plan, resume, progress=progress, is_resumed=True))
    asked = combine(asked, config)
    store.require_new(asked["output"] or store.RESULTS)  # better now than when all is planned
    effort, output, progress = (asked.pop(key) for key in ("effort", "output", "progress"))
    if effort == "rigorous" and asked["rounds"] < EFFORTS[effort].values["rounds"]:
        raise click.UsageError("--rigorous means at least 10 rounds")
    asked["axes"] = sweep_of(asked)
    overrides = {key: value for key in OVERRIDES if (value := asked.pop(key)) is not None}
    if dry_run:
        asked["roofline"] = False  # which would be measured
    plan = planning.plan(command=command_line(), overrides=overrides, **asked)
    folder = output or store.default_folder(plan.info)
    if dry_run:
        sys.exit(foresee(plan, folder))
    sys.exit(execute_until_detected(plan, folder, progress=progress))


def sweep_of(asked: dict[str, Any]) -> Axes:
    """Take what has several values out of the options, and leave one value of the others, as it is or None."""
    from nnbench.config.axes import Axes

    given: Axes = asked.pop("sweep", None) or Axes()
    grid = {**given.grid}
    for key in SEVERAL:
        values = asked[key]
        if values and len(values) > 1:
            grid[key], asked[key] = values, None
        elif values:
            [asked[key]] = values
    return Axes(grid, given.zip)


def execute_until_detected(plan: Plan, folder: Path, **how: Any) -> ExitCode:
    """Run the cells; no more, if a difference is looked for, than it takes until each verdict is in."""
    from nnbench.runs import detection, schedule

    enough = schedule.by(detection.is_over) if plan.info.detect else None
    return execute(plan, folder, conclude=conclude, enough=enough, **how)


def foresee(plan: Plan, folder: Path) -> ExitCode:
    """Say what a run will take, and end as one that cannot start, or has nothing to measure."""
    from nnbench.runs import forecast
    from nnbench.show import forecast as written
    from nnbench.show.terminal import Terminal, print_sheet, say

    found, terminal = forecast.foresee(plan, folder), Terminal()
    for each in found:
        print_sheet(terminal, written.sheet(each))
        for line in written.lines(each):
            say(terminal, line)
    if found[1:]:
        say(terminal, written.together(found))
    return ExitCode.OK if plan.info.backends else ExitCode.NOTHING_MEASURED


def combine(defaults: dict[str, Any], config: Path | None) -> dict[str, Any]:
    """Return every option from where it counts: what is typed wins over the file."""
    typed = {key: defaults[key] for key in given() & defaults.keys()}
    written: dict[str, Any] = {}
    if config:
        from nnbench.config import files

        written = files.read_run(config)
        written |= {key: (written[key],) for key in SEVERAL if key in written}
    if "sweep" in written:
        written["sweep"] = written["sweep"].without(typed)
    if "effort" in typed:
        written.pop("effort", None)
    asked = dict(defaults)
    if "detect" in {**written, **typed}:
        from nnbench.runs import detection

        asked["rounds"] = detection.MOST_ROUNDS
    for source in (written, typed):
        if effort := source.get("effort"):
            values = EFFORTS[effort].values.items()
            asked |= {key: (value,) if key in SEVERAL else value for key, value in values}
        asked |= source
    return asked


def given() -> set[str]:
    """Return the names of the options that were typed."""
    context = click.get_current_context()
    return {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def execute(
    plan: Plan,
    folder: Path,
    *,
    progress: bool,
    conclude: Callable[[Sweep], ExitCode],
    is_resumed: bool = False,
    enough: Enough | None = None,
) -> ExitCode:
    """Run the cells, then conclude from what was finished, even after an interruption."""
    from nnbench.runs import schedule
    from nnbench.show import text
    from nnbench.show.progress import shown
    from nnbench.show.terminal import Terminal, say

    console = Terminal(err=True)
    start = schedule.resume if is_resumed else schedule.run
    interruption = None
    runs: list[Sweep] = []

    def keep(run: Sweep) -> None:
        runs.append(run)
        text.write_tables(run, folder)

    try:
        with shown(console) if progress else nullcontext():
            start(plan, folder, keep, enough or schedule.never)
    except KeyboardInterrupt:
        interruption = ExitCode.INTERRUPTED
    except Terminated as ended:
        interruption = ended.code
    if interruption:
        made = f": {text.rounds_made(runs[0])}" if runs and runs[0].cells else ""
        say(console, f"interrupted; the finished cells are kept{made}")
        if not runs:
            return interruption
    code = conclude(runs[0])
    if say_what_was_lost(runs[0]):
        code = gravest([code, ExitCode.BACKEND_FAILED])
    return interruption or code


def conclude(run: Sweep) -> ExitCode:
    """Show the tables of what was finished, and return the exit code."""
    from nnbench.show.terminal import Terminal, print_tables

    print_tables(Terminal(), run.tables, run)
    echo_line(f"Results: {run.folder}")
    return gravest([conclude_point(point) for point in run])


def conclude_point(run: Run) -> ExitCode:
    """Say what the tables do not, and return what a point ends with."""
    from nnbench.proof import judge

    info = run.info
    for line in [
        *(undecided(run) if info.detect else ()),
        *left_out(run),
        *found(run),
    ]:
        echo_line(f"nnbench: {at(run)}{line}", err=True)
    required = info.required if info.require_all else ()
    code = judge.exit_code(run.cells, required, require_proof=info.require_proof)
    return gravest([code, ExitCode.ACCURACY if run.strays else None])


def at(run: Run) -> str:
    """Say of which point a line is, where there are several."""
    from nnbench.figures.axes import described

    return f"{described(run.setting)}: " if run.setting else ""


def say_what_was_lost(run: Sweep) -> bool:
    """Say which blocks were lost for good, and why; tell whether any was."""
    from nnbench.show import text

    lost = [f"{at(point)}{line}" for point in run for line in text.losses(point)]
    for line in lost:
        echo_line(f"nnbench: {line}", err=True)
    return bool(lost)


def left_out(run: Run) -> Iterator[str]:
    """Say which backends were named and do not train this workload."""
    from nnbench.records.cells import Status

    for name in run.info.required:
        skipped = (cell for cell in run.of(name) if cell.status is Status.SKIPPED)
        if cell := next(skipped, None):
            yield f"note: {name} was left out: {cell.message}"


def found(run: Run) -> Iterator[str]:
    """Say what was found of all cells of a backend together: each of them was well."""
    from nnbench.records.cells import Kind
    from nnbench.show.text import count, strays

    for name, row in run.strays.items():
        yield f"{name}: {strays(row)}"
    for name in run.info.backends if run.info.require_proof else ():
        measured = [cell for cell in run.of(name) if cell.status.kind is Kind.MEASURED]
        if less := sum(not (cell.proof and cell.proof.is_whole) for cell in measured):
            text = f"{less} of {count(len(measured), 'round')} not proved in full, as is required"
            yield f"{name}: {text}"


def undecided(run: Run) -> Iterator[str]:
    """Say how many rounds the verdicts that are missing would take, by what their pairs varied so far."""
    from nnbench.figures import statistics
    from nnbench.runs import detection

    for name, comparison in detection.undecided(run).items():
        stdev, detect = comparison.stdev, run.info.detect
        if stdev and detect:
            rounds = statistics.rounds_for(stdev, detect)
            text = f"{name} is undecided: its pairs vary by {stdev:.1%}; about {rounds} rounds would do"
            yield text
