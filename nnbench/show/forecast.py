"""Write what a run will take: what is at most is a bound, and what is about so much an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.execution import memory
from nnbench.figures.columns import MISSING
from nnbench.records.cells import LOCAL
from nnbench.show.text import Sheet, bytes_text, count, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.runs.forecast import Forecast

HEADINGS = ["backend", "cells", "about a cell", "about in memory", "left out"]


def sheet(found: Forecast) -> Sheet:
    """Return the table of the backends, those that are left out last."""
    info = found.info
    rows = [
        [
            label,
            f"{found.cells(label)}",
            duration(found.cell_s(label)) if label in found.known else MISSING,
            _bytes(found.needed_bytes([label])),
            "",
        ]
        for label in found.labels
    ]
    rows += [[label, "0", MISSING, MISSING, why] for label, why in info.unavailable.items()]
    how = "in turns" if info.turns else "one after the other"
    rounds, backends = count(found.rounds, "round"), count(len(found.labels), "backend")
    threads = count(info.threads, "thread")
    what = f"{info.workload.name}, {threads}" if info.threads > 1 else info.workload.name
    return Sheet(f"{what}: {rounds} of {backends}, {how}", HEADINGS, rows)


def together(points: Sequence[Forecast]) -> str:
    """Say what all points take together."""
    cells = f"at most {sum(each.most_cells for each in points):,} cells of {len(points)} points"
    training = f"{duration(sum(each.most_training_s for each in points))} of training"
    known = [each.seconds for each in points if each.seconds is not None]
    where = f" ({len(known)} points alone)" if len(known) < len(points) else ""
    about = f"; about {duration(sum(known))} for all that is known{where}" if known else ""
    return f"together: {cells}, at most {training}{about}"


def lines(found: Forecast) -> list[str]:
    """Say what all of it takes."""
    if not found.rounds:
        return ["nothing is left to run"]
    return [
        f"cells: {_cells(found)}",
        f"training: {_training(found)}",
        f"time: {_time(found)}",
        f"memory: {_memory(found)}",
        f"disk: {_disk(found)}",
    ]


def _cells(found: Forecast) -> str:
    likely, most = sum(map(found.cells, found.labels)), found.most_cells
    if likely < most:
        return f"at most {most}, and about {likely}, since the budget stopped some before"
    return f"{most}" if found.info.detect is None else f"at most {most}"


def _training(found: Forecast) -> str:
    info = found.info
    most = f"at most {duration(found.most_training_s)}, {info.budget_s:g} s a cell"
    return f"{most}; a cell that hangs is killed after {info.timeout_s:g} s"


def _time(found: Forecast) -> str:
    if found.seconds is None:
        what = f"no run of {found.info.workload.name} on this machine lies beside {found.folder}"
        return f"what set-up, evaluation and proof take is not known: {what}"
    runs = dict.fromkeys(each.run.name for each in found.known.values())
    proof = "proof included" if found.has_proof else "without the proof"
    at_once = f", {found.slots} at once" if found.slots > 1 else ""
    text = (
        f"about {duration(found.seconds)} for all rounds{at_once}, {proof}, as in {', '.join(runs)}"
    )
    return f"{text}; not in there: {', '.join(found.unknown)}" if found.unknown else text


def _memory(found: Forecast) -> str:
    if found.memory_bytes is None:
        return f"not known of the executor {found.info.executor}"
    who = (
        f"{count(len(found.labels), 'worker')} side by side"
        if found.info.turns
        else "the largest worker"
    )
    text = f"about {bytes_text(found.memory_bytes)} for {who}"
    if found.info.executor != LOCAL:
        return f"{text}, of each block where it runs"
    free = memory.available()
    text = f"{text}, of {bytes_text(free)} that are free"
    if found.memory_bytes <= free:
        return text
    return f"{text}: {'a round goes in groups' if found.info.turns else 'it may not fit'}"


def _disk(found: Forecast) -> str:
    if found.spool_bytes is None:
        return f"not known of the executor {found.info.executor}"
    about = "at least" if found.unknown else "about"
    kept = f", {_bytes(found.states_bytes)} of states" if found.info.keep_states else ""
    text = f"{about} {_bytes(found.results_bytes)} of results{kept} in {found.folder}"
    where = "" if found.info.executor == LOCAL else " where it runs"
    passing = f"{_bytes(found.spool_bytes)} more while a round lasts{where}"
    return f"{text}, and {passing}; {bytes_text(found.free_bytes)} are free"


def _bytes(size: float | None) -> str:
    return MISSING if size is None else bytes_text(size)
