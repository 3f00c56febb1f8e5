"""What runs the blocks of a run: on this machine, or on others through an engine.

A plugin lists its executors with the hook ``nnbench_executors``. One that the user names is loaded in
nnbench's own process, as no other code of a plugin is: it is what runs things, and has to be trusted;
the run says so. What goes in and comes out are
records (:mod:`nnbench.records`), so that both can be sent to another machine as JSON. What comes out is checked: an answer
that is not what it must be, a cell that was not given, a result that is missing, and any exception but an NnbenchError end
the run with one line and exit code 4; what is finished is kept, and ``--resume`` goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnbench.contract.bounds import Line, Name

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from nnbench.data.workloads import Workload
    from nnbench.records import Block, Entry, Happening, Machine


class Sizes(NamedTuple):
    """How large a training is."""

    epoch_steps: int
    parameters: int
    logits: int  #: numbers, of the whole test split
    dataset_bytes: int  #: that each worker gets


class Executor(ABC):
    """Knows its machines, and runs blocks on them. Making one costs nothing: commands list it."""

    name: Name  #: that users type after ``--executor``
    summary: Line
    folder: Path | None = None  #: of the run that it is used for: temporary files may lie there

    @abstractmethod
    def machines(
        self, entries: Sequence[Entry], threads: int, libraries: Iterable[str] = ()
    ) -> dict[str, Machine]:
        """Look at the machines before a run: what they are, and what they cannot run.

        Parameters
        ----------
        entries
            The backends of the run. What of them cannot run on a machine is in its
            ``unavailable``.
        threads
            CPU threads of an entry that has none of its own.
        libraries
            Distributions whose versions belong into the environment.

        Returns
        -------
            Each machine by its name, without ceilings; one at least.

        Raises
        ------
        NnbenchError
            If no machine can be reached, or none has so many CPUs.
        """

    @abstractmethod
    def with_roofs(
        self, machines: dict[str, Machine], entries: Sequence[Entry], threads: int
    ) -> dict[str, Machine]:
        """Return the machines with their ceilings, for the devices and threads of entries."""

    @abstractmethod
    def dataset_sha256(self, workload: Workload) -> str:
        """Load the dataset of a workload, and return the SHA-256 of its content.

        Raises
        ------
        DatasetError
            If it cannot be loaded, or does not fit the workload.
        """

    def dataset_classes(self, workload: Workload) -> Sequence[int]:
        """Return what a dataset's source calls each of its classes; nothing where that is 0 to K - 1."""
        del workload
        return ()

    def sizes(self, workload: Workload) -> Sizes | None:
        """Return how large the training of a workload is; None if that is not known before it runs."""
        del workload
        return None

    @abstractmethod
    def run(self, blocks: Iterable[Block]) -> Generator[Happening]:
        """Run blocks and yield what happens, each thing when it happens.

        The next block is taken when a machine is free for it, and no sooner: whoever gives the
        blocks leaves out the backends that have turned out too slow. A block chooses neither its
        machine nor its CPUs; a result names its machine. Every cell of a block yields a
        ``CellStarted`` and some ``CellEvent``, and so again if it is repeated; those of a block in turns
        mingle. Then, when all of
        them were trained and judged, a ``CellFinished`` for each attempt. What the backend did is never
        an exception here. An interruption, thrown into it or not, lets what was trained by then be
        judged and yielded, and is raised again afterwards. When the iterator is closed, or has raised,
        nothing that it started is left running.
        """
