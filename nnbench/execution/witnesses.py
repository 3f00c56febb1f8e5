"""Parts that were proved on another machine, and are proved here once more: one of each block, drawn there at random.

What a machine says of its proofs is its word. It draws when all cells of a block are judged, so that any part of any of them may be
the one.
"""

from __future__ import annotations

import os
from random import SystemRandom
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from nnbench.contract.errors import NnbenchError
from nnbench.execution.judges import Judges
from nnbench.proof import anew
from nnbench.records.events import Witness
from nnbench.records.judging import Cut, JudgeCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.contract.backend import Precision
    from nnbench.contract.spec import NetworkSpec
    from nnbench.data.workloads import Workload
    from nnbench.records.cells import CellResult, Limits
    from nnbench.records.worker import StoredSplits

FLOAT_BYTES = 4
RANDOM = SystemRandom()


def has_any(result: CellResult) -> bool:
    """Tell whether some of a cell was proved, so that it can be proved anew."""
    return result.status.counts and result.is_followed


def draw(
    judged: Sequence[tuple[JudgeCell, CellResult]], network: NetworkSpec, spool: int
) -> tuple[JudgeCell | None, Witness | None]:
    """Draw a cell of a block, and a stretch of it; None if none was proved.

    Parameters
    ----------
    judged
        Each cell, as judges got it and as they gave it back.
    network
        What they trained.
    spool
        Descriptor of the file that the states lie in.
    """
    able = [case for case, result in judged if has_any(result)]
    if not able:
        return None, None
    case = RANDOM.choice(able)
    alone = is_followed_alone(network, has_moments=any(cut.has_moments for cut in case.cuts))
    stretch = 0 if alone else RANDOM.randrange(len(case.cuts))

    def state(number: int) -> bytes:
        cut = case.cuts[number]
        size = FLOAT_BYTES * network.parameter_count * (3 if cut.has_moments else 1)
        return os.pread(spool, size, cut.offset)

    return case, Witness(stretch, state(stretch - 1) if stretch else b"", state(stretch))


def is_followed_alone(network: NetworkSpec, *, has_moments: bool) -> bool:
    """Tell whether moments are needed and not shown: then only the first stretch starts from what is known."""
    return network.optimizer.keeps_moments and not has_moments


class Anew:
    """Proves stretches of one workload's cells, in a judge that is started for the first one.

    Parameters
    ----------
    workload, splits
        What was trained, and its dataset as it is here.
    """

    def __init__(self, workload: Workload, splits: StoredSplits) -> None:
        self.workload, self.splits = workload, splits
        self.network = workload.network(splits.train.inputs.shape[1], splits.outputs)
        self._spool = TemporaryFile()  # noqa: SIM115 - close does it
        self._judges: Judges | None = None
        self._limits: dict[tuple[Precision, bool], Limits] = {}

    def close(self) -> None:
        """End the judge."""
        self._end()
        self._spool.close()

    def problem(self, cell: CellResult, witness: Witness) -> str:
        """Say why a stretch of a cell is not what was asked for; nothing if it is."""
        states = sum(part.state is not None for epoch in cell.epochs for part in epoch.parts)
        if witness.stretch >= states:
            return "the part that is to be proved anew is none of its parts"
        self._spool.seek(0)
        self._spool.truncate()
        self._spool.write(witness.before + witness.after)
        self._spool.flush()
        has_moments = len(witness.after) > FLOAT_BYTES * self.network.parameter_count
        cuts = [Cut(0, has_moments)] * states  # none but two of them are looked at
        cuts[witness.stretch] = Cut(len(witness.before), has_moments)
        try:
            limits = anew.either_limits(cell, self._limits_of(cell.precision, has_moments))
            asked = JudgeCell(anew.as_sent(cell), "full", limits, cuts)
            [finding] = self._judge().prove(asked, [witness.stretch])
        except NnbenchError as error:  # what was sent contradicts itself: the judge has ended
            self._end()
            return f"a part that was proved there cannot be followed here: {error}"
        if finding.problem:
            return f"a part that was proved there is not proved here: {finding.problem}"
        return ""

    def _limits_of(self, precision: Precision, has_moments: bool) -> Limits:
        alone = is_followed_alone(self.network, has_moments=has_moments)
        key = precision, alone
        if key not in self._limits:
            self._limits[key] = self._judge().limits(precision, from_parameters=alone)
        return self._limits[key]

    def _judge(self) -> Judges:
        if self._judges is None:
            spool = self._spool.fileno()
            self._judges = Judges(self.workload, self.splits, spool, count=1).__enter__()
        return self._judges

    def _end(self) -> None:
        if self._judges:
            self._judges.__exit__(None, None, None)
        self._judges = None
