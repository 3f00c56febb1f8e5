"""What ``nnbench show`` shows of a run: some of its tables and columns, in some order."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from nnbench.contract.errors import NnbenchError
from nnbench.figures.columns import Table, value, why_missing
from nnbench.show.text import caption, markdown_page, remarks, sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnbench.figures.columns import Row
    from nnbench.figures.frames import Frame
    from nnbench.runs.sweep import Sweep

ALL = "all"  #: of the columns: also those that a narrow terminal has no room for


class View(NamedTuple):
    """A run, and what to show of it."""

    run: Sweep
    tables: list[Table]

    def records(self) -> list[dict[str, object]]:
        """Return the chosen columns of each row as numbers; None is missing.

        Of several kinds of machines there are rows for each of these as well, which their ``machine_kind`` names.
        """
        columns = [column for table in self.tables for column in table.columns]
        fields = list(dict.fromkeys(field for column in columns for field in column.fields))
        rows = {table.kind: table.rows for table in self.tables}
        return [
            {field: value(row, field) for field in fields}
            | ({"machine_kind": kind} if self.run.is_mixed else {})
            for kind, own in rows.items()
            for row in own
        ]

    def markdown(self) -> str:
        """Return the tables as Markdown."""
        return markdown_page(caption(self.run), map(sheet, self.tables), remarks(self.run))


def choose(
    runs: Sequence[Sweep],
    *,
    names: Sequence[str] = (),
    pairs: bool = False,
    columns: Sequence[str] = (),
    sort: str | None = None,
    reverse: bool = False,
) -> list[View]:
    """Choose what to show of runs.

    Parameters
    ----------
    runs
        What to show something of.
    names, columns
        Of tables and columns; none means all tables, and the columns for which there is room.
    pairs
        Whether to show every two backends, instead of tables with a row for each.
    sort
        A column; backends without a figure come last. Without one, the fastest comes first.
    reverse
        From the largest to the smallest.

    Raises
    ------
    NnbenchError
        If a run does not have the table, or no run has a column of that name.
    """
    chosen = [
        [run.pairs_table]
        if pairs
        else [table for table in run.tables if not names or table.name in names]
        for run in runs
    ]
    if not all(chosen):
        without = runs[chosen.index([])]
        lacking = f"{without.folder} has no table of {' and '.join(names)}"
        why = why_missing(names, [row for point in without for row in point.frame])
        raise NnbenchError(": ".join(filter(None, [lacking, why])))
    known = {c.name: c for own in chosen for table in own for c in table.columns}
    check(columns, [*known, ALL])
    if sort is not None:
        figures = [c.name for c in known.values() if c.fields and not c.wraps]
        check([sort], ["backend", *figures])
    field = known[sort].fields[0] if sort is not None else None
    return [
        View(
            run,
            [
                table._replace(rows=arrange(table.rows, field, reverse=reverse))
                for whole in own
                if (table := narrow(whole, columns)).columns
            ],
        )
        for run, own in zip(runs, chosen, strict=True)
    ]


def check(names: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names of columns that are not known."""
    for name in names:
        if name not in known:
            raise NnbenchError(f"no column {name!r}; known: {', '.join(known)}")


def narrow(table: Table, names: Sequence[str]) -> Table:
    """Return a table with the point, the backend and some columns, as they are named; empty if it has none of these."""
    if not names:
        return table
    by_name = {column.name: column._replace(drop=0, on_request=False) for column in table.columns}
    if ALL in names:
        return table._replace(columns=[*by_name.values()])
    heads = [*by_name][: [*by_name].index("backend") + 1]
    kept = [by_name[name] for name in names if name in by_name and name not in heads]
    has_any = kept or {*names} <= {*heads}
    return table._replace(columns=[*map(by_name.__getitem__, heads), *kept] if has_any else [])


def arrange(frame: Sequence[Row], field: str | None, *, reverse: bool) -> Frame:
    """Sort rows by a field, those that lack it last; without one, reverse them if need be."""
    if field is None:
        return [*(reversed(frame) if reverse else frame)]
    known = [row for row in frame if value(row, field) is not None]
    known.sort(key=attrgetter(field), reverse=reverse)
    return [*known, *(row for row in frame if value(row, field) is None)]


def records(views: Sequence[View]) -> list[dict[str, object]]:
    """Return the rows of all runs; of several, each begins with its run."""
    several = len(views) > 1
    return [
        {"run": str(view.run.folder), **record} if several else record
        for view in views
        for record in view.records()
    ]
