"""What is installed, as records without code, which processes hand to one another.

What there is to list and to observe stands in :mod:`nnbench.contract.hooks`, and there alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, NoReturn, Protocol, get_args, get_type_hints

from nnbench import contract, distributions
from nnbench.contract import faults, hooks
from nnbench.contract.backend import Backend, Device, Option, Precision
from nnbench.contract.bounds import Distribution, Line, Name, Parameter, Text, Variable
from nnbench.data.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PREFIX = f"{contract.NAME}_"  #: of the names of hooks


class Named(Protocol):
    """Anything that a hook lists."""

    @property
    def name(self) -> str:
        """The name that users type."""


@cache
def kinds() -> dict[str, type[Named]]:
    """Return the classes of what hooks list, by their names in the plural, as in ``backends``."""
    returned = {name: get_type_hints(spec)["return"] for name, spec in _specifications().items()}
    return {name: get_args(kind)[0] for name, kind in returned.items() if get_args(kind)}


def events() -> list[str]:
    """Return the names of what can be observed: the hooks that return nothing."""
    return [name for name in _specifications() if name not in kinds()]


def _specifications() -> dict[str, Callable[..., object]]:
    return {
        name.removeprefix(PREFIX): function
        for name, function in vars(hooks).items()
        if name.startswith(PREFIX)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A dataset."""

    name: Name
    summary: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorItem(Item):
    """An executor."""

    unavailable: Line | None = None  #: why it can't run blocks from here
    options: dict[Parameter, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendItem(Item):
    """A backend."""

    device: Device  #: where it trains
    unavailable: Line | None  #: why it can't run here
    options: dict[Parameter, Option]
    package: Line = ""  #: that its code stands in
    requires: tuple[Distribution, ...] = ()
    libraries: tuple[Distribution, ...] = ()
    environment: tuple[Variable, ...] = ()
    precision: Precision = "float32"
    skips_zeros: bool = False
    deterministic: bool = True
    compiles: bool = False
    named_only: bool = False

    @property
    def backend(self) -> Backend:
        """The backend without its code: only a process that has loaded the plugin makes networks."""
        return Backend(
            name=self.name,
            summary=self.summary,
            create=elsewhere,
            unavailable=lambda: self.unavailable,  # what is required, too
            options=self.options,
            libraries=self.libraries,
            environment=self.environment,
            device=self.device,
            precision=self.precision,
            skips_zeros=self.skips_zeros,
            deterministic=self.deterministic,
            compiles=self.compiles,
            named_only=self.named_only,
        )


def elsewhere(*_: object) -> NoReturn:
    """Stand in for the code of what was listed by another process."""
    raise NotImplementedError("this process knows of plugins, and runs none of their code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An entry point of the group ``nnbench``, loaded or not."""

    name: Line
    distribution: Line | None
    version: Line | None
    module: Line
    left_out: tuple[Problem, ...] = ()  #: why it was not loaded, or what of it
    brings: dict[Name, list[Name]] = field(default_factory=dict)  #: names by kind, and its events

    @property
    def why_left_out(self) -> str:
        """All of that in a line."""
        return "; ".join(map(str, self.left_out))

    @property
    def origin(self) -> str:
        """Its distribution and version."""
        return " ".join(filter(None, [self.distribution, self.version])) or "unknown"

    @property
    def identity(self) -> str:
        """What tells it from another of its name: no distribution has two."""
        return f"{self.name}@{self.distribution}" if self.distribution else self.name

    @property
    def spellings(self) -> set[str]:
        """How the environment may name it."""
        return {
            self.name,
            self.identity,
            f"{self.name}@{distributions.normalize(self.distribution or '')}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something is left out: a plugin, or something that it lists."""

    reason: Text  #: none of those that are only counted
    thing: Line = ""  #: as in ``backend 'mine'``, or ``backends``; none if it is the plugin
    wanted: bool = False  #: the environment says so

    def __str__(self) -> str:
        """Say it where the plugin is named already."""
        return ": ".join(filter(None, [self.thing, self.reason]))

    def of(self, plugin: Plugin) -> str:
        """Say it of a plugin."""
        name = f"plugin {plugin.name!r}"
        if not self.reason:
            return f"{self.thing} of {name} are left out"
        what = f"{self.thing} of {name}" if self.thing else name
        are = "are" if self.thing in kinds() else "is"
        return f"{what} of {plugin.origin} {are} left out: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything that is installed, as records without code: ``nnbench list`` prints them."""

    backends: list[BackendItem]
    workloads: list[Workload]
    datasets: list[Item]
    plugins: list[Plugin] = field(default_factory=list)
    executors: list[ExecutorItem] = field(default_factory=list)


def describe(kind: str, name: object) -> str:
    """Say what something is that a plugin lists."""
    return f"{kind.removesuffix('s')} {faults.show(name)}"


def without(plugin: Plugin, problems: Iterable[Problem]) -> Plugin:
    """Return the record of a plugin without what is left out of all that it brings."""
    problems = [*problems]
    things = {problem.thing for problem in problems}
    brings = {
        kind: [name for name in names if describe(kind, name) not in things]
        for kind, names in plugin.brings.items()
    }
    return replace(
        plugin,
        left_out=(*plugin.left_out, *problems),
        brings={kind: names for kind, names in brings.items() if names},
    )


def sound(known: Iterable[Plugin]) -> list[str]:
    """Return the plugins that can be loaded, as :data:`LIMIT` may name them."""
    return [plugin.identity for plugin in known if plugin.brings or not plugin.left_out]


def in_order(plugins: Iterable[Plugin]) -> list[Plugin]:
    """Sort plugins as they are listed."""
    return sorted(plugins, key=lambda plugin: (plugin.name, plugin.identity))
