"""What a run says in one sentence and one table: who wins, by how much, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnbench.figures import analysis
from nnbench.figures.columns import accuracy_columns, timing_columns
from nnbench.figures.frames import epoch_s
from nnbench.figures.values import MISSING, significant
from nnbench.show.rendering import Sheet

if TYPE_CHECKING:
    from nnbench.figures.analysis import Comparison
    from nnbench.figures.values import Row
    from nnbench.show.source import Source


class Headline(NamedTuple):
    """The first thing on the page."""

    title: str
    text: str
    table: Sheet


def write(source: Source) -> Headline:
    """Sum up a run."""
    title, text = _verdict(source)
    return Headline(title, text, table(source))


def table(source: Source) -> Sheet:
    """Return the columns of both tables that matter most, a row for each backend."""
    info, timing = source.info, source.summary.timing
    accuracy = source.summary.accuracy
    frame = timing.join(accuracy[accuracy.columns.difference(timing.columns)])
    texts = {c.heading: c.text for c in (*timing_columns(info), *accuracy_columns(info))}
    ratio, interval = texts[f"× {info.baseline}"], texts["95% interval"]
    shown = {
        **{heading: texts[heading] for heading in ("backend", "accuracy %", "train s/epoch")},
        f"× {info.baseline} (95% interval)": lambda row: _join(ratio(row), interval(row)),
        **{heading: texts[heading] for heading in ("verdict", "n")},
        **{h: text for h, text in texts.items() if h.startswith("≥") or h in {"after s", "status"}},
    }
    rows = [[text(row) for text in shown.values()] for row in frame.itertuples()]
    return Sheet("", list(shown), rows)


def _join(ratio: str, interval: str) -> str:
    """Write an interval behind a ratio, so that a line can break only between the two."""
    within = interval.replace(" ", "\N{NO-BREAK SPACE}")
    return ratio if interval == MISSING else f"{ratio} ({within})"


def _verdict(source: Source) -> tuple[str, str]:
    """Compare the two fastest backends, which need not be the baseline."""
    if not source.ranked:
        return "Nothing to compare", f"In this run {source.why_nothing()}."
    best, *others = source.ranked
    pace = f"{best.backend} trains an epoch in {significant(best.train_s_per_epoch)} s"
    if not others:
        return pace, "There is no other backend to compare it with."
    second = others[0].backend
    found = _compare(source, others[0], best)
    if found is None:
        return pace, f"It has no round in common with {second}."
    match found.verdict:
        case "slower":
            title = f"{best.backend} is the fastest"
            meaning = "The difference is beyond the noise floor."
        case "same":
            title = f"{best.backend} and {second} are equally fast"
            meaning = "That is within the noise floor."
        case _:
            title = f"{best.backend} or {second}: undecided"
            meaning = "That does not settle which of them is faster."
    return title, f"{pace}, and {second} takes {_times(found)}. {meaning}"


def _compare(source: Source, slower: Row, faster: Row) -> Comparison | None:
    """Compare two ranked backends round by round."""
    base = {cell.round: epoch_s(cell) for cell in source.of(faster.backend)}
    pairs = [
        (epoch_s(cell), base[cell.round])
        for cell in source.of(slower.backend)
        if cell.round in base
    ]
    if not pairs:
        return None
    return analysis.compare(
        [own for own, _ in pairs], [other for _, other in pairs], source.info.noise_floor
    )


def _times(found: Comparison) -> str:
    rounds = f"{found.pairs} round{'s' if found.pairs > 1 else ''}"
    text = f"{significant(found.ratio)} times as long"
    if found.interval is None:
        return f"{text} ({rounds}, too few for an interval)"
    low, high = map(significant, (found.interval.low, found.interval.high))
    return f"{text} (95% interval {low} to {high}, {rounds})"
