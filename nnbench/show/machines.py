"""What the machines of a run do, and have done, in a few words for each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nnbench.records.events import Queue
from nnbench.show.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GAP = 3  #: columns between two machines
LONGEST = 24  #: characters of a name


@dataclass
class Machines:
    """The blocks of a run by the machine that they are on."""

    done: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    queue: Queue = field(default_factory=partial(Queue, slots=1))

    def texts(self, running: Iterable[tuple[str, str]]) -> list[str]:
        """Say of each machine how many of its blocks are done or lost, and what it does.

        Parameters
        ----------
        running
            The machine of each block that trains, or is judged, and how far it is.
        """
        now: dict[str, list[str]] = {}
        for machine, stage in running:
            now.setdefault(machine, []).append(stage)
        for machine in self.queue.arrived.values():
            now.setdefault(machine, []).append("waits")
        names = sorted({*self.done, *self.lost, *now})
        said = {
            name: [
                *([f"{self.done[name]} done"] if self.done[name] else []),
                *([f"{self.lost[name]} lost"] if self.lost[name] else []),
                *now.get(name, ()),
            ]
            for name in names
        }
        return [f"{short}: {', '.join(said[name])}" for name, short in _shortened(names).items()]

    def counts(self, running: int) -> str:
        """Say how many blocks run, and how many wait."""
        waiting = len(self.queue.given) + len(self.queue.arrived)
        said = [f"{running} run" if running != 1 else "1 runs"] if running or not waiting else []
        said += [f"{waiting} wait" if waiting != 1 else "1 waits"] if waiting else []
        return ", ".join(said)

    def waits(self) -> str:
        """Say what blocks wait for; nothing if none does."""
        waits = {"CPUs": len(self.queue.arrived), "a machine": len(self.queue.given)}
        said = [f"{count(number, 'block')} for {what}" for what, number in waits.items() if number]
        return f"waiting: {', '.join(said)}" if said else ""


def _shortened(names: Sequence[str]) -> dict[str, str]:
    """Return each name without its domain, if that leaves no two alike, and not too long."""
    hosts = {name: name.partition(".")[0] for name in names}
    if len(set(hosts.values())) < len(names) or any(host.isdigit() for host in hosts.values()):
        hosts = {name: name for name in names}
    return {
        name: host if len(host) <= LONGEST else f"{host[: LONGEST - 2]}.."
        for name, host in hosts.items()
    }


def in_rows(texts: Sequence[str], width: int, rows: int) -> list[Sequence[str]]:
    """Put texts side by side, in so many rows at most; the last one says how many more there are."""
    if not texts:
        return []
    across = max(1, (width + GAP - 1) // (max(map(cell_len, texts)) + GAP))
    if len(texts) > (most := across * rows):
        texts = [*texts[: most - 1], f"and {len(texts) - most + 1} more"]
    return [texts[start : start + across] for start in range(0, len(texts), across)]
