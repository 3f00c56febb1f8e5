"""One cell, as its parent drives it: what its worker is told, when, and what is made of its answers.

At each cut the worker's state goes into a spool, for the judges.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol

import numpy as np

from nnbench import files
from nnbench.contract.spec import RULES
from nnbench.execution import energy, process
from nnbench.execution.assignment import FLOAT_BYTES, draw
from nnbench.execution.calls import Call, Course, Meter, Sample, Used, after, share_out
from nnbench.execution.evaluations import Evaluations
from nnbench.records.cells import Deviations, Epoch, GpuEnergy, Limits, Status, now
from nnbench.records.events import EpochFinished, Failed, Finished, Progress, Ready
from nnbench.records.judging import Cut, Evaluation, JudgeCell, Logits
from nnbench.records.worker import (
    Close,
    Closed,
    Dump,
    Inspect,
    Inspected,
    Predict,
    Predicted,
    State,
    Train,
    Trained,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from numpy.typing import NDArray

    from nnbench.contract.backend import Backend, Precision
    from nnbench.execution.assignment import Assignment
    from nnbench.records.cells import CellResult, CellSpec, ProofMode, Setup
    from nnbench.records.events import Event

P = ParamSpec("P")  # of what a cell is asked
PART_S = 0.3  #: how long one call of train_epoch should take at most
LEAD_S = 2.5e-3  #: of a part in turn: others have filled the caches (tests/studies/cold_parts.py)
TAIL = 4  #: the share of a time-out that is left for what follows training
PHASES_S = 4.0  #: that the phases may take
STRETCH_S = 2.0  #: for which a GPU's energy is counted: some 20 steps of its counter
PHASES_STEPS = 4  #: that these are at least, with what finds out how often to repeat each
#: Of a cell that came to nothing before it was known how it shall be judged.
UNKNOWN = Limits(steps=1, tolerance=Deviations(loss=None, displacement=None))


class Examiner(Protocol):
    """What a cell asks of the judges while it trains."""

    def limits(self, precision: Precision, *, from_parameters: bool) -> Limits:
        """Return how long a part may be."""

    def evaluate(self, offset: int) -> Evaluation:
        """Evaluate the parameters that lie there in the spool."""


class Spool:
    """A file without a name for what workers hand over; it is gone with its last reader."""

    def __init__(self, folder: Path | None = None) -> None:
        self._place = folder or Path(gettempdir())
        with files.named(self._place):
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - close does it
        self.descriptor = self._file.fileno()
        self._end = 0

    def append(self, content: bytes) -> int:
        """Add something; return where it lies.

        Raises
        ------
        ResultsError
            If there is no room.
        """
        start, rest = self._end, memoryview(content)
        try:
            while rest:
                written = os.pwrite(self.descriptor, rest, self._end)
                self._end, rest = self._end + written, rest[written:]
        except OSError as error:
            text = "the states that the proof needs lie there"
            raise files.refusal(error, self._place, more=text) from error
        return start

    def clear(self) -> None:
        """Drop all of it."""
        os.ftruncate(self.descriptor, 0)
        self._end = 0

    def close(self) -> None:
        """Close it here."""
        self._file.close()


def ends(
    method: Callable[Concatenate[Cell, P], Iterator[Event]],
) -> Callable[Concatenate[Cell, P], Iterator[Event]]:
    """Make whatever ends the worker the last event of its cell, which never is an exception.

    Nothing of it runs any more by then: others may be about to.
    """

    @wraps(method)
    def events(cell: Cell, /, *given: P.args, **more: P.kwargs) -> Iterator[Event]:
        if not cell.is_well:
            return
        try:
            yield from method(cell, *given, **more)
        except process.EndedError as error:
            cell.status, cell.message = error.failed.status, error.failed.message
            cell.worker.finish()
            cell.worker.close()
            yield error.failed

    return events


@contextmanager
def run(
    spec: CellSpec,
    assignment: Assignment,
    backend: Backend,
    spool: Spool,
    examiner: Examiner,
) -> Iterator[tuple[Iterator[Event], Cell]]:
    """Run a cell from its start to its end: give its events, and the cell.

    Whatever happens, all of its processes are dead once the context is left.
    """
    with Cell(spec, assignment, backend, spool, examiner) as cell:
        yield _whole(cell), cell


def _whole(cell: Cell) -> Iterator[Event]:
    yield from cell.prepare()
    while cell.goes_on:
        yield from cell.train()
    yield from cell.finish()


class Cell:
    """A cell and its worker: prepared, trained part by part, and brought to its end.

    Parameters
    ----------
    spec
        The cell.
    assignment
        What it trains.
    backend
        What the catalog says of it.
    spool
        Where its states go.
    examiner
        Who knows how long a part may be, and how good parameters are.
    """

    def __init__(
        self,
        spec: CellSpec,
        assignment: Assignment,
        backend: Backend,
        spool: Spool,
        examiner: Examiner,
    ) -> None:
        self.spec, self.assignment, self.backend = spec, assignment, backend
        self.spool, self.examiner = spool, examiner
        self.status: Status | None = None  #: None while it goes on
        self.message = ""
        self.setup: Setup | None = None
        self.epochs: list[Epoch] = []
        self.finished: Finished | None = None
        self.load_s: float | None = None
        self.dump: Used | None = None
        self.cuts: list[Cut] = []
        self.logits: list[Logits] = []
        self.gradient: tuple[bytes, int] | None = None
        self.trains = True  #: whether there is something left to train
        self.complete = False
        self.spent_s = 0.0  #: on training
        self.started = ""
        self._changed = False
        self._position = 0  # images so far
        self._pace_s = 1.0
        self._orders = assignment.orders()
        self._rest = np.empty(0, np.int64)  # of the orders that were drawn
        self._course: Course | None = None
        self._limits = UNKNOWN
        self.gpu_energy: GpuEnergy | None = None
        self._counters = energy.of_parts(spec.cpus)
        self._of_device = energy.of_device(backend.device)
        test = assignment.splits.test.inputs.shape[0]
        self._evaluations = Evaluations(test, min(spec.budget_s, spec.timeout_s / TAIL))

    def __enter__(self) -> Self:
        """Start the worker."""
        task, self.started = self.assignment, now()
        self.worker = process.Worker(self.spec, self.backend, task.descriptors, task.largest)
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever is left of it."""
        self.worker.close()

    @property
    def is_well(self) -> bool:
        """Whether nothing has gone wrong so far."""
        return self.status is None

    @property
    def goes_on(self) -> bool:
        """Whether another part is to be trained."""
        return self.trains and self.is_well

    @property
    def values(self) -> dict[str, Any]:
        """What the cell's result has of it, under the same names.

        If it was interrupted when all was trained, its phases and its peak of memory are unknown.
        """
        ended = self.finished
        return {
            "started": self.started,
            "wall_s": self.worker.ran_s,
            "status": Status.OK if self.status is None else self.status,
            "message": self.message,
            "setup": self.setup,
            "epochs": self.epochs,
            "phases": ended and ended.phases,
            "peak_memory_bytes": ended and ended.peak_memory_bytes,
            "training_memory_bytes": ended and ended.training_memory_bytes,
            "device_memory_bytes": self.worker.on_gpu.peak,
            "meters": self._counters.names + self._of_device.names,
            "gpu_energy": self.gpu_energy,
            "complete": self.is_well and self.complete,
            "changed": self._changed if self.is_well else None,
            "output": self.worker.output,
            "load_s": self.load_s,
            "dump_s": self.dump and self.dump.alone_s,
            "dump_cpu_s": self.dump and self.dump.cpu_s,
            "private": self.worker.is_private,
            "variables": self.worker.variables,
            "violations": self.worker.watch.violations,
            "precision": self.backend.precision,
            "test_images": self.assignment.splits.test.inputs.shape[0],
        }

    def case(self, result: CellResult, mode: ProofMode) -> JudgeCell:
        """Return what judges are told of a result that has these values."""
        return JudgeCell(
            result=result,
            mode=mode,
            limits=self._limits,
            cuts=self.cuts,
            logits=self.logits,
            gradient=self.gradient,
            target=self.spec.workload.target_accuracy,
        )

    @ends
    def prepare(self) -> Iterator[Event]:
        """Have everything set up, up to the moment when training can start."""
        self.worker.send(self.assignment.job(self.spec))
        ready = self.worker.receive(Ready)
        state, self.dump = self._dump()
        self.setup = self.assignment.told(ready.setup, self.backend)
        self._pace_s = self.setup.pace_s
        keeps = RULES[self.assignment.network.optimizer.kind].keeps_moments
        hides = keeps and state.moments is None
        self._limits = self.examiner.limits(self.backend.precision, from_parameters=hides)
        yield Ready(self.setup, self.backend.precision)

    @ends
    def train(self, turn: int | None = None) -> Iterator[Event]:
        """Train one part, in a turn of the block, and evaluate if an epoch ends with it."""
        call = self._call(leads_in=turn is not None)
        pieces = share_out(call.trained, [n for _, n in call.counts], self.assignment.batch_size)
        is_finite = all(None not in piece.losses for piece in pieces)
        self.complete = is_finite and self._position == self.assignment.images
        self.trains = not self.complete and is_finite and self._has_time
        ends_epoch = not self.trains or self._position % self.assignment.examples == 0
        is_asked = ends_epoch and not (self.trains and self.assignment.is_foreseen)
        sample = self._predict() if is_asked else None

        flat = call.state.layers + (call.state.moments or b"")
        offset = self.spool.append(flat)
        self.cuts.append(Cut(offset, call.state.moments is not None))
        self._changed = call.state.layers != self.assignment.layers
        number, _ = call.counts[-1]
        *before, last = call.parts(hashlib.sha256(flat).hexdigest(), turn)
        loss = pieces[-1].losses[-1]
        yield Progress(number, self._position, self.spent_s, loss, [*before, last])

        for (epoch, _), piece, part in zip(call.counts[:-1], pieces[:-1], before, strict=True):
            self._under_way(epoch).add(piece, part)
            yield self._finish_epoch(Evaluation(None, None), None)
        self._under_way(number).add(pieces[-1], last)
        if sample:
            self.logits.append(Logits(number, self.spool.append(sample.logits), sample.images))
        if ends_epoch:
            yield self._finish_epoch(self.examiner.evaluate(offset), sample)

    @ends
    def finish(self) -> Iterator[Event]:
        """Have a batch's gradients and the phases of a step, and let the worker end."""
        task = self.assignment
        order = draw(task.examples, task.batch_size)
        self.worker.go_on()
        self.worker.send(Inspect(order, self._phases_s), "the gradients of a batch")
        inspected = self.worker.receive(Inspected)
        if inspected.gradients is not None:
            self._require("gradients", inspected.gradients, task.network.parameter_count)
            self.gradient = order, self.spool.append(inspected.gradients)
        if self._of_device.names:
            self.gpu_energy = self._count_gpu()
            self.worker.go_on()
        self.worker.send(Close(), "its end")
        closed = self.worker.receive(Closed)
        self.worker.finish()
        self.worker.close()
        self.finished = Finished(
            inspected.phases,
            closed.peak_memory_bytes,
            self.complete,
            self._changed,
            closed.training_memory_bytes,
        )
        yield self.finished

    def _count_gpu(self) -> GpuEnergy | None:
        """Have epochs trained for what a GPU uses in them: while parts are trained its counter hardly moves."""
        task, left_s = self.assignment, self.worker.left_s
        seconds = min(STRETCH_S, self.spec.budget_s, left_s / TAIL)
        most = max(1, round(seconds / self._pace_s)) * task.batch_size
        count, images, train_s = min(task.examples, most), 0, 0.0
        order = draw(task.examples, count)
        meter, start = Meter(self.worker, self._of_device), perf_counter()
        while perf_counter() - start < seconds:
            train_s += self._train(order, "the energy of a GPU").train_s
            images += count
        found = meter.stop().energy
        if found.gpu_j is None or found.gpu_s is None or found.gpu_rest_w is None:
            return None
        return GpuEnergy(
            images=images,
            train_s=train_s,
            joules=found.gpu_j,
            counted_s=found.gpu_s,
            rest_w=found.gpu_rest_w,
        )

    def _call(self, *, leads_in: bool) -> Call:
        """Have the next part trained; what is not its call's is not on its clocks."""
        task, worker = self.assignment, self.worker
        seconds = min(PART_S, self.spec.budget_s - self.spent_s)
        images = task.draw(self._position, self._limits.steps, seconds, self._pace_s)
        steps = -(-images // task.batch_size)
        lead_steps = min(max(1, round(LEAD_S / self._pace_s)), steps // 2) if leads_in else 0
        lead_images = lead_steps * task.batch_size
        lead, rest = (self._take(each).tobytes() for each in (lead_images, images - lead_images))
        layers = None if self._position else task.layers
        meter = Meter(worker, self._counters)
        worker.watch.begin(steps * self._pace_s)
        counts = list(task.pieces(self._position, images))
        epochs = f"epoch {counts[-1][0]}"
        trained, lead_s = self._train(lead or rest, epochs, layers), 0.0
        self._pace_s = trained.train_s / steps
        if lead:
            lead_s, followed = trained.train_s, self._train(rest, epochs)
            trained = after(trained, followed)
            self._pace_s = followed.train_s / (steps - lead_steps)
        used = meter.stop()
        state, dump = self._dump()
        self._position += images
        self.spent_s += trained.train_s
        if layers is not None:
            self.load_s = trained.load_s
        return Call(counts, trained, lead_images, lead_s, state, used, dump)

    def _train(self, order: bytes, epoch: str, layers: bytes | None = None) -> Trained:
        """Have examples trained in one call, whose indices are given."""
        self.worker.send(Train(order, layers), epoch)
        trained = self.worker.receive(Trained)
        images = len(order) // np.int64().itemsize
        self._require("losses", trained.losses, -(-images // self.assignment.batch_size))
        return trained

    def _take(self, images: int) -> NDArray[np.int64]:
        """Return what is next in the orders."""
        while len(self._rest) < images:
            self._rest = np.concatenate([self._rest, next(self._orders)])
        taken, self._rest = np.split(self._rest, [images])
        return taken

    def _dump(self) -> tuple[State, Used]:
        """Ask for a state, and say what that took."""
        meter = Meter(self.worker)
        self.worker.send(Dump(), "dump")
        state = self.worker.receive(State)
        used = meter.stop()
        count = self.assignment.network.parameter_count
        self._require("layers", state.layers, count)
        if state.moments is not None:
            self._require("moments", state.moments, 2 * count)
        return state, used

    @property
    def _has_time(self) -> bool:
        """Whether the budget leaves time to train, and the time-out for what follows."""
        is_late = self.worker.left_s < self.spec.timeout_s / TAIL
        return self.spent_s < self.spec.budget_s and not is_late

    @property
    def _phases_s(self) -> float:
        """How long the phases may take; 0 if not one value of each fits into the budget."""
        most = min(self.spec.budget_s, self.spec.timeout_s / TAIL / 2)
        return min(PHASES_S, most) if PHASES_STEPS * self._pace_s <= most else 0.0

    def _predict(self) -> Sample:
        """Have the test split predicted, or as many of its images, drawn anew, as there is time for."""
        self.worker.go_on()
        for count in self._evaluations.counts():
            sample = self._sample(count)
        self.worker.stop()
        return sample

    def _sample(self, count: int) -> Sample:
        splits, start = self.assignment.splits, perf_counter()
        whole = splits.test.inputs.shape[0]
        images = draw(whole, count) if count < whole else None
        order = np.arange(whole).tobytes() if images is None else images
        self.worker.send(Predict(order), "predict")
        predicted = self.worker.receive(Predicted)
        self._require("logits", predicted.logits, count * splits.outputs)
        self._evaluations.note(count, perf_counter() - start)
        return Sample(images, count, predicted.logits, predicted.evaluate_s / count * whole)

    def _require(self, what: str, content: bytes, count: int) -> None:
        """Have as many values as there must be."""
        if len(content) != FLOAT_BYTES * count:
            text = f"sent {len(content)} bytes of {what}, not {FLOAT_BYTES * count}"
            raise process.EndedError(Failed(Status.CRASHED, text))

    def _under_way(self, number: int) -> Course:
        """Return the epoch that is under way; its first part starts it."""
        if self._course is None:
            self._course = Course(number)
        return self._course

    def _finish_epoch(self, evaluation: Evaluation, sample: Sample | None) -> EpochFinished:
        assert self._course  # noqa: S101 - a part was added to it
        epoch, self._course = self._course.epoch(evaluation, sample), None
        self.epochs.append(epoch)
        return EpochFinished(epoch)
