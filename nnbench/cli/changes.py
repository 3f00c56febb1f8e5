"""The options of every comparison, and its outcome as Markdown, CSV or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnbench.contract.errors import ExitCode
from nnbench.figures.metrics import DEFAULT_GATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.runs.comparison import Change

FAIL = click.option(
    "--fail",
    "gates",
    multiple=True,
    metavar="METRIC:LIMIT",
    help="What may get worse, and by how much. May be repeated.  "
    f"[default: {' and '.join(DEFAULT_GATES)}, where measured]",
)
STRICT = click.option(
    "--strict",
    is_flag=True,
    help=f"End with {ExitCode.INCONCLUSIVE:d} if a comparison is inconclusive.",
)
TABLE_FORMAT = click.option(
    "--table-format", type=click.Choice(["md", "csv", "json"]), default="md"
)
HEADINGS = ["backend", "limit", "base", "new", "change", "95% interval", "verdict", "outcome"]


def show(changes: Sequence[Change], table_format: str) -> None:
    """Print every change, and below a table why some have no figures."""
    import msgspec
    import pandas as pd

    if table_format == "json":
        click.echo(msgspec.json.format(msgspec.json.encode([record(c) for c in changes])).decode())
    elif table_format == "csv":
        click.echo(pd.DataFrame([record(c) for c in changes]).to_csv(index=False), nl=False)
    else:
        from nnbench.show.rendering import Sheet, markdown

        click.echo(markdown(Sheet("", HEADINGS, [cells(c) for c in changes])), nl=False)
        for note in dict.fromkeys(f"\n- {c.backend}: {c.message}" for c in changes if c.message):
            click.echo(note)


def record(change: Change) -> dict[str, object]:
    """Return a change as plain values."""
    interval = change.interval
    return {
        "backend": change.backend,
        "metric": change.gate.metric.name,
        "limit": change.gate.text,
        "base": change.base,
        "new": change.new,
        "change": interval.ratio if interval else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "verdict": change.verdict,
        "outcome": change.outcome,
        "message": change.message,
    }


def cells(change: Change) -> list[str]:
    """Return a change as the cells of a row."""
    from nnbench.figures.values import MISSING, significant

    by_ratio = change.gate.metric.scale == "ratio"

    def figure(value: float | None) -> str:
        if value is None:
            return MISSING
        return significant(value) if by_ratio else f"{value:.2%}"

    def step(value: float) -> str:
        return f"× {value:.3f}" if by_ratio else f"{value * 100:+.2f} pp"

    found = change.interval
    return [
        change.backend,
        change.gate.text,
        figure(change.base),
        figure(change.new),
        step(found.ratio) if found else MISSING,
        f"{step(found.low)} to {step(found.high)}" if found else MISSING,
        change.verdict or MISSING,
        change.outcome,
    ]
