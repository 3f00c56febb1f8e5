"""``nnbench run``: train every backend, write the tables, and show them."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from nnbench.cli.options import FOLDER, options
from nnbench.config.run_table import EFFORTS, OPTIONS
from nnbench.contract.errors import ExitCode
from nnbench.data.workloads import OVERRIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench.records import RunInfo
    from nnbench.selection import Selection


class Terminated(BaseException):
    """After SIGTERM: stop as for Ctrl-C. A SystemExit would be taken for a plugin's."""


@click.command()
@options(*OPTIONS)
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="A TOML file with options of this command; those given here win.",
)
@click.option(
    "--resume", type=FOLDER, help="Finish the run in this folder, as planned; no other options."
)
def run(*, resume: Path | None, config: Path | None, **asked: Any) -> NoReturn:
    """Train backends on a workload; write accuracy and timing tables."""
    signal.signal(signal.SIGTERM, terminate)
    if resume:
        sys.exit(go_on(resume, progress=asked["progress"]))
    asked = combine(asked, config)
    effort, output, progress = (asked.pop(key) for key in ("effort", "output", "progress"))
    if effort == "rigorous" and asked["rounds"] < EFFORTS[effort].values["rounds"]:
        raise click.UsageError("--rigorous means at least 10 rounds")
    from nnbench.runs import planning

    overrides = {key: value for key in OVERRIDES if (value := asked.pop(key)) is not None}
    command = shlex.join(["nnbench", *sys.argv[1:]])
    info, selections = planning.plan(command=command, overrides=overrides, **asked)
    sys.exit(execute(info, selections, output, progress=progress, conclude=conclude))


def combine(defaults: dict[str, Any], config: Path | None) -> dict[str, Any]:
    """Return every option from where it counts: what is typed wins over the file."""
    typed = {key: defaults[key] for key in given() & defaults.keys()}
    written: dict[str, Any] = {}
    if config:
        from nnbench.config import files

        written = files.read_run(config)
    if "effort" in typed:
        written.pop("effort", None)
    asked = dict(defaults)
    for source in (written, typed):
        if effort := source.get("effort"):
            asked |= EFFORTS[effort].values
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


def go_on(folder: Path, *, progress: bool) -> ExitCode:
    """Run what is missing of an interrupted run."""
    from nnbench.runs import resuming

    if not given() <= {"resume", "progress"}:
        raise click.UsageError("--resume goes on as planned, and takes no options but --progress")
    info, selections = resuming.plan(folder)
    return execute(info, selections, folder, progress=progress, conclude=conclude, resume=True)


def terminate(*_: object) -> NoReturn:
    """Handle SIGTERM."""
    raise Terminated


def execute(
    info: RunInfo,
    selections: Sequence[Selection],
    output: Path | None,
    *,
    progress: bool,
    conclude: Callable[[RunInfo, Path], ExitCode],
    resume: bool = False,
) -> ExitCode:
    """Run the cells, then conclude from what was finished, even after an interruption."""
    from rich.console import Console

    from nnbench.runs import results, runner
    from nnbench.show.progress import choose

    folder = output or results.default_folder(info)
    console = Console(stderr=True)
    display = choose(console, len(info.backends) * info.rounds, wanted=progress)
    interruption = None
    try:
        with display:
            start = runner.resume if resume else runner.run
            start(info, selections, folder, display)
    except (KeyboardInterrupt, Terminated) as error:
        is_signal = isinstance(error, Terminated)
        interruption = ExitCode.TERMINATED if is_signal else ExitCode.INTERRUPTED
        console.print("interrupted; the finished cells are kept")
    if interruption and not (folder / results.RUN).exists():
        return interruption
    code = conclude(info, folder)
    return interruption or code


def conclude(info: RunInfo, folder: Path) -> ExitCode:
    """Write and show the tables of what was finished, and return the exit code."""
    from nnbench import catalog
    from nnbench.figures import columns
    from nnbench.proof import judge
    from nnbench.runs.run import Run
    from nnbench.show.terminal import Terminal, print_tables
    from nnbench.show.text import write_tables

    run = Run.open(folder)
    write_tables(run, folder)
    catalog.notify("nnbench_run_finished", run=run.info, folder=folder)
    print_tables(Terminal(), columns.tables(run.info).values(), run.frame, folder)
    click.echo(f"Results: {folder}")
    return judge.exit_code(run.cells, info.required)
