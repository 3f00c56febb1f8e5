"""Judge the cells of a run again, from the states that are kept beside it.

Nothing is trained, and nothing is taken from the run but what its workers sent: tolerances are measured anew,
and status, accuracy and test loss are found again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from nnbench.contract.errors import DatasetError, ExitCode, ResultsError, gravest
from nnbench.data import arrays
from nnbench.execution import loading
from nnbench.execution.assignment import Assignment
from nnbench.execution.judges import Judges
from nnbench.proof import anew, kept
from nnbench.records.cells import Kind, Status
from nnbench.records.judging import JudgeCell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from nnbench.contract.backend import Precision
    from nnbench.data.workloads import Workload
    from nnbench.records.cells import CellResult, Epoch, Limits
    from nnbench.records.worker import StoredSplits
    from nnbench.runs.run import Run

SAME = 1e-6  #: of a test loss, relative: another machine's products round in another order


@dataclass(frozen=True)
class Again:
    """A cell as it was recorded, and as it was found again."""

    before: CellResult
    now: CellResult | None  #: None if no states are kept

    @property
    def problem(self) -> str:
        """Why the cell is not proved, or how it differs from what was recorded; empty if it is as it should be."""
        if self.now is None:
            return "no states are kept"
        if self.now.status is Status.INVALID:
            return self.now.message
        if (now := self.now.status) is not (was := self.before.status):
            return f"it is {now}, and {was} was recorded"
        for old, new in zip(self.before.epochs, self.now.epochs, strict=True):
            if old.accuracy != new.accuracy or not _same(old.test_loss, new.test_loss):
                return f"epoch {old.number}: {_figures(new)}, and {_figures(old)} was recorded"
        proof = self.now.proof
        return "" if proof and proof.is_whole else "not every step is proved"

    @property
    def code(self) -> ExitCode:
        """What the command ends with."""
        return ExitCode.ACCURACY if self.problem else ExitCode.OK


def prove(run: Run) -> Iterator[Again]:
    """Judge every cell of a point that was judged when it ran.

    Raises
    ------
    ResultsError
        If the run keeps no states at all, or damaged ones.
    DatasetError
        If its dataset is not to be had, or is another one now.
    """
    point = run.info.point
    if run.folder is None or not (run.folder / kept.FOLDER).is_dir():
        raise ResultsError(f"{run.folder} keeps no states; nnbench run --keep-states does")
    splits = loading.load(point.workload)
    try:
        if splits.sha256 != point.dataset_sha256:
            name = point.workload.dataset
            raise DatasetError(f"{name} is another dataset here than in {run.folder}")
        _ = Assignment(point.workload, 0, splits).layers  # what is too large ends here
        with (
            TemporaryFile() as spool,
            Judges(point.workload, splits, spool.fileno(), cached=False) as judges,
        ):
            again = _Again(run.folder, point.workload, splits, judges, spool)
            for cell in run.attempts():
                if is_judged(cell):
                    yield Again(cell, again.judge(cell))
    finally:
        arrays.release(arrays.descriptors(splits.train, splits.test))


def is_judged(cell: CellResult) -> bool:
    """Tell whether a cell was judged when it ran."""
    return bool(cell.epochs) and cell.status.kind in {Kind.MEASURED, Kind.WRONG}


class _Again:
    """Judges cells one by one."""

    def __init__(
        self,
        folder: Path,
        workload: Workload,
        splits: StoredSplits,
        judges: Judges,
        spool: BinaryIO,
    ) -> None:
        self.folder, self.judges, self.spool = folder, judges, spool
        self.network = workload.network(splits.train.inputs.shape[1], splits.outputs)
        self.target = workload.target_accuracy
        self.limits: dict[tuple[Precision, bool], Limits] = {}

    def judge(self, cell: CellResult) -> CellResult | None:
        """Judge a cell; None if it has no states."""
        cuts = kept.load(self.folder, cell, self.network.parameter_count, self.spool)
        if cuts is None:
            return None
        alone = self.network.optimizer.keeps_moments and not any(cut.has_moments for cut in cuts)
        key = cell.precision, alone
        if key not in self.limits:
            self.limits[key] = self.judges.limits(cell.precision, from_parameters=alone)
        limits = anew.either_limits(cell, self.limits[key])
        asked = JudgeCell(anew.as_sent(cell), "full", limits, cuts, target=self.target)
        [now] = self.judges.judge([asked])
        return now


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SAME)


def _figures(epoch: Epoch) -> str:
    loss, accuracy = epoch.test_loss, epoch.accuracy
    shown = "a test loss that is not finite" if loss is None else f"a test loss of {loss:.7g}"
    return shown if accuracy is None else f"{shown} and an accuracy of {accuracy:.2%}"


def exit_code(found: Iterable[Again]) -> ExitCode:
    """Return what the command ends with."""
    return gravest(each.code for each in found)
