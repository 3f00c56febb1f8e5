"""A summary for a step of GitHub Actions: who wins, the tables, and the rest folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.figures.columns import MISSING, column
from nnbench.show.text import (
    bullets,
    caption,
    compared,
    escape,
    markdown_block,
    notes,
    sheets,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nnbench.figures.columns import Row
    from nnbench.runs.run import Run

OPEN = ("accuracy", "timing")  #: tables that are not folded away


def to_markdown(run: Run) -> bytes:
    """Return a run as GitHub Markdown."""
    info, rest = run.info, sheets(run)
    shown = [rest.pop(name) for name in OPEN]
    blocks = [
        f"### nnbench: {escape(info.workload.name)}",
        bullets(verdicts(run)) or "No backend was measured.",
        *map(markdown_block, shown),
        bullets(map(escape, notes(run.frame))),
        folded("Every round, and other times", map(markdown_block, rest.values())),
        folded("Machine", [caption(info), bullets(map(escape, info.warnings))]),
    ]
    return ("\n\n".join(filter(None, blocks)) + "\n").encode()


def verdicts(run: Run) -> Iterator[str]:
    """Say of each backend that has figures how long an epoch takes, and how that compares."""
    seconds = column(run.info, "train_s_per_epoch")
    rows: Iterable[Row] = run.frame.itertuples()
    for row in rows:
        if (text := seconds.text(row)) != MISSING:
            against = compared(run.info, row)
            pace = f"{text} s/epoch, {against}" if against else f"{text} s/epoch"
            yield f"**{escape(row.backend)}**: {escape(pace)}"


def folded(title: str, blocks: Iterable[str]) -> str:
    """Return blocks that are shown on a click; the empty lines let them be Markdown."""
    inner = "\n\n".join(filter(None, blocks))
    return f"<details><summary>{title}</summary>\n\n{inner}\n\n</details>"
