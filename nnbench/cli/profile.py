"""``nnbench profile``: find out why a backend is slow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from nnbench.cli.options import Real, option
from nnbench.cli.run import without_plugins
from nnbench.contract.errors import NnbenchError

if TYPE_CHECKING:
    from nnbench.execution.profiling import Profile, Profiler

PROFILERS = ("cprofile", "torch", "py-spy", "perf")
FOLDER = Path("profiles")  #: where they go if nobody has chosen a folder: no run is there
HEADINGS = ["", "share", "seconds", "calls", "itself, without what it calls"]
LONGEST, WIDEST = 10, 200  #: lines of the table, and characters of a name


@click.command()
@click.argument("backend")
@option("workload")
@option("threads", help="CPU threads of the backend.")
@click.option(
    "--with",
    "profiler",
    type=click.Choice(PROFILERS),
    help="The profiler.  [default: torch for backends on PyTorch, else py-spy if it is installed, else cprofile]",
)
@click.option("--seconds", type=Real(0.01, 600), default=5.0, help="How much training to watch.")
@option("output", help="Folder of the profile.", shown="profiles/<time>-<backend>")
@without_plugins
def profile(
    *,
    backend: str,
    workload: str,
    threads: int,
    profiler: str | None,
    seconds: float,
    output: Path | None,
) -> NoReturn:
    """Train BACKEND under a profiler, to say where its time goes.

    It trains as in a run. A table says which functions took how long, and files are written that
    speedscope or Perfetto open. It is no measurement: nothing is compared or proved, and no run has it.
    """
    from nnbench import selection
    from nnbench.config import files
    from nnbench.execution import profiling
    from nnbench.records.cells import now
    from nnbench.runs import store

    chosen = selection.parse([backend])
    if len(chosen) != 1:
        raise NnbenchError(f"{backend} is not one backend: name one")
    found = files.find_workload(workload)
    tool = profiling.PROFILERS[profiler]() if profiler else profiling.choose(chosen[0].backend)
    folder = output or FOLDER / store.folder_name(now(), chosen[0].label)
    store.require_new(folder)  # a run and a profile have no place in common
    made = profiling.run(chosen[0], found, tool, folder, threads=threads, seconds=seconds)
    tell(f"{chosen[0].label} on {found.name}", made, tool, folder)
    sys.exit(0)


def tell(what: str, found: Profile, profiler: Profiler, folder: Path) -> None:
    """Show where the time went, what was written, and what opens it."""
    from nnbench.figures.columns import MISSING, significant
    from nnbench.show.terminal import Terminal, print_sheet, say
    from nnbench.show.text import Sheet

    terminal, whole = Terminal(), sum(line.seconds for line in found.lines)
    rows = [
        [
            str(number),
            f"{line.seconds / whole:.0%}" if whole else MISSING,
            significant(line.seconds),
            MISSING if line.calls is None else f"{line.calls:,}",
            line.name[:WIDEST],
        ]
        for number, line in enumerate(found.lines[:LONGEST], start=1)
    ]
    print_sheet(terminal, Sheet(f"Where the time of {what} went", HEADINGS, rows))
    trained = f"{found.images:,} images in {significant(found.train_s)} s"
    say(terminal, f"{trained}, under {profiler.name}: no time to compare with others")
    for name, opens in profiler.files.items():
        say(terminal, f"{folder / name}: {opens}")
