"""What a machine is asked through an engine, and what it answers: lines of JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from nnbench.contract.bounds import Line, Name
from nnbench.records.events import CellEvent, CellFinished, CellStarted
from nnbench.records.runs import Block, Entry, Machine


class Errand(msgspec.Struct, frozen=True):
    """What is asked of a machine: to be looked at, and to run a block if there is one."""

    entries: list[Entry]  #: of the run
    threads: int  #: of an entry that has none of its own
    libraries: list[str] = []  #: whose versions belong into its environment
    roofline: bool = False  #: whether its ceilings are wanted
    roofs_of: list[int] = []  #: with these threads of such an entry; none is ``threads`` alone
    block: Block | None = None


class MachineSeen(msgspec.Struct, frozen=True, tag=True):
    """The machine that an errand is carried out on."""

    host: Name  #: as it calls itself
    machine: Machine


class States(msgspec.Struct, frozen=True, tag=True):
    """A piece of what is kept of the states of a cell, which is told of when all of them were."""

    content: bytes


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The last line of an errand."""

    how: Literal["done", "refused", "interrupted", "lost"]
    message: Line = ""


Spoken = MachineSeen | CellStarted | CellEvent | States | CellFinished | Ended
