"""Make text of the tables, and Markdown for the files of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnbench import files
from nnbench.figures import frames
from nnbench.figures.columns import sections, timing_columns
from nnbench.figures.values import MISSING
from nnbench.runs import results
from nnbench.show.markdown import code, escape
from nnbench.show.markdown import table as markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

    from nnbench.figures.columns import Column
    from nnbench.figures.values import Row
    from nnbench.records import CellResult, RunInfo


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
    """Return a table as GitHub Markdown."""
    return markdown_table(table.headings, table.rows)


def notes(frame: pd.DataFrame) -> list[str]:
    """Say why a backend has no figures, one line each."""
    rows: Iterable[Row] = frame.itertuples()
    return [f"{row.backend}: {row.status}: {row.message}" for row in rows if row.message]


def compared(info: RunInfo, row: Row) -> str:
    """Say in a few words how a backend compares with the baseline; nothing for that itself."""
    ratio, interval, verdict = (column.text(row) for column in timing_columns(info)[-3:])
    if verdict == MISSING:
        return ""
    within = f"one round; {verdict}" if interval == MISSING else f"{interval}; {verdict}"
    return f"{ratio} × {info.baseline} ({within})"


class Summary(NamedTuple):
    """The tables of a run, as numbers and as text."""

    info: RunInfo
    accuracy: pd.DataFrame
    timing: pd.DataFrame
    cells: Sequence[CellResult] = ()  #: the one attempt at each that counts

    def frame(self) -> pd.DataFrame:
        """Return both tables side by side: one row for each backend."""
        shared = self.accuracy.columns.intersection(self.timing.columns)
        return self.accuracy.join(self.timing.drop(columns=shared))

    def sheets(self) -> dict[str, list[Sheet]]:
        """Return the tables of text, by the file that holds them."""
        frame, found = self.frame(), sections(self.info)
        written = {name: sheet(*section, frame) for name, section in found.items()}
        return {"accuracy": [written.pop("accuracy")], "timing": list(written.values())}


def summarize(folder: Path) -> Summary:
    """Derive the tables of the run in ``folder``."""
    info, cells = results.read_info(folder), results.read_final(folder)
    return Summary(info, frames.accuracy(info, cells), frames.timing(info, cells), cells)


def write_tables(folder: Path, summary: Summary) -> None:
    """Write ``accuracy`` and ``timing`` as CSV and Markdown."""
    files.write_whole(folder / "accuracy.csv", summary.accuracy.to_csv(index=False).encode())
    files.write_whole(folder / "timing.csv", summary.timing.to_csv(index=False).encode())
    for name, sheets in summary.sheets().items():
        text = markdown_page(caption(summary.info), sheets, notes(summary.timing))
        files.write_whole(folder / f"{name}.md", text.encode())


def markdown_page(head: str, sheets: Sequence[Sheet], remarks: Sequence[str]) -> str:
    """Return tables with what stands above and below them."""
    blocks = [head, *map(markdown_block, sheets)]
    blocks.append("\n".join(f"- {escape(line)}" for line in remarks))
    return "\n\n".join(filter(None, blocks)) + "\n"


def markdown_block(table: Sheet) -> str:
    """Return a table as GitHub Markdown below its title."""
    return f"**{escape(table.title)}**\n\n{markdown(table).rstrip()}"


def caption(info: RunInfo) -> str:
    """Say in one paragraph of Markdown what was run, and where."""
    e = info.environment
    versions = ", ".join(f"{name} {version}" for name, version in e.versions.items())
    machine = "; ".join([f"{e.cpu}, {e.usable_cores} cores", *e.gpus])
    threads = f"{info.threads} thread{'s' if info.threads > 1 else ''}"
    rounds = f"{info.rounds} round{'s' if info.rounds > 1 else ''}"
    what = f"{escape(info.workload.name)}, {rounds}, seed {info.seed}, {threads}"
    asked = f"{code(info.command)}: {what}, {info.budget_s:g} s of training at most."
    return f"{asked}\n{escape(f'{machine}; {e.python}, {versions}')}."
