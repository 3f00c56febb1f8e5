"""JUnit XML, as CI servers read it: a test suite for each backend, a test case for each round."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, assert_never
from xml.etree import ElementTree as ET

from nnbench.records import Kind, Status
from nnbench.show.exports import require
from nnbench.show.text import cell_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.records import CellResult, RunInfo
    from nnbench.runs.run import Run

FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def to_xml(run: Run) -> bytes:
    """Return a run as JUnit XML; the time of a test is the training time of its cell.

    Raises
    ------
    ResultsError
        If the run has no cells.
    """
    require(run, run.cells)
    groups: dict[str, list[CellResult]] = {}
    for cell in run.cells:
        groups.setdefault(cell.backend, []).append(cell)
    root = element("testsuites", name="nnbench", **count(run.info, run.cells))
    root.extend([suite(run.info, label, group) for label, group in groups.items()])
    ET.indent(root)
    text: str = ET.tostring(root, "unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def element(tag: str, text: str = "", **attributes: str) -> ET.Element:
    """Return an element without the characters that XML cannot hold."""
    made = ET.Element(tag, {key: FORBIDDEN.sub("", value) for key, value in attributes.items()})
    made.text = FORBIDDEN.sub("", text) or None
    return made


def outcome_of(info: RunInfo, cell: CellResult) -> str | None:
    """Return what JUnit calls a status: wrong results are failures, what did not end, errors.

    Where a run was to be proved, what is not proved is a failure as well.
    """
    match cell.status.kind:
        case Kind.MEASURED:
            return "failure" if lacks_proof(info, cell) else None
        case Kind.WRONG:
            return "failure"
        case Kind.FAILED:
            return "error"
        case Kind.SKIPPED:
            return "skipped"
        case unknown:
            assert_never(unknown)


def lacks_proof(info: RunInfo, cell: CellResult) -> bool:
    """Tell whether a cell of a run that was to be proved is not."""
    return info.require_proof and not (cell.proof and cell.proof.is_whole)


def count(info: RunInfo, cells: Sequence[CellResult]) -> dict[str, str]:
    """Return the counts that stand at the head of a suite."""
    kinds = [outcome_of(info, cell) for cell in cells]
    return {
        "tests": str(len(cells)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "time": f"{sum(cell.train_s for cell in cells):.3f}",
    }


def suite(info: RunInfo, label: str, cells: Sequence[CellResult]) -> ET.Element:
    """Return the cells of a backend with what became of them, and where they ran."""
    skipped = str(sum(cell.status is Status.SKIPPED for cell in cells))
    started = cells[0].started.removesuffix("Z")
    name = f"{info.workload.name}.{label}"
    made = element("testsuite", name=name, skipped=skipped, timestamp=started, **count(info, cells))
    e, properties = info.environment, element("properties")
    facts = {"command": info.command, "cpu": e.cpu, "python": e.python, **e.versions}
    properties.extend([element("property", name=k, value=text) for k, text in facts.items()])
    made.append(properties)
    for cell in cells:
        label, time = f"{cell.backend} round {cell.round + 1}", f"{cell.train_s:.3f}"
        case = element("testcase", name=label, classname=name, time=time)
        if outcome := outcome_of(info, cell):
            is_measured = cell.status.kind is Kind.MEASURED
            kind, message = (
                ("not proved", cell_line(cell)) if is_measured else (cell.status, cell.message)
            )
            case.append(element(outcome, cell.output, type=kind, message=message))
        case.append(element("system-out", cell_line(cell)))
        made.append(case)
    return made
