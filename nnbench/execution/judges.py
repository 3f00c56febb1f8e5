"""The parent's side of the judges: one process for each CPU, if it is worth it, and the work spread over them.

They run between timed calls only, all of them for whatever there is to prove. A judge that dies
or fails is nnbench's own failure, and never a pass.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from nnbench import pipes
from nnbench.contract.errors import ExitCode, NnbenchError
from nnbench.data import arrays
from nnbench.execution import machine, process, variables
from nnbench.proof import inquest
from nnbench.proof.inquest import Work
from nnbench.records.judging import (
    Broken,
    Calibrate,
    Calibrated,
    Case,
    Evaluate,
    Evaluation,
    Prove,
    Proved,
    Reply,
)
from nnbench.texts import recordable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

    from nnbench.contract.backend import Precision
    from nnbench.data.workloads import Workload
    from nnbench.records.cells import CellResult, Limits
    from nnbench.records.judging import Finding, JudgeCell, Question
    from nnbench.records.worker import StoredSplits

GRACE_S = 10.0  #: for a judge that has nothing to do any more
CALLS = 10**5  #: multiplications that take as long as what else a step of the reference does
BRIEF = 10**8  #: and those that take half as long as a judge does to start


class JudgeError(NnbenchError):
    """A judge has died or failed, so that nothing it was asked is known."""

    exit_code = ExitCode.INTERNAL


class _Judge:
    """One process, and its pipes."""

    def __init__(self, inherited: Sequence[int]) -> None:
        self.process = subprocess.Popen(
            process.command(None, "nnbench.proof", str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables.for_threads(variables.handed_on(os.environ), 1),
            pass_fds=inherited,
            start_new_session=True,  # Ctrl-C ends the cell; what was trained is still judged
        )
        self.questions = cast("BinaryIO", self.process.stdin)
        self.answers = cast("BinaryIO", self.process.stdout)
        self.owes = False  #: an answer
        self._kills_before = process.out_of_memory_kills()

    def tell(self, question: Question) -> None:
        try:
            pipes.send(self.questions, question)
        except BrokenPipeError:
            raise self.gone() from None

    def ask(self, question: Question) -> None:
        self.owes = True
        self.tell(question)

    def receive(self) -> Reply:
        try:
            reply: Reply = pipes.receive(self.answers, Reply)
        except EOFError:
            raise self.gone() from None
        except pipes.PipeError as error:
            raise JudgeError(f"a judge has answered what is no answer: {error}") from error
        if isinstance(reply, Broken):
            raise JudgeError(f"a judge has failed: {reply.message}")
        self.owes = False
        return reply

    def gone(self) -> JudgeError:
        """Say how the process ended."""
        try:
            status = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return JudgeError("a judge no longer answers")
        how = f"by {process.name_signal(-status)}" if status < 0 else f"with status {status}"
        text = f"a judge was ended {how} before it was done"
        if status == -signal.SIGKILL and process.out_of_memory_kills() > self._kills_before:
            text += "; the kernel has run out of memory since it began"
        return JudgeError(text)

    def close(self) -> None:
        """End the process, which has nothing more to do once its questions end."""
        with suppress(OSError):
            self.questions.close()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.answers.close()


class Judges:
    """Processes that judge the cells of one workload; a context, which ends them.

    Parameters
    ----------
    workload, splits
        What is trained, and its dataset as it fits that, in shared memory.
    spool
        Descriptor of the file in which the cells' states lie.
    count
        How many processes; by default :func:`worth_starting`.
    cached
        Whether calibrations are kept, and taken from where they are kept.
    """

    def __init__(
        self,
        workload: Workload,
        splits: StoredSplits,
        spool: int,
        *,
        count: int | None = None,
        cached: bool = True,
    ) -> None:
        folder = str(process.calibrations())
        cache = folder if cached and recordable(folder) == folder else ""  # which is sent as a text
        self.case = Case(workload, splits, spool, cache)
        self.count = count or worth_starting(workload, splits)
        self.processes: list[_Judge] = []

    def __enter__(self) -> Self:
        """Start the processes; they wait."""
        for _ in range(self.count):
            self.processes.append(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes, at once if something has gone wrong."""
        for each in self.processes:
            if kind is not None:
                each.process.kill()
            each.close()

    def limits(self, precision: Precision, *, from_parameters: bool) -> Limits:
        """Return how long a part may be, and how far rounding may bring it from the reference."""
        found: Calibrated = self._ask(Calibrate(precision, from_parameters))
        return found.limits

    def evaluate(self, offset: int) -> Evaluation:
        """Evaluate the parameters at an offset of the spool."""
        found: Evaluation = self._ask(Evaluate(offset))
        return found

    def prove(self, cell: JudgeCell, stretches: list[int]) -> list[Finding]:
        """Follow some stretches of a cell, up to one that strays."""
        found: Proved = self._ask(Prove(cell, stretches))
        return found.findings

    def judge(self, cells: Sequence[JudgeCell]) -> Iterator[CellResult]:
        """Judge the cells of a block, and yield their results in the order given."""
        yield from inquest.hold(cells, self._share_out)

    def _ask(self, question: Question) -> Any:
        answers: list[Any] = []
        self._share_out([Work(question, answers.append)])
        return answers[0]

    def _share_out(self, work: Iterable[Work]) -> None:
        """Put each question to whichever judge is free next."""
        left = iter(work)
        with selectors.DefaultSelector() as selector:

            def ask(number: int) -> None:
                if (item := next(left, None)) is not None:
                    judge = self._ready(number)
                    judge.ask(item.question)
                    selector.register(judge.answers, selectors.EVENT_READ, (number, item))

            for number in range(self.count):
                ask(number)
            while selector.get_map():
                for key, _ in selector.select():
                    number, item = key.data
                    selector.unregister(key.fileobj)
                    item.take(self.processes[number].receive())
                    ask(number)

    def _ready(self, number: int) -> _Judge:
        """Return a judge who owes no answer: where Ctrl-C came before it, another one takes its place."""
        judge = self.processes[number]
        if judge.owes:
            judge.process.kill()
            judge.close()
            judge = self.processes[number] = self._start()
        return judge

    def _start(self) -> _Judge:
        splits = self.case.splits
        judge = _Judge([self.case.spool, *arrays.descriptors(splits.train, splits.test)])
        judge.tell(self.case)
        return judge


def worth_starting(workload: Workload, splits: StoredSplits) -> int:
    """Return how many judges to start: one for each CPU, but for a training that one judges sooner than others start."""
    examples, features = splits.train.inputs.shape
    batch = min(workload.batch_size or examples, examples)
    steps = workload.epochs * -(-examples // batch)
    parameters = workload.network(features, splits.outputs).parameter_count
    is_brief = steps * max(batch * parameters, CALLS) <= BRIEF
    return 1 if is_brief else machine.most_threads()
