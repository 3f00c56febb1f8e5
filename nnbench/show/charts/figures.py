"""The figures of a run, by the name that users type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.show.charts import accuracy, losses, times, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.show.charts.figure import Figure
    from nnbench.show.source import Source

    Draw = Callable[[Source, dict[str, str]], Figure]

FIGURES: dict[str, Draw] = {
    "ratios": times.ratios,
    "accuracy": accuracy.over_time,
    "rounds": times.rounds,
    "loss": losses.over_steps,
    "phases": work.phases,
    "ceiling": work.ceiling,
}
