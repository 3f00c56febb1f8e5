"""JUnit XML, as CI servers read it: a test suite for each backend, a test case for each round."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, assert_never
from xml.etree import ElementTree as ET

from nnbench.records.cells import Kind, Status
from nnbench.show.exports import require
from nnbench.show.text import cell_line, strays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.records.cells import CellResult
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep

FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def to_xml(run: Sweep) -> bytes:
    """Return a run as JUnit XML; the time of a test is the training time of its cell.

    Raises
    ------
    ResultsError
        If the run has no cells.
    """
    require(run, run.cells)
    root = element("testsuites", name="nnbench", **count([(at, c) for at in run for c in at.cells]))
    for point in run:
        groups: dict[str, list[CellResult]] = {}
        for cell in point.cells:
            groups.setdefault(cell.backend, []).append(cell)
        root.extend([suite(point, label, group) for label, group in groups.items()])
    ET.indent(root)
    text: str = ET.tostring(root, "unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def element(tag: str, text: str = "", **attributes: str) -> ET.Element:
    """Return an element without the characters that XML cannot hold."""
    made = ET.Element(tag, {key: FORBIDDEN.sub("", value) for key, value in attributes.items()})
    made.text = FORBIDDEN.sub("", text) or None
    return made


def outcome_of(run: Run, cell: CellResult) -> str | None:
    """Return what JUnit calls a status: wrong results are failures, what did not end, errors.

    What was measured is a failure for the reasons of :func:`failure_of`.
    """
    match cell.status.kind:
        case Kind.MEASURED:
            return "failure" if failure_of(run, cell) else None
        case Kind.WRONG:
            return "failure"
        case Kind.FAILED | Kind.LOST:
            return "error"
        case Kind.SKIPPED:
            return "skipped"
        case unknown:
            assert_never(unknown)


def failure_of(run: Run, cell: CellResult) -> tuple[str, str] | None:
    """Return what is wrong with a cell that was measured, in a word or two and in a line; None if nothing is.

    It lacks a proof that the run required, or its backend is not as accurate as the baseline.
    """
    if run.info.require_proof and not (cell.proof and cell.proof.is_whole):
        return "not proved", cell_line(cell)
    if cell.backend in run.strays:
        return "accuracy", strays(run.strays[cell.backend])
    return None


def count(cells: Sequence[tuple[Run, CellResult]]) -> dict[str, str]:
    """Return the counts that stand at the head of a suite; each cell comes with its point."""
    kinds = [outcome_of(run, cell) for run, cell in cells]
    return {
        "tests": str(len(cells)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "time": f"{sum(cell.train_s for _, cell in cells):.3f}",
    }


def suite(run: Run, label: str, cells: Sequence[CellResult]) -> ET.Element:
    """Return the cells of a backend with what became of them, and where they ran."""
    info = run.info
    skipped = str(sum(cell.status is Status.SKIPPED for cell in cells))
    started = cells[0].started.removesuffix("Z")
    name, counts = f"{run.subject}.{label}", count([(run, cell) for cell in cells])
    made = element("testsuite", name=name, skipped=skipped, timestamp=started, **counts)
    e, properties = run.used.environment, element("properties")
    where = {"cpu": e.cpu, "python": e.python, **info.versions}
    if run.is_mixed:
        where = {
            f"machine {name}": kind
            for kind, part in run.kinds.items()
            for name in part.info.machines
        }
    facts = {"command": info.command, **where, **run.recorded(label)}
    properties.extend([element("property", name=k, value=text) for k, text in facts.items()])
    made.append(properties)
    for cell in cells:
        label, time = f"{cell.backend} round {cell.round + 1}", f"{cell.train_s:.3f}"
        case = element("testcase", name=label, classname=name, time=time)
        if outcome := outcome_of(run, cell):
            measured = failure_of(run, cell) if cell.status.kind is Kind.MEASURED else None
            kind, message = measured or (cell.status, cell.message)
            case.append(element(outcome, cell.output, type=kind, message=message))
        on = f", on {cell.machine}" if len(info.machines) > 1 else ""
        case.append(element("system-out", f"{cell_line(cell)}{on}"))
        made.append(case)
    return made
