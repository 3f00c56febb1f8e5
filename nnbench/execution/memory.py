"""Whether there is room for another worker, while others that are set up stay in memory.

It is counted before a worker starts: what it was seen to need in an earlier block, or an estimate, against what the
system, the control groups above this process and the GPU still have. What they do not say is no limit.

Source: ``man 5 proc`` (MemAvailable).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench import kernel
from nnbench.execution import gpu

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from nnbench.execution.tree import Tree

SLACK = 1.25  #: times what was seen: training may need a little more than the warm-up did
LIBRARY_BYTES = 1 << 29  #: of a worker that nobody has seen yet, its data apart
COPIES = 2  #: of the dataset in such a worker: its own, and what the backend makes of it


class Memory:
    """What workers need, by their label, as far as they were seen.

    Parameters
    ----------
    dataset_bytes
        Of the examples that each of them gets.
    """

    def __init__(self, dataset_bytes: int) -> None:
        self._guess = COPIES * dataset_bytes + LIBRARY_BYTES
        self._peaks: dict[str, int] = {}
        self._on_gpu: dict[str, int] = {}

    def holds(self, labels: Sequence[str], devices: Iterable[str], beside: Iterable[Tree]) -> bool:
        """Tell whether workers can be set up beside others, which may come back to their peaks.

        Parameters
        ----------
        labels, devices
            Of the workers to come.
        beside
            Those that are there.
        """
        seen = [each for tree in beside if (each := tree.memory())]
        to_come = sum(max(0.0, SLACK * each.peak - each.now) for each in seen)
        on_gpu = [label for label, device in zip(labels, devices, strict=True) if device == "cuda"]
        of_gpu = sum(SLACK * self._on_gpu.get(label, self._guess) for label in on_gpu)
        free, free_on_gpu = available(), gpu.free_bytes() if on_gpu else None
        return self.needed(labels) + to_come <= free and (
            free_on_gpu is None or of_gpu <= free_on_gpu
        )

    def needed(self, labels: Sequence[str]) -> float:
        """Return what workers need together, in bytes."""
        return sum(SLACK * self._peaks.get(label, self._guess) for label in labels)

    def note(self, label: str, tree: Tree) -> None:
        """Remember what a worker has needed so far."""
        if seen := tree.memory():
            self.expect(label, seen.peak)

    def expect(self, label: str, peak: int) -> None:
        """Remember that a worker has needed so many bytes."""
        self._peaks[label] = max(peak, self._peaks.get(label, 0))

    def note_gpu(self, label: str, before: int | None, now: int | None) -> None:
        """Remember what a worker has taken of a GPU that had so much free before."""
        if before is not None and now is not None:
            self._on_gpu[label] = max(before - now, self._on_gpu.get(label, 0))


def available(root: Path = kernel.ROOT) -> int:
    """Return how many bytes processes can still have here; ``root`` stands for ``/``."""
    import psutil

    left = (max(0, each.limit - each.used + each.cached) for each in kernel.memories(root))
    return min([psutil.virtual_memory().available, *left])
