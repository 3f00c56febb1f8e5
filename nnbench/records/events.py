"""What is announced of cells and blocks while they run: to the display, to observers, to whoever keeps a run."""

from __future__ import annotations

import msgspec

from nnbench.contract.backend import Precision
from nnbench.contract.bounds import Line, Name, Number
from nnbench.records.cells import LOCAL, CellResult, CellSpec, Epoch, Part, Phases, Setup, Status
from nnbench.records.runs import Block, Machine


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Announced after each timed call."""

    epoch: int
    images: int  #: seen so far, all epochs
    train_s: float
    loss: float | None
    parts: list[Part] = []  #: that the call was, one for each epoch that it lies in


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker's first answer: training can start."""

    setup: Setup
    precision: Precision = "float32"  #: as the catalog says, whatever the worker does


class EpochFinished(msgspec.Struct, frozen=True, tag=True):
    """Announced after each epoch's evaluation."""

    epoch: Epoch


class Finished(msgspec.Struct, frozen=True, tag=True):
    """Announced of a cell that ran to its end."""

    phases: Phases | None
    peak_memory_bytes: int | None
    complete: bool
    changed: bool | None = None  #: whether training changed the parameters
    training_memory_bytes: int | None = None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The last event of a cell that cannot go on."""

    status: Status
    message: Line


Event = Progress | Ready | EpochFinished | Finished | Failed


class CellStarted(msgspec.Struct, frozen=True, tag=True):
    """A cell is about to start, or to start again."""

    spec: CellSpec
    machine: Name = LOCAL


class CellEvent(msgspec.Struct, frozen=True, tag=True):
    """The worker of a cell has sent something."""

    spec: CellSpec
    event: Event


class Witness(msgspec.Struct, frozen=True):
    """The states around one stretch of a cell, between two cuts, with which anyone can prove it again."""

    stretch: Number  #: from 0
    before: bytes  #: float32, the parameters, then both moments; nothing of the first one, which the seed gives
    after: bytes


class CellFinished(msgspec.Struct, frozen=True, tag=True):
    """A cell, or one attempt at it, has ended and was judged."""

    result: CellResult
    witness: Witness | None = None  #: of one cell of a block that is proved elsewhere, too


class MachineJoined(msgspec.Struct, frozen=True, tag=True):
    """A machine runs a block of a run that did not know it."""

    name: Name
    machine: Machine


class BlockLost(msgspec.Struct, frozen=True, tag=True):
    """A block has no result: its machine was lost, or could not run it, or what runs blocks there has failed."""

    block: Block
    message: Line  #: why, in the words of who knows
    machine: Name  #: where it was


class Queue(msgspec.Struct, frozen=True, tag=True):
    """Which blocks were given out and do not train yet, where several may run at once; by RunInfo.number."""

    slots: Number  #: blocks that can run at once, as of now
    given: list[Number] = []  #: on no machine that is known
    arrived: dict[Number, Name] = {}  #: on a machine, where they wait for their CPUs
    is_ending: bool = False  #: whether no more are given out, since the run was interrupted


#: What an executor says of the blocks that it runs.
Happening = CellStarted | CellEvent | CellFinished | MachineJoined | BlockLost | Queue
