"""``nnbench run``: train every backend, write the tables, and show them."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from nnbench.cli.options import (
    COUNT,
    FOLDER,
    LAYER_SIZES,
    PERCENTAGE,
    POSITIVE_NUMBER,
    SEED,
    THREADS,
    TIMEOUT,
)
from nnbench.contract.errors import ExitCode
from nnbench.data.workloads import OVERRIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnbench.records import RunInfo
    from nnbench.selection import Selection

DEFAULTS = {"rounds": 3, "budget": 15.0}
EFFORTS: dict[str | None, dict[str, float]] = {
    "quick": {"rounds": 1, "budget": 2.0, "epochs": 1},
    "rigorous": {"rounds": 10},
    None: {},
}


class Terminated(BaseException):
    """SIGTERM came: stop as for Ctrl-C. A SystemExit would be taken for a plugin's."""


@click.command()
@click.option(
    "--backends",
    "-b",
    multiple=True,
    default=["all"],
    metavar="NAMES",
    help="Backends, with commas: all, numpy, torch-cpu[threads=2]. May be repeated.",
)
@click.option("--workload", "-w", default="mnist", help="What to train: a name, or a .toml file.")
@click.option("--dataset", help="Another dataset: a name, or a folder of IDX files.")
@click.option("--epochs", type=COUNT, help="Passes over the training set.")
@click.option("--batch-size", type=COUNT, help="Examples in a step.")
@click.option("--hidden", type=LAYER_SIZES, help="Units of the hidden layers: 128,64 or none.")
@click.option("--activation", type=click.Choice(["relu", "sigmoid"]), help="Of hidden layers.")
@click.option("--optimizer", type=click.Choice(["sgd", "adam", "adam-fresh"]))
@click.option("--learning-rate", type=POSITIVE_NUMBER)
@click.option(
    "--target",
    "target_accuracy",
    type=PERCENTAGE,
    help="Accuracy that training must reach, in percent.",
)
@click.option(
    "--rounds",
    "-r",
    type=COUNT,
    help=f"Blocks, each with a seed of its own.  [default: {DEFAULTS['rounds']}]",
)
@SEED
@THREADS
@click.option(
    "--budget",
    type=POSITIVE_NUMBER,
    help=f"Seconds of training a cell may use.  [default: {DEFAULTS['budget']:g}]",
)
@TIMEOUT
@click.option("--baseline", help="The backend whose time is 1.  [default: numpy]")
@click.option(
    "--roofline", is_flag=True, help="Measure the machine's ceilings, and each backend's share."
)
@click.option(
    "--output",
    "-o",
    type=FOLDER,
    help="Folder of the results.  [default: results/<time>-<workload>]",
)
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
    "--quick",
    "effort",
    flag_value="quick",
    help="One round of one epoch, 2 s of training each.",
)
@click.option("--rigorous", "effort", flag_value="rigorous", help="At least 10 rounds.")
@click.option("--progress/--no-progress", default=True, help="Show how the run goes on.")
def run(*, resume: Path | None, config: Path | None, **options: Any) -> NoReturn:
    """Train backends on a workload; write accuracy and timing tables."""
    signal.signal(signal.SIGTERM, terminate)
    if resume:
        sys.exit(go_on(resume, progress=options["progress"]))
    options = combine(options, config)
    effort, output, progress = (options.pop(key) for key in ("effort", "output", "progress"))
    if effort == "rigorous" and options["rounds"] < EFFORTS[effort]["rounds"]:
        raise click.UsageError("--rigorous means at least 10 rounds")
    from nnbench.runs import planning

    overrides = {key: value for key in OVERRIDES if (value := options.pop(key)) is not None}
    command = shlex.join(["nnbench", *sys.argv[1:]])
    info, selections = planning.plan(command=command, overrides=overrides, **options)
    sys.exit(execute(info, selections, output, progress=progress, conclude=conclude))


def combine(options: dict[str, Any], config: Path | None) -> dict[str, Any]:
    """Return every option from where it counts: what is typed wins over the file."""
    typed = {key: options[key] for key in given() & options.keys()}
    written: dict[str, Any] = {}
    if config:
        from nnbench.config import run_file

        written = run_file.read(config)
    if "effort" in typed:
        written.pop("effort", None)
    found = options | DEFAULTS
    for source in (written, typed):
        found |= EFFORTS[source.get("effort")] | source
    return found


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
    from nnbench.runs import results
    from nnbench.show import rendering
    from nnbench.show.output import Terminal
    from nnbench.show.terminal import print_tables

    summary = rendering.summarize(folder)
    rendering.write_tables(folder, summary)
    catalog.notify("nnbench_run_finished", run=summary.info, folder=folder)
    sections = columns.sections(summary.info).values()
    print_tables(Terminal(), sections, summary.frame(), folder)
    click.echo(f"Results: {folder}")
    return judge.exit_code(results.read_final(folder), info.required)
