"""Make text of a run: its tables, what is said beside them, and GitHub Markdown of both.

In Markdown every text is shown as it is, whatever is in it.
"""

from __future__ import annotations

import math
import re
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple, assert_never

from nnbench import files
from nnbench.figures import axes, metrics
from nnbench.figures.accuracies import FINDINGS
from nnbench.figures.columns import COLUMNS, MISSING, column, machine_names, significant, value
from nnbench.figures.metrics import Scale
from nnbench.records.cells import Status
from nnbench.runs import scaling
from nnbench.texts import csv_text, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from nnbench.figures.columns import Row, Table
    from nnbench.figures.frames import Frame
    from nnbench.figures.metrics import Metric
    from nnbench.figures.outliers import Odd
    from nnbench.records.cells import CellResult, Proof
    from nnbench.records.runs import Point, RunInfo
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep

MARKUP = re.compile(
    r"[\\`*<&|]"  # escapes, code, emphasis, tags, entities, the borders of cells
    r"|(?<!\w)_|_(?!\w)"  # emphasis, but not the underscores within a word
    r"|~(?=.*~)"  # strikethrough takes two
    r"|(?<=\])[(\[]"  # links and images
    r"|^>|^[#+-](?=[#\s]|$)"  # quotations, headings, lists
)


#: What stands below the tables of an older run.
BEFORE_PROOFS = "not proved (made before proofs): the losses of the first steps alone were held against the reference"


class Sheet(NamedTuple):
    """A table of text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def sheet(table: Table, rows: Iterable[Row] | None = None) -> Sheet:
    """Write rows as text, the table's own if there are no others."""
    shown = table.rows if rows is None else rows
    written = [[column.text(row) for column in table.shown] for row in shown]
    return Sheet(table.title, [column.heading for column in table.shown], written)


def sheets(run: Run | Sweep) -> dict[str, Sheet]:
    """Return all tables of a run as text, by name; those of one kind of machines have its name, too."""
    return {" ".join(filter(None, (t.name, t.kind))): sheet(t) for t in run.tables}


def notes(run: Run) -> list[str]:
    """Say why a backend has no figures, or no rank, one line each; what was lost, or is odd; and if nothing could be proved."""
    frame = run.frame
    found = [f"{row.backend}: {row.status}: {row.message}" for row in frame if row.message]
    found += [f"{row.backend}: {stray}" for row in frame if (stray := strays(row))]
    if shared := next(filter(None, (value(row, "shared_remarks") for row in frame)), None):
        found.append(f"every backend: {shared}")
    found += [*losses(run), *differing(run), *map(odd_words, run.odd_machines)]
    has_no_proof = frame and not any(value(row, "proof") for row in frame)
    return [*found, BEFORE_PROOFS] if has_no_proof else found


def remarks(run: Sweep) -> list[str]:
    """Say where backends cross, and what there is to be said of each point: once what is so of all, and with the point what is not."""
    return [*scaling.sentences(run), *_of_points(run, notes)]


def _of_points(run: Sweep, said: Callable[[Run], Sequence[str]]) -> list[str]:
    by_point = [(axes.described(point.setting), said(point)) for point in run]
    shared = [line for line in by_point[0][1] if all(line in lines for _, lines in by_point)]
    return shared + [
        f"{where}: {line}" for where, lines in by_point for line in lines if line not in shared
    ]


def losses(run: Run) -> list[str]:
    """Say which blocks were lost for good, and why."""
    lost = {cell.round: cell.message for cell in run.cells if cell.status is Status.LOST}
    found = []
    for message in dict.fromkeys(lost.values()):
        rounds = ", ".join(str(number + 1) for number, why in lost.items() if why == message)
        found.append(f"round {rounds}: lost: {message}")
    return found


def differing(run: Run) -> list[str]:
    """Say whose speed against the baseline is another on other kinds of machines: their intervals have nothing in common."""
    found = []
    for name in (row.backend for row in run.ranked if run.is_mixed):
        rows = {
            kind: row
            for kind, part in run.kinds.items()
            for row in part.ranked
            if row.backend == name and value(row, "speedup_low") is not None
        }
        lows, highs = (
            [getattr(row, f"speedup_{end}") for row in rows.values()] for end in ("low", "high")
        )
        if rows and max(lows) > min(highs):
            each = ", ".join(f"{significant(row.speedup)} on {kind}" for kind, row in rows.items())
            what = "how many times as fast it is depends on the machine"
            found.append(f"{name}: {what}: {each}; of all together it is that of this mixture")
    return found


def odd_words(odd: Odd) -> str:
    """Say of a machine that its blocks lie apart from those of its equals."""
    others = machine_names(odd.equals)
    speed = significant(1 / odd.ratio)
    how = f"{odd.backend} is {speed} times as fast, against the baseline, as on {others}"
    which = "; which of the two is odd, they cannot say" if len(odd.equals) == 1 else ""
    return f"machine {odd.machine} is odd: {how} (p = {odd.p_value:.3f}, {count(odd.blocks, 'block')}){which}"


def strays(row: Row) -> str:
    """Say that an accuracy is a finding; nothing if it is not."""
    if (verdict := value(row, "accuracy_verdict")) not in FINDINGS:
        return ""
    points = f"{100 * abs(row.difference):.2f} points {verdict} than the baseline's"
    rounds = count(row.difference_rounds, "round")
    return f"its accuracy is {points} ({rounds}), so one of the two trains something else"


def times_as_fast(row: Row, baseline: str, *, within: str = "") -> str:
    """Say how many times as fast as the baseline a backend is, as its table writes it: above 1 is better.

    Parameters
    ----------
    row, baseline
        What has the ``speedup`` of a backend, and over whom.
    within
        What to say of how sure that is, in brackets.
    """
    said = f"{COLUMNS['speedup'].text(row)} times as fast as {baseline}"
    return f"{said} ({within})" if within else said


def how(info: RunInfo) -> str:
    """Say how that is computed."""
    within = "turn by turn within a round" if info.turns else "within a round"
    return (
        f"Times as fast: the time of {info.baseline} divided by the backend's, {within}, median of the rounds; "
        "of two medians of seconds the quotient can be another."
    )


def compared(info: RunInfo, row: Row) -> str:
    """Say in a few words how a backend compares with the baseline; nothing for that itself."""
    if row.no_rank:
        return f"no rank: {row.no_rank}"
    interval, verdict = (column(info, name).text(row) for name in ("speedup_interval", "verdict"))
    if verdict == MISSING:
        return ""
    sure = "one round" if interval == MISSING else interval
    return times_as_fast(row, info.baseline, within=f"{sure}; {verdict}")


def size(metric: Metric, number: float) -> str:
    """Write by how much a figure changed, in the unit of a limit on that: a ratio in percent."""
    match metric.scale:
        case Scale.RATIO:
            return f"{number - 1:+z.1%}"
        case Scale.DIFFERENCE:
            return f"{100 * number:+z.2f} pp"
        case unknown:
            assert_never(unknown)


def bytes_text(number: float) -> str:
    """Write a size in the unit in which it has up to three digits before the point."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(max(number, 1), 1024)), len(units) - 1)
    return f"{significant(number / 1024**power)} {units[power]}"


def duration(seconds: float) -> str:
    """Write a time in the unit in which it has two digits."""
    for unit, size in (("s", 1.0), ("min", 60.0)):
        if seconds < 100 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:.0f} h"


def cell_line(cell: CellResult, where: str = "") -> str:
    """Sum up a finished cell in one line; ``where`` says of which point it is, if there are several."""
    head = f"round {cell.round + 1} {cell.backend}{f' at {where}' if where else ''}"
    if not cell.status.counts:
        return f"{head}: {cell.status}: {cell.message}{'' if cell.final else '; runs again'}"
    accuracy = metrics.accuracy(cell)
    reached = "" if accuracy is None else f", accuracy {accuracy:.2%}"
    trained = f"{cell.images:,} images in {significant(cell.train_s)} s"
    more = "with those that found no room" if cell.took_turns else "disturbed, once more"
    again = "" if cell.final else f"; {more}"
    other = "; other optimizer" if cell.other_optimizer else ""
    told = f": {cell.message}" if cell.message else ""
    return f"{head}: {trained}{reached}{proof_words(cell.proof)}{other}{again}{told}"


def proof_words(proof: Proof | None) -> str:
    """Say how much of a training was proved, after a comma; nothing where nobody has tried."""
    if proof is None or proof.mode == "off":
        return ""
    return (
        ", proved" if proof.is_whole else f", followed {proof.proved:,} of {proof.trained:,} steps"
    )


def count(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def rounds_made(run: Sweep) -> str:
    """Say of how many rounds there is a cell of each backend, at each point."""
    return "; ".join(_of_points(run, lambda point: [_rounds_made(point)]))


def _rounds_made(run: Run) -> str:
    by_count: dict[int, list[str]] = {}
    for label in run.info.backends:
        by_count.setdefault(len(run.of(label)), []).append(label)
    most, *fewer = sorted(by_count, reverse=True)
    said = [f"{most} of {count(run.info.rounds, 'round')} of {', '.join(by_count[most])}"]
    return "; ".join([*said, *(f"{each} of {', '.join(by_count[each])}" for each in fewer)])


def escape(text: str) -> str:
    """Return a text as one line that is shown as it is."""
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def code(text: str) -> str:
    """Return a text as a code span, in more backticks than it holds itself."""
    text = one_line(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def markdown(sheet: Sheet) -> str:
    """Return a table as GitHub Markdown: the first column to the left, numbers to the right."""
    rule = ["---"] + ["---:"] * (len(sheet.headings) - 1)
    lines = [list(map(escape, sheet.headings)), rule, *(map(escape, row) for row in sheet.rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def markdown_block(sheet: Sheet) -> str:
    """Return a table as GitHub Markdown below its title."""
    return f"**{escape(sheet.title)}**\n\n{markdown(sheet).rstrip()}"


def markdown_page(head: str, sheets: Iterable[Sheet], remarks: Iterable[str]) -> str:
    """Return tables with what stands above and below them."""
    blocks = [head, *map(markdown_block, sheets), bullets(map(escape, remarks))]
    return "\n\n".join(filter(None, blocks)) + "\n"


def bullets(lines: Iterable[str]) -> str:
    """Return a list in Markdown; nothing if it is empty."""
    return "\n".join(f"- {line}" for line in lines)


def caption(run: Sweep) -> str:
    """Say in one paragraph of Markdown what was run, and where."""
    info = run.info
    seed = "random seeds" if info.seed is None else f"seed {info.seed}"
    what = f"{escape(trained(info))}, {count(info.rounds, 'round')}, {seed}, {threads(info)}"
    asked = f"{code(info.command)}: {what}, {info.budget_s:g} s of training at most."
    classes = f"\n{escape(named)}" if (named := relabelled(run)) else ""
    on = "".join(f"\n{escape(each)}." for each in places(run))
    return f"{asked}{on}{classes}"


def trained(info: RunInfo) -> str:
    """Name what was trained: the workload, or those at all points."""
    if not info.points[1:]:
        return info.workload.name
    bases = dict.fromkeys(point.workload.base for point in info.points)
    return f"{' and '.join(bases)}, {len(info.points)} points"


def threads(info: RunInfo) -> str:
    """Say how many threads a backend had that was not given its own."""
    *some, most = sorted({point.threads for point in info.points})
    return f"{', '.join(map(str, some))} and {most} threads" if some else count(most, "thread")


def place(info: RunInfo) -> str:
    """Say on what machine a run, or a part of it, was made: of several, on the first."""
    e = info.environment
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    machine = "; ".join([f"{e.cpu}, {e.usable_cores} cores", *e.gpus])
    return f"{machine}; {e.python}, {versions}"


def places(run: Sweep) -> list[str]:
    """Say on what machines a run was made: of several, on which of each kind."""
    return [*dict.fromkeys(line for point in run for line in places_of(point))]


def places_of(run: Run) -> list[str]:
    """Say the same of one point."""
    if len(run.used.machines) == 1 or not run.kinds:
        return [place(run.used)]
    parts = (part.used for part in run.kinds.values())
    return [f"{machine_names([*used.machines])}: {place(used)}" for used in parts]


def relabelled(run: Sweep) -> str:
    """Say which labels of a dataset its outputs are; nothing where they are called the same."""
    return " ".join(_of_points(run, lambda point: list(filter(None, [outputs(point.info.point)]))))


def outputs(point: Point) -> str:
    """Say the same of one point."""
    spans: list[list[int]] = []
    for label in point.dataset_classes:
        if spans and label == spans[-1][-1] + 1:
            spans[-1].append(label)
        else:
            spans.append([label])
    if not spans:
        return ""
    named = ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}–{s[-1]}" for s in spans)
    return f"Outputs are the labels {named} of the dataset, in this order."


def write_tables(run: Sweep, folder: Path) -> None:
    """Write ``accuracy`` and ``timing`` as CSV and Markdown; the latter has all other tables too.

    Raises
    ------
    ResultsError
        If one of them cannot be written.
    """
    written = sheets(run)
    parts: dict[Literal["accuracy", "timing"], list[Sheet]] = {
        "accuracy": [written.pop("accuracy")],
        "timing": list(written.values()),
    }
    head, said = caption(run), remarks(run)
    for name, part in parts.items():
        text = markdown_page(head, part, said)
        for suffix, content in {"csv": _csv(run.every(name)), "md": text}.items():
            path = folder / f"{name}.{suffix}"
            with files.named(path):
                files.write_whole(path, content.encode())


def _csv(frame: Frame) -> str:
    """Return a frame as CSV, below the names of its columns; rows of the last kind of machines have them all, in order."""
    names = [*dict.fromkeys(name for row in reversed(frame) for name in vars(row))]
    return csv_text([names, *([value(row, name) for name in names] for row in frame)])


def step_summary(run: Sweep) -> bytes:
    """Return a summary for a step of GitHub Actions: who wins, two tables, and the rest folded away."""
    info, rest = run.info, sheets(run)
    blocks = [
        f"### nnbench: {escape(trained(info))}",
        bullets(chain.from_iterable(map(_verdicts, run))) or "No backend was measured.",
        *(markdown_block(rest.pop(name)) for name in ("accuracy", "timing")),
        bullets(map(escape, remarks(run))),
        _folded("Every round, and other times", map(markdown_block, rest.values())),
        _folded("Machine", [caption(run), bullets(map(escape, info.warnings))]),
    ]
    return ("\n\n".join(filter(None, blocks)) + "\n").encode()


def _verdicts(run: Run) -> Iterator[str]:
    """Say of each backend that has figures how long an epoch takes, and how that compares, if it may."""
    seconds = column(run.info, "train_s_per_epoch")
    where = f"{escape(axes.described(run.setting))}: " if run.setting else ""
    for row in run.measured:
        time = "" if run.is_mixed else f"{seconds.text(row)} s/epoch"
        pace = ", ".join(filter(None, [time, compared(run.info, row)])) or "the baseline"
        yield f"{where}**{escape(row.backend)}**: {escape(pace)}"


def _folded(title: str, blocks: Iterable[str]) -> str:
    """Return blocks that are shown on a click; the empty lines let them be Markdown."""
    inner = "\n\n".join(filter(None, blocks))
    return f"<details><summary>{title}</summary>\n\n{inner}\n\n</details>"
