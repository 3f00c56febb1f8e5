"""The parent's side of the judges: one process for each CPU, and the work spread over them.

They run between timed calls only, all of them for whatever there is to prove. A judge that dies
or fails is nnbench's own failure, and never a pass.
"""

from __future__ import annotations

import selectors
import subprocess
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from nnbench import pipes
from nnbench.contract.errors import ExitCode, NnbenchError
from nnbench.data import arrays
from nnbench.execution import machine, process
from nnbench.proof import inquest
from nnbench.records import Broken, Calibrate, Calibrated, Case, Evaluate, Evaluation, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

    from nnbench.contract.backend import Precision
    from nnbench.data.workloads import Workload
    from nnbench.records import CellResult, JudgeCell, Limits, Question, StoredSplits

CALIBRATIONS = "calibrations"  #: folder of the user's cache
GRACE_S = 10.0  #: for a judge that has nothing to do any more


class JudgeError(NnbenchError):
    """A judge has died or failed, so that nothing it was asked is known."""

    exit_code = ExitCode.INTERNAL


class _Judge:
    """One process, and its pipes."""

    def __init__(self, inherited: Sequence[int]) -> None:
        self.process = subprocess.Popen(
            process.command(None, "nnbench.proof"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=process.for_threads(process.inherited(None), 1),
            pass_fds=inherited,
            start_new_session=True,  # Ctrl-C ends the cell; what was trained is still judged
        )
        self.questions = cast("BinaryIO", self.process.stdin)
        self.answers = cast("BinaryIO", self.process.stdout)

    def ask(self, question: Question) -> None:
        try:
            pipes.send(self.questions, question)
        except BrokenPipeError:
            raise self.gone() from None

    def receive(self) -> Reply:
        try:
            reply: Reply = pipes.receive(self.answers, Reply)
        except EOFError:
            raise self.gone() from None
        except pipes.PipeError as error:
            raise JudgeError(f"a judge has answered what is no answer: {error}") from error
        if isinstance(reply, Broken):
            raise JudgeError(f"a judge has failed: {reply.message}")
        return reply

    def gone(self) -> JudgeError:
        """Say how the process ended."""
        try:
            status = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return JudgeError("a judge no longer answers")
        how = f"by {process.name_signal(-status)}" if status < 0 else f"with status {status}"
        return JudgeError(f"a judge was ended {how} before it was done")

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
        How many processes; by default one for each CPU that this process may use.
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
        self.case = Case(workload, splits, spool, cache_folder() if cached else "")
        self.count = count or len(machine.usable_cpus()) or 1
        self.processes: list[_Judge] = []

    def __enter__(self) -> Self:
        """Start the processes; they wait."""
        splits = self.case.splits
        inherited = [self.case.spool, *arrays.descriptors(splits.train, splits.test)]
        for _ in range(self.count):
            self.processes.append(_Judge(inherited))
        for each in self.processes:
            each.ask(self.case)
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
        found = self._ask(Calibrate(precision, from_parameters))
        assert isinstance(found, Calibrated)  # noqa: S101 - so answers a judge
        return found.limits

    def evaluate(self, offset: int) -> Evaluation:
        """Evaluate the parameters at an offset of the spool."""
        found = self._ask(Evaluate(offset))
        assert isinstance(found, Evaluation)  # noqa: S101 - so answers a judge
        return found

    def judge(self, cells: Sequence[JudgeCell]) -> Iterator[CellResult]:
        """Judge the cells of a block, and yield their results in the order given."""
        yield from inquest.hold(cells, self._ask_all)

    def _ask(self, question: Question) -> Any:
        return self._ask_all([question])[0]

    def _ask_all(self, questions: Iterable[Question]) -> list[Any]:
        """Ask whichever judge is free next, and return the answers in the order of the questions."""
        left = deque(enumerate(questions))
        answers: dict[int, Reply] = {}
        with selectors.DefaultSelector() as selector:

            def ask(judge: _Judge) -> None:
                number, question = left.popleft()
                judge.ask(question)
                selector.register(judge.answers, selectors.EVENT_READ, (number, judge))

            for judge in self.processes[: len(left)]:
                ask(judge)
            while selector.get_map():
                for key, _ in selector.select():
                    number, judge = key.data
                    selector.unregister(key.fileobj)
                    answers[number] = judge.receive()
                    if left:
                        ask(judge)
        return [answers[number] for number in sorted(answers)]


def cache_folder() -> str:
    """Return the folder that calibrations are kept in."""
    import platformdirs

    return str(platformdirs.user_cache_path("nnbench") / CALIBRATIONS)
