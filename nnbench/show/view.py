"""What ``nnbench show`` shows of a run: some of its tables and columns, in some order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnbench.contract.errors import NnbenchError
from nnbench.figures.columns import Section, sections
from nnbench.show import rendering

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

    from nnbench.show.rendering import Summary

ALL = "all"  #: of the columns: also those that a narrow terminal has no room for


class View(NamedTuple):
    """A run, and what to show of it."""

    folder: Path
    summary: Summary
    sections: list[Section]
    frame: pd.DataFrame  #: one row for each backend

    def records(self) -> list[dict[str, object]]:
        """Return the chosen columns as numbers, one row for each backend; None is missing."""
        columns = [column for section in self.sections for column in section.columns]
        fields = list(dict.fromkeys(field for column in columns for field in column.fields))
        frame = self.frame.reindex(columns=fields).astype(object)
        lines = frame.where(frame.notna(), None).to_numpy().tolist()
        return [dict(zip(fields, line, strict=True)) for line in lines]

    def markdown(self) -> str:
        """Return the tables as Markdown."""
        sheets = [rendering.sheet(*section, self.frame) for section in self.sections]
        head = rendering.caption(self.summary.info)
        return rendering.markdown_page(head, sheets, rendering.notes(self.frame))


def read(
    folders: Sequence[Path],
    *,
    tables: Sequence[str] = (),
    columns: Sequence[str] = (),
    sort: str | None = None,
    reverse: bool = False,
) -> list[View]:
    """Read runs, and choose what to show of them.

    Parameters
    ----------
    folders
        Of the runs.
    tables, columns
        Names; none means all tables, and the columns for which there is room.
    sort
        A column; backends without a figure come last. Without one, the fastest comes first.
    reverse
        From the largest to the smallest.

    Raises
    ------
    NnbenchError
        If a folder holds no run or not the table, or no run has a column of that name.
    """
    summaries = [rendering.summarize(folder) for folder in folders]
    found = [choose(sections(summary.info), tables) for summary in summaries]
    if not all(found):
        raise NnbenchError(f"{folders[found.index({})]} has no table of {' and '.join(tables)}")
    known = {c.name: c for one in found for section in one.values() for c in section.columns}
    if columns:
        check(columns, [*known, ALL])
    if sort is not None:
        check([sort], [column.name for column in known.values() if column.sortable])
    return [
        View(
            folder,
            summary,
            [section for s in one.values() if (section := narrow(s, columns)).columns],
            arrange(
                summary.frame(),
                known[sort].fields[0] if sort is not None else None,
                reverse=reverse,
            ),
        )
        for folder, summary, one in zip(folders, summaries, found, strict=True)
    ]


def choose(found: dict[str, Section], tables: Sequence[str]) -> dict[str, Section]:
    """Return the tables of some names, or all."""
    return {name: section for name, section in found.items() if not tables or name in tables}


def check(names: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names of columns that are not known."""
    for name in names:
        if name not in known:
            raise NnbenchError(f"no column {name!r}; known: {', '.join(known)}")


def narrow(section: Section, names: Sequence[str]) -> Section:
    """Return a table with the backend and some columns, as they are named; empty if it has none."""
    if not names:
        return section
    by_name = {column.name: column._replace(drop=0) for column in section.columns}
    if ALL in names:
        return Section(section.title, list(by_name.values()))
    backend = by_name.pop("backend")
    kept = [by_name[name] for name in names if name in by_name]
    return Section(section.title, [backend, *kept] if kept or set(names) == {"backend"} else [])


def arrange(frame: pd.DataFrame, field: str | None, *, reverse: bool) -> pd.DataFrame:
    """Sort rows by a field that some of them may lack; without one, reverse them if need be."""
    if field is not None and field in frame.columns:
        return frame.sort_values(field, ascending=not reverse, kind="stable")
    return frame[::-1] if reverse else frame


def records(views: Sequence[View]) -> list[dict[str, object]]:
    """Return the rows of all runs; of several, each begins with its run."""
    several = len(views) > 1
    return [
        {"run": str(view.folder), **record} if several else record
        for view in views
        for record in view.records()
    ]
