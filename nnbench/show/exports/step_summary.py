"""A summary for a step of GitHub Actions: who wins, the tables, and the rest folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.figures.columns import sections, timing_columns
from nnbench.figures.values import MISSING
from nnbench.show import rendering
from nnbench.show.markdown import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pandas as pd

    from nnbench.figures.values import Row
    from nnbench.records import RunInfo

OPEN = ("accuracy", "timing")  #: tables that are not folded away


def to_markdown(folder: Path) -> bytes:
    """Return a run as GitHub Markdown."""
    summary = rendering.summarize(folder)
    info, frame = summary.info, summary.frame()
    sheets = {name: rendering.sheet(*s, frame) for name, s in sections(info).items()}
    shown = [sheets.pop(name) for name in OPEN]
    blocks = [
        f"### nnbench: {escape(info.workload.name)}",
        items(verdicts(info, frame)) or "No backend was measured.",
        *map(rendering.markdown_block, shown),
        items(map(escape, rendering.notes(frame))),
        folded("Every round, and other times", map(rendering.markdown_block, sheets.values())),
        folded("Machine", [rendering.caption(info), items(map(escape, info.warnings))]),
    ]
    return ("\n\n".join(filter(None, blocks)) + "\n").encode()


def verdicts(info: RunInfo, frame: pd.DataFrame) -> Iterator[str]:
    """Say of each backend that has figures how long an epoch takes, and how that compares."""
    seconds = next(c for c in timing_columns(info) if c.name == "train_s_per_epoch")
    rows: Iterable[Row] = frame.itertuples()
    for row in rows:
        if (text := seconds.text(row)) != MISSING:
            compared = rendering.compared(info, row)
            told = f"{text} s/epoch, {compared}" if compared else f"{text} s/epoch"
            yield f"**{escape(row.backend)}**: {escape(told)}"


def items(lines: Iterable[str]) -> str:
    """Return a list; nothing if it is empty."""
    return "\n".join(f"- {line}" for line in lines)


def folded(title: str, blocks: Iterable[str]) -> str:
    """Return blocks that are shown on a click; the empty lines let them be Markdown."""
    inner = "\n\n".join(filter(None, blocks))
    return f"<details><summary>{title}</summary>\n\n{inner}\n\n</details>"
