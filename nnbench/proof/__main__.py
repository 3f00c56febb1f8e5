"""The process of a judge: ``python -m nnbench.proof PARENT``, whose number that is.

It reads questions from standard input and answers each on standard output, in frames of
``nnbench.pipes``. It imports nnbench, NumPy and msgspec, and no plugin; the descriptors of the
dataset and of the spool are inherited. The parent has set its environment to one thread.

Whoever ends all processes at once, as systemd does, ends the parent too, which still needs its judges: it says when
they are done. So signals that ask to end are ignored.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from nnbench import pipes, prctl
from nnbench.data import arrays
from nnbench.data.datasets import Splits
from nnbench.proof.judge import Judge
from nnbench.records.judging import Broken, Case, Question

if TYPE_CHECKING:
    from typing import BinaryIO


def main() -> None:
    """Answer until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prctl.die_with_parent(int(sys.argv[1]))
    prctl.hide_memory()
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not print into the answers
    try:
        serve(questions, answers)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is nnbench's own failure
        traceback.print_exc()
        text = "".join(traceback.format_exception_only(error)).strip()
        pipes.send(answers, Broken(text))
        sys.exit(1)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer one question after the other; the first says what is judged."""
    try:
        case = pipes.receive(questions, Case)
        train, test = (arrays.view_examples(each) for each in (case.splits.train, case.splits.test))
        splits = Splits(train, test, case.splits.outputs)
        cache = Path(case.cache) if case.cache else None
        judge = Judge(case.workload, splits, case.splits.sha256, case.spool, cache)
        while True:
            pipes.send(answers, judge.answer(pipes.receive(questions, Question)))
    except EOFError:
        return


if __name__ == "__main__":
    main()
