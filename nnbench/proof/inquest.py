"""What is asked of judges to judge the cells of a block, so that the work can be spread over several.

Each question stands for itself, and says all that the judge who gets it must know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from nnbench.records import (
    Choose,
    Chosen,
    Conclude,
    Course,
    Evaluate,
    Evaluation,
    Finding,
    Follow,
    Prove,
    Proved,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.records import CellResult, JudgeCell, Question

    Ask = Callable[[Iterable[Question]], list[Any]]  # answers come in the order of the questions

COURSE = 1.5  #: times the work of a cell's proof: a training in float64, and one in float32


@dataclass
class _Inquest:
    """What has been found of one cell so far."""

    cell: JudgeCell
    chosen: Chosen = field(default_factory=Chosen)
    findings: list[Finding] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    course: Course | None = None

    @property
    def unproved(self) -> list[int]:
        """The stretches that are not followed, if what is sound is to be proved."""
        if self.chosen.problem:
            return []
        followed = {number for unit in self.chosen.units for number in unit}
        return [number for number in range(len(self.chosen.steps)) if number not in followed]


class _Work(NamedTuple):
    """A question, how much work its answer is, and what becomes of that."""

    question: Question
    size: float
    take: Callable[[Any], object]


def hold(cells: Sequence[JudgeCell], ask: Ask) -> list[CellResult]:
    """Judge the cells of a block.

    Parameters
    ----------
    cells
        Those whose worker did not end well come back as they are.
    ask
        Puts questions that do not depend on one another to judges.
    """
    inquests = [_Inquest(cell) for cell in cells]
    sound = [each for each in inquests if each.cell.result.status is Status.OK]
    for each, chosen in zip(sound, ask(Choose(i.cell) for i in sound), strict=True):
        each.chosen = chosen
    for same_seed in _by_seed(sound):
        _extend(same_seed)
    work = [*_courses(sound), *(item for each in sound for item in _follow(each))]
    work.sort(key=lambda item: -item.size)  # the longest first, so that all judges end together
    for item, reply in zip(work, ask(item.question for item in work), strict=True):
        item.take(reply)
    verdicts = ask(
        Conclude(
            each.cell,
            each.chosen,
            sorted(each.findings, key=lambda finding: finding.stretch),
            each.evaluations,
            each.course,
        )
        for each in inquests
    )
    return [verdict.result for verdict in verdicts]


def _follow(inquest: _Inquest) -> Iterator[_Work]:
    """Yield what is to be followed and evaluated of a cell."""
    cell, chosen, logits = inquest.cell, inquest.chosen, dict(inquest.cell.logits)

    def take_findings(reply: Proved) -> None:
        inquest.findings += reply.findings

    for unit in chosen.units:
        yield _Work(Prove(cell, unit), len(unit), take_findings)
    for epoch, offset in chosen.ends.items():

        def take_evaluation(reply: Evaluation, epoch: int = epoch) -> None:
            inquest.evaluations[epoch] = reply

        question = Evaluate(offset, logits.get(epoch), cell.result.precision)
        yield _Work(question, 0, take_evaluation)


def _by_seed(inquests: Iterable[_Inquest]) -> list[list[_Inquest]]:
    """Return the cells of each seed of which something is not proved."""
    found: dict[int, list[_Inquest]] = {}
    for inquest in inquests:
        if inquest.cell.mode == "sampled" and inquest.chosen.ends and inquest.unproved:
            found.setdefault(inquest.cell.result.seed, []).append(inquest)
    return list(found.values())


def _extend(same_seed: list[_Inquest]) -> None:
    """Prove all of some cells if that is no more work than to train their seed, to hold them against that."""
    unproved = sum(each.chosen.steps[n] for each in same_seed for n in each.unproved)
    if unproved <= COURSE * max(sum(each.chosen.steps) for each in same_seed):
        for each in same_seed:
            units = [*each.chosen.units, *([number] for number in each.unproved)]
            each.chosen = replace(each.chosen, units=units)


def _courses(inquests: Iterable[_Inquest]) -> Iterator[_Work]:
    """Yield the training of each seed that cells are held against, up to their last whole epoch."""
    for same_seed in _by_seed(inquests):

        def take(reply: Course, concerned: list[_Inquest] = same_seed) -> None:
            for inquest in concerned:
                inquest.course = reply

        epochs = max(max(inquest.chosen.ends) for inquest in same_seed)
        yield _Work(Follow(same_seed[0].cell.result.seed, epochs), inf, take)
