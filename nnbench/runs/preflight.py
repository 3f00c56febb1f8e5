"""What is found out about two environments before anything is measured in them.

Whatever is wrong there becomes changes like those that a comparison finds: they have their sentences, and the
gravest decides what the command ends with. Nothing is measured then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnbench import selection
from nnbench.catalog.names import ALL, suspects
from nnbench.runs.comparison import Change, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nnbench.execution.interpreters import Interpreter
    from nnbench.execution.probing import Probe, Probed
    from nnbench.figures.metrics import Gate
    from nnbench.selection import Selection

ENDS = Outcome.UNMATCHED, Outcome.FAILED  #: with which what base, and what head, cannot import


class Sides(NamedTuple):
    """Two environments, base and head, and what they are called."""

    base: Interpreter
    head: Interpreter
    titles: Sequence[str]

    @property
    def interpreters(self) -> tuple[Interpreter, Interpreter]:
        """Both."""
        return self.base, self.head

    def asked(self, texts: Sequence[str]) -> list[str]:
        """Return the names of the backends that are to be compared, known or not."""
        names = selection.names(texts)
        known = self.base.backends.keys() | self.head.backends.keys()
        return sorted(names - {ALL} | (known if ALL in names else set()))


class Finding(NamedTuple):
    """What is wrong with a backend before it is measured."""

    backend: str
    outcome: Outcome
    message: str


def changes(findings: Iterable[Finding], gates: Iterable[Gate]) -> list[Change]:
    """Return findings as what became of each gated figure."""
    limits = [*gates]
    return [
        Change(backend=backend, gate=gate, outcome=outcome, message=message)
        for backend, outcome, message in findings
        for gate in limits
    ]


def broken_plugins(sides: Sides, texts: Sequence[str]) -> Iterator[Finding]:
    """Yield the backends that one side does not have, as a plugin cannot be loaded there."""
    both = sides.interpreters
    for side, other, title, outcome in zip(both, both[::-1], sides.titles, ENDS, strict=True):
        for name in sides.asked(texts):
            if name not in side.backends and (reason := _why_lost(name, side, other)):
                yield Finding(name, outcome, f"cannot be imported in {title}: {reason}")


def _why_lost(name: str, side: Interpreter, other: Interpreter) -> str | None:
    """Return what is wrong with the plugin that should bring a backend: the one that does so elsewhere, if any."""
    lost = suspects("backends", side.listing.plugins)
    reasons = {plugin.name: plugin.why_left_out for plugin in lost}
    owner = next((p for p in other.listing.plugins if name in p.brings.get("backends", ())), None)
    return reasons.get(owner.name) if owner else next(iter(reasons.values()), None)


def broken_imports(sides: Sides, probes: Sequence[Probe | None]) -> Iterator[Finding]:
    """Yield the backends whose own code, or whose library, cannot be imported on one side."""
    for probe, title, outcome in zip(probes, sides.titles, ENDS, strict=True):
        for name, found in probe.backends.items() if probe else ():
            if found.error:
                yield Finding(name, outcome, f"cannot be imported in {title}: {found.error}")


def changed(sides: Sides, texts: Sequence[str], probes: Sequence[Probe | None]) -> list[Selection]:
    """Return the backends that head can run, and whose code may be another one than in base."""
    before, after = ({} if probe is None else probe.backends for probe in probes)
    chosen = selection.parse(texts, {**sides.base.backends, **sides.head.backends})
    able = {item.name for item in sides.head.listing.backends if item.unavailable is None}
    return [
        each
        for each in chosen
        if each.backend.name in able and not _is_same(each.backend.name, before, after)
    ]


def _is_same(name: str, before: Mapping[str, Probed], after: Mapping[str, Probed]) -> bool:
    return name in before and name in after and before[name].code == after[name].code
