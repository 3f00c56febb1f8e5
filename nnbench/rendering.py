"""Make text of the tables: Markdown for files, rich tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from nnbench import results, tables
from nnbench.columns import (
    OTHER_PARTS,
    PHASES,
    ROOFLINE,
    ROUNDS,
    Column,
    Row,
    accuracy_columns,
    timing_columns,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd
    from rich.console import Console

    from nnbench.results import Roof, RunInfo


class Sheet(NamedTuple):
    """A table of text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def sheet(title: str, columns: Sequence[Column], frame: pd.DataFrame) -> Sheet:
    """Write a frame as text."""
    rows = [[column.text(row) for column in columns] for row in frame.itertuples()]
    return Sheet(title, [column.heading for column in columns], rows)


def markdown(table: Sheet) -> str:
    """Return a table as GitHub Markdown, the first column to the left, numbers to the right."""
    lines = [table.headings, ["---"] + ["---:"] * (len(table.headings) - 1), *table.rows]
    return "\n".join("| " + " | ".join(map(_escape, line)) + " |" for line in lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def rich_table(table: Sheet) -> Table:
    """Return a table for the terminal."""
    shown = Table(title=table.title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    name, *figures = table.headings
    shown.add_column(Text(name), overflow="fold")  # shortened names can be alike
    for heading in figures:
        shown.add_column(Text(heading), justify="right")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


def notes(frame: pd.DataFrame) -> list[str]:
    """Say why a backend has no figures, one line each."""
    rows: Iterable[Row] = frame.itertuples()
    return [f"{row.backend}: {row.status}: {row.message}" for row in rows if row.message]


class Summary(NamedTuple):
    """The tables of a run, as numbers and as text."""

    info: RunInfo
    accuracy: pd.DataFrame
    timing: pd.DataFrame

    def sheets(self) -> dict[str, list[Sheet]]:
        """Return the tables of text, by the file that holds them."""
        against = f"verdict against {self.info.baseline}, noise floor {self.info.noise_floor:.1%}"
        return {
            "accuracy": [sheet("Accuracy", accuracy_columns(self.info), self.accuracy)],
            "timing": [
                sheet(f"Timing ({against})", timing_columns(self.info), self.timing),
                sheet("Train s/epoch, round by round", ROUNDS, self.timing),
                sheet("Outside the clock, medians", OTHER_PARTS, self.timing),
                sheet("Phases of a step, µs, medians", PHASES, self.timing),
                *([sheet(self._ceilings(), ROOFLINE, self.timing)] if self.info.roofs else []),
            ],
        }

    def _ceilings(self) -> str:
        """Title the roofline's table with what the shares are of."""
        return "Share of the ceilings: " + "; ".join(map(describe_roof, self.info.roofs))


def describe_roof(roof: Roof) -> str:
    """Write a roof in a few words."""
    where = "GPU" if roof.device != "cpu" else f"{roof.threads} thread{'s' * (roof.threads > 1)}"
    reached = [(roof.gflops, "GFLOP/s"), (roof.gb_per_s, "GB/s")]
    return f"{where} " + ", ".join(f"{value:.0f} {unit}" for value, unit in reached if value)


def summarize(folder: Path) -> Summary:
    """Derive the tables of the run in ``folder``."""
    info, cells = results.read_info(folder), results.read_final(folder)
    return Summary(info, tables.accuracy(info, cells), tables.timing(info, cells))


def write_tables(folder: Path, summary: Summary) -> None:
    """Write ``accuracy`` and ``timing`` as CSV and Markdown."""
    results.write(folder / "accuracy.csv", summary.accuracy.to_csv(index=False).encode())
    results.write(folder / "timing.csv", summary.timing.to_csv(index=False).encode())
    for name, sheets in summary.sheets().items():
        blocks = [caption(summary.info)]
        blocks += [f"**{s.title}**\n\n{markdown(s).rstrip()}" for s in sheets]
        blocks.append("\n".join(f"- {line}" for line in notes(summary.timing)))
        results.write(folder / f"{name}.md", ("\n\n".join(filter(None, blocks)) + "\n").encode())


def caption(info: RunInfo) -> str:
    """Say in one paragraph what was run, and where."""
    e = info.environment
    versions = ", ".join(f"{name} {version}" for name, version in e.versions.items())
    machine = "; ".join([f"{e.cpu}, {e.usable_cores} cores", *e.gpus])
    threads = f"{info.threads} thread{'s' if info.threads > 1 else ''}"
    rounds = f"{info.rounds} round{'s' if info.rounds > 1 else ''}"
    what = f"`{info.command}`: {info.workload.name}, {rounds}, seed {info.seed}, {threads}"
    return f"{what}, {info.budget_s:g} s of training at most.\n{machine}; {e.python}, {versions}."


def print_tables(console: Console, summary: Summary) -> None:
    """Show the tables, and why a backend has no figures."""
    for sheets in summary.sheets().values():
        for table in sheets:
            console.print(rich_table(table))
    for line in notes(summary.timing):
        console.print(line, markup=False, highlight=False)
