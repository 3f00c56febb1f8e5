"""What is asked of judges to judge the cells of a block, so that the work can be spread over several.

Each question stands for itself, and says all that the judge who gets it must know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.structs import replace

from nnbench.proof import courses
from nnbench.records.cells import Status
from nnbench.records.judging import (
    Choose,
    Chosen,
    Conclude,
    Course,
    Evaluate,
    Evaluation,
    Finding,
    Follow,
    Judged,
    Prove,
    Proved,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.records.cells import CellResult
    from nnbench.records.judging import JudgeCell, Question

    Ask = Callable[[Iterable["Work"]], None]

MOST_UNITS = 32  #: that a cell is divided into


@dataclass
class _Inquest:
    """What has been found of one cell so far."""

    cell: JudgeCell
    chosen: Chosen = field(default_factory=Chosen)
    findings: list[Finding] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    course: Course | None = None
    rounded: Course | None = None

    @property
    def unproved(self) -> list[int]:
        """The stretches that are not followed, if what is sound is to be proved."""
        if self.chosen.problem:
            return []
        followed = {number for unit in self.chosen.units for number in unit}
        return [number for number in range(len(self.chosen.steps)) if number not in followed]

    @property
    def conclusion(self) -> Conclude:
        """The last question."""
        findings = sorted(self.findings, key=lambda finding: finding.stretch)
        return Conclude(
            self.cell, self.chosen, findings, self.evaluations, self.course, self.rounded
        )

    def take_findings(self, reply: Proved) -> None:
        """Take in what came of following some stretches."""
        self.findings += reply.findings


class Work(NamedTuple):
    """A question, and what becomes of its answer."""

    question: Question
    take: Callable[[Any], object]


def hold(cells: Sequence[JudgeCell], ask: Ask) -> list[CellResult]:
    """Judge the cells of a block.

    Parameters
    ----------
    cells
        Those whose worker did not end well come back as they are.
    ask
        Puts questions to judges, taking the next one when a judge is free for it, and hands over each answer as
        it comes.
    """
    inquests = [_Inquest(cell) for cell in cells]
    sound = [each for each in inquests if each.cell.result.status is Status.OK]
    ask(Work(Choose(each.cell), partial(setattr, each, "chosen")) for each in sound)
    for same_seed in _by_seed(sound):
        _extend(same_seed)
    ask(_work(sound))
    ask(_rounded(sound))
    verdicts: dict[int, CellResult] = {}

    def take(number: int, reply: Judged) -> None:
        verdicts[number] = reply.result

    ask(Work(each.conclusion, partial(take, number)) for number, each in enumerate(inquests))
    return [verdicts[number] for number in range(len(inquests))]


def _work(inquests: Sequence[_Inquest]) -> Iterator[Work]:
    """Yield what takes long first, so that all judges end together."""
    yield from _courses(inquests)
    units = [(each, unit) for each in inquests for unit in _joined(each.chosen)]
    in_turn = [(each, unit) for each, unit in units if len(each.chosen.units) == 1]
    for each, unit in [*in_turn, *(pair for pair in units if pair not in in_turn)]:
        if not any(finding.problem for finding in each.findings):  # then it is invalid
            yield Work(Prove(each.cell, unit), each.take_findings)
    for each in inquests:
        logits = {given.epoch: given for given in each.cell.logits}
        for epoch, offset in each.chosen.ends.items():
            question = Evaluate(offset, logits.get(epoch), each.cell.result.precision)
            yield Work(question, partial(each.evaluations.__setitem__, epoch))


def _joined(chosen: Chosen) -> list[list[int]]:
    """Return what is to be followed in no more than MOST_UNITS, since each is sent the whole cell."""
    if len(chosen.units) <= MOST_UNITS:
        return chosen.units
    joined: list[list[int]] = []
    steps = sum(chosen.steps[number] for unit in chosen.units for number in unit)
    done = 0
    for unit in chosen.units:
        if done * MOST_UNITS >= len(joined) * steps:
            joined.append([])
        joined[-1] += unit
        done += sum(chosen.steps[number] for number in unit)
    return joined


def _by_seed(inquests: Iterable[_Inquest]) -> list[list[_Inquest]]:
    """Return the cells of each seed of which something is not proved."""
    found: dict[int, list[_Inquest]] = {}
    for inquest in inquests:
        if inquest.cell.mode == "sampled" and inquest.chosen.whole and inquest.unproved:
            found.setdefault(inquest.cell.result.seed, []).append(inquest)
    return list(found.values())


def _extend(same_seed: list[_Inquest]) -> None:
    """Prove all of some cells if that is no more work than to train their seed, to hold them against that."""
    unproved = sum(each.chosen.steps[n] for each in same_seed for n in each.unproved)
    if unproved <= max(sum(each.chosen.steps) for each in same_seed):
        for each in same_seed:
            units = [*each.chosen.units, *([number] for number in each.unproved)]
            each.chosen = replace(each.chosen, units=units)


def _courses(inquests: Iterable[_Inquest]) -> Iterator[Work]:
    """Yield the training of each seed that cells are held against."""
    for same_seed in _by_seed(inquests):
        yield _course(same_seed, "course")


def _rounded(inquests: Iterable[_Inquest]) -> Iterator[Work]:
    """Yield it once more, in float32, where a cell is so far from it that it may be rounding."""
    for same_seed in _by_seed(inquests):
        if any(courses.problem(each.conclusion) for each in same_seed):
            yield _course(same_seed, "rounded")


def _course(same_seed: Sequence[_Inquest], name: Literal["course", "rounded"]) -> Work:
    """Return the training of a seed up to the last whole epoch of its cells, of which each is told."""

    def take(reply: Course) -> None:
        for inquest in same_seed:
            setattr(inquest, name, reply)

    epochs = max(inquest.chosen.whole for inquest in same_seed)
    question = Follow(same_seed[0].cell.result.seed, epochs, is_rounded=name == "rounded")
    return Work(question, take)
