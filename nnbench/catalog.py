"""What is installed: the plugins, what each lists or observes, and whether it can run here.

What there is to list and to observe stands in :mod:`nnbench.contract.hooks`, and there alone. A process
that must run no plugin's code relies on a :class:`Listing` instead, which another one has made.

Of a plugin with a fault as little as can be is left out: the one thing that it lists, if that has a field that is not as its type
says; else all that its hook lists; else the plugin. So a backend can be used whose neighbour is faulty. There is one
warning, which says what is at fault and what it must be; the same is said to who asks for what is left out.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import warnings
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import (
    TYPE_CHECKING,
    Any,
    NamedTuple,
    NoReturn,
    Protocol,
    TypeVar,
    get_args,
    get_type_hints,
)

import pluggy

from nnbench import contract, distributions
from nnbench.contract import faults, hooks
from nnbench.contract.backend import Backend, Device, Option, Precision
from nnbench.contract.bounds import Distribution, Line, Name, Parameter, Text, Variable
from nnbench.contract.engine import Engine
from nnbench.contract.errors import NnbenchError, PluginError, PluginWarning
from nnbench.data import datasets as _datasets
from nnbench.data import workloads as _workloads
from nnbench.data.datasets import Dataset
from nnbench.data.workloads import Workload
from nnbench.records import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nnbench.distributions import Entry

#: Environment variable: names of the plugins to load, or after ``no:`` of those not to load, with commas.
LIMIT = "NNBENCH_PLUGINS"
NOT = "no:"
PREFIX = f"{contract.NAME}_"  #: of the names of hooks
ALL = "all"  #: what users type for every backend but those that are ``named_only``
LONGEST_NAME = 100  #: characters: it stands in tables, and in the names of files
MOST_LISTED = 1000  #: things by one hook
MOST_TOLD = 20  #: faulty ones among them, one by one
LONGEST = 1000  #: characters of what a plugin raises, or gives as a reason
RESERVED = {"backends": ALL, "executors": LOCAL}  #: names that stand for something else
#: What no name may hold, since users type more than a name there; nor may one be empty, or start as an option does.
_MARKS = re.compile(r"[\s,=@\[\]]")  # name[key=value],name; a name@variant is of a comparison
MARKS = {
    "backends": _MARKS,
    "executors": _MARKS,
    "plugins": re.compile(rf"[\s,]|^{NOT}"),  # in the environment variable
}


class Named(Protocol):
    """Anything that a hook lists."""

    @property
    def name(self) -> str:
        """The name that users type."""


T = TypeVar("T")
NamedT = TypeVar("NamedT", bound=Named)


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
            create=_elsewhere,
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


def _elsewhere(*_: object) -> NoReturn:
    raise NotImplementedError("this process knows of plugins, and runs none of their code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An entry point of the group ``nnbench``, loaded or not."""

    name: Line
    distribution: Line | None
    version: Line | None
    module: Line
    left_out: Text | None = None  #: why it was not loaded, or what of it
    brings: dict[Name, list[Name]] = field(default_factory=dict)  #: names by kind, and its events

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
class Listing:
    """Everything that is installed, as records without code: ``nnbench list`` prints them."""

    backends: list[BackendItem]
    workloads: list[Workload]
    datasets: list[Item]
    plugins: list[Plugin] = field(default_factory=list)
    executors: list[ExecutorItem] = field(default_factory=list)


def installed() -> Listing:
    """List what is installed here."""
    able: list[BackendItem] = []
    found = [*plugins()]
    for backend in backends().values():
        try:
            able.append(_item(backend))
        except PluginError as error:
            plugin = _bringer(found, "backends", backend.name)
            if plugin is None:
                raise
            problem = _problem("backends", backend.name, plugin, str(error))
            warnings.warn(problem.text, PluginWarning, stacklevel=2)
            found[found.index(plugin)] = without(plugin, [problem])
    return Listing(
        backends=able,
        workloads=list(workloads().values()),
        datasets=[Item(name=e.name, summary=e.summary) for e in datasets().values()],
        plugins=found,
        executors=list(executors().values()),
    )


def _item(backend: Backend) -> BackendItem:
    """Return the record of a backend.

    Raises
    ------
    PluginError
        If what it says of its being available is no answer.
    """
    return BackendItem(
        name=backend.name,
        summary=backend.summary,
        device=backend.device,
        unavailable=_ask_availability(backend),
        options=dict(backend.options),
        package=backend.package,
        requires=tuple(backend.requires),
        libraries=tuple(backend.libraries),
        environment=tuple(backend.environment),
        precision=backend.precision,
        skips_zeros=backend.skips_zeros,
        deterministic=backend.deterministic,
        compiles=backend.compiles,
        named_only=backend.named_only,
    )


_listings: list[Listing] = []  # the last one is relied on


def relies() -> bool:
    """Tell whether a listing is relied on."""
    return bool(_listings)


@contextmanager
def relying_on(listing: Listing) -> Iterator[None]:
    """Within this context, know what is installed from a listing alone, and load no plugin."""
    _listings.append(listing)
    try:
        yield
    finally:
        _listings.pop()


# What hooks.py declares


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


# Names


def backends() -> dict[str, Backend]:
    """Return every backend by name, sorted."""
    if _listings:
        return {item.name: item.backend for item in _listings[-1].backends}
    return listed(Backend)


def workloads() -> dict[str, Workload]:
    """Return every workload by name, sorted."""
    if _listings:
        return {workload.name: workload for workload in _listings[-1].workloads}
    return listed(Workload)


def datasets() -> dict[str, Dataset]:
    """Return every dataset by name, sorted."""
    if _listings:
        known = _listings[-1].datasets
        return {e.name: Dataset(name=e.name, summary=e.summary, load=_elsewhere) for e in known}
    return listed(Dataset)


def owner(kind: str, name: str) -> Plugin | None:
    """Return the plugin that brings something; None if it ships, or nobody does."""
    return _bringer(plugins(), kind, name)


def _bringer(known: Iterable[Plugin], kind: str, name: str) -> Plugin | None:
    return next((each for each in known if name in each.brings.get(kind, ())), None)


def limit_to(plugin: Plugin) -> str:
    """Return the value of :data:`LIMIT` with which a process loads one plugin alone.

    That is its name, which an older nnbench understands, too, unless another one has it.
    """
    twins = [each for each in plugins() if each.name == plugin.name]
    return plugin.identity if len(twins) > 1 else plugin.name


def sound(known: Iterable[Plugin]) -> list[str]:
    """Return the plugins that can be loaded, as :data:`LIMIT` may name them."""
    return [plugin.identity for plugin in known if plugin.brings or not plugin.left_out]


def executors() -> dict[str, ExecutorItem]:
    """Return every executor that plugins bring by name, sorted."""
    if _listings:
        return {item.name: item for item in _listings[-1].executors}
    return {
        name: ExecutorItem(
            name=name,
            summary=engine.summary,
            unavailable=_what_is_missing(engine, Engine),  # type: ignore[type-abstract]  # none is made of it
            options=dict(engine.options),
        )
        for name, engine in listed(Engine).items()  # type: ignore[type-abstract]  # likewise
    }


def engine(name: str) -> Engine:
    """Return the engine of an executor that a plugin lists. Its code is loaded even where a listing is relied on.

    Raises
    ------
    PluginError
        If the plugin that brings it cannot be loaded here.
    """
    if not _listings:
        return listed(Engine)[name]  # type: ignore[type-abstract]  # as above
    [plugin] = (each for each in plugins() if name in each.brings.get("executors", ()))
    loader = _manager()  # not the one whose observers are called
    for entry in distributions.plugins():
        if (record := describe(entry)).identity == plugin.identity:
            plugin = _load_plugin(loader, entry, record)
    found = [
        item
        for implementation in loader.hook.nnbench_executors.get_hookimpls()
        for item in _items(implementation, Engine)
        if why_faulty("executors", item) is None and getattr(item, "name", None) == name
    ]
    if not found:
        reason = plugin.left_out or "it lists none of that name any more"
        raise PluginError(f"executor {name!r} of plugin {plugin.name!r} is not there: {reason}")
    [wanted, *_] = found
    assert isinstance(wanted, Engine)  # noqa: S101 - nothing is wrong with it
    return wanted


def listed(kind: type[NamedT]) -> dict[str, NamedT]:
    """Return everything of one of the :func:`kinds` by name, sorted; warn of what is left out."""
    owned, problems = _sort(kind)
    for problem in problems:
        warnings.warn(problem.text, PluginWarning, stacklevel=2)
    return {name: item for name, (item, _) in sorted(owned.items())}


class Problem(NamedTuple):
    """Why something is left out that a plugin lists."""

    owner: str  #: the plugin
    kind: str
    name: object  #: None of all that its hook lists
    text: str  #: a warning
    remark: str  #: where the plugin is named already


def _sort(kind: type[NamedT]) -> tuple[dict[str, tuple[NamedT, str]], list[Problem]]:
    """Return everything of a kind by name, with the plugin that lists it; and what is left out."""
    [plural] = (name for name, each in kinds().items() if each is kind)
    records = {plugin.name: plugin for plugin in _load()[1] if not plugin.left_out}
    owned: dict[str, tuple[NamedT, str]] = {}
    problems = []
    for implementation in _implementations(plural):
        owner = implementation.plugin_name
        try:
            items = _items(implementation, kind)
        except PluginError as error:
            what = f"{plural} of plugin {owner!r} of {records[owner].origin}"
            text = f"{what} are left out: {error}"
            problems.append(Problem(owner, plural, None, text, f"{plural}: {error}"))
            continue
        faulty = []
        for item in items:
            if reason := why_faulty(plural, item):
                faulty.append(_problem(plural, _name_of(item), records[owner], reason))
            elif item.name in owned:
                first = records.get(owned[item.name][1])
                faulty.append(clash(plural, item.name, records[owner], first))
            else:
                owned[item.name] = item, owner
        if (more := len(faulty) - MOST_TOLD) > 0:
            text = f"{more:,} more {plural} of plugin {owner!r} are left out"
            faulty[MOST_TOLD:] = [Problem(owner, plural, None, text, f"{more:,} more {plural}")]
        problems += faulty
    return owned, problems


def why_faulty(kind: str, item: object) -> str | None:
    """Return what is wrong with something that a plugin lists: with a field of it, or its name; or None."""
    expected = kinds()[kind]
    try:
        if not isinstance(item, expected):
            return f"it is {faults.show(item)}, and must be {faults.words(expected)}"
        return faults.of(item, expected) or why_unselectable(kind, item.name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a property of a plugin raises
        return f"a field cannot be read: {shorten(error)}"


def _name_of(item: object) -> object:
    try:
        return getattr(item, "name", None)
    except (Exception, SystemExit):  # noqa: BLE001 - as above
        return None


def why_unselectable(kind: str, name: object) -> str | None:
    """Return why users could never select something by a name, or None."""
    if not isinstance(name, str) or not name:
        return "it has no name"
    if len(name) > LONGEST_NAME:
        return f"a name has at most {LONGEST_NAME} characters"
    if name == RESERVED.get(kind):
        return "this name stands for something else"
    if name.startswith("-") or not name.isprintable() or name != name.strip():
        return "a name has no blanks around it, no control characters, and no - at its start"
    if (marks := MARKS.get(kind)) and (found := marks.search(name)):
        return f"{found[0]!r} cannot be in its name: nobody could select it"
    return None


def clash(kind: str, name: str, plugin: Plugin, first: Plugin | None) -> Problem:
    """Say that something is left out, since its name is taken: by a plugin, or by what ships (None)."""
    if first is None:
        reason = "one of this name ships with nnbench"
    elif first == plugin:
        reason = "it is listed twice"
    else:
        reason = _taken(first)
    return _problem(kind, name, plugin, reason)


def _problem(kind: str, name: object, plugin: Plugin, reason: str) -> Problem:
    what = _what(kind, name)
    text = f"{what} of plugin {plugin.name!r} of {plugin.origin} is left out: {reason}"
    return Problem(plugin.name, kind, name, text, f"{what}: {reason}")


def _what(kind: str, name: object) -> str:
    return f"{kind.removesuffix('s')} {faults.show(name)}"


def without(plugin: Plugin, problems: Iterable[Problem]) -> Plugin:
    """Return the record of a plugin without what is left out of all that it brings."""
    brings, remarks = {**plugin.brings}, [plugin.left_out]
    for problem in problems:
        names = brings.get(problem.kind, [])
        brings[problem.kind] = [name for name in names if name != problem.name]
        remarks.append(problem.remark)
    return replace(
        plugin,
        left_out="; ".join(filter(None, remarks)) or None,
        brings={kind: names for kind, names in brings.items() if names},
    )


def _taken(first: Plugin) -> str:
    how = f"{LIMIT}={shlex.quote(NOT + first.identity)} leaves out that one instead"
    return f"{first.origin} has one of this name; {how}"


def find(kind: str, name: str, known: Mapping[str, T], among: Iterable[Plugin] | None = None) -> T:
    """Return what a name stands for that a user typed.

    Parameters
    ----------
    kind
        What it is called; its first word is that of what plugins list.
    name, known
        The name, and all that there are.
    among
        The plugins that bring these; None are those of here.

    Raises
    ------
    NnbenchError
        If it is unknown; the message says which plugin that may bring it is left out, and why, or suggests the
        nearest name.
    """
    if name in known:
        return known[name]
    start, plural = f"no {kind} named {name!r}", f"{kind.partition(' ')[0]}s"
    if among is None:
        among = plugins() if plural in kinds() else ()
    thing = f"{_what(plural, name)}: "
    broken = [plugin for plugin in among if plugin.left_out]
    if named := [p for p in broken if thing in (p.left_out or "")]:
        raise NnbenchError(f"{start}: {_told(named, thing)}")
    if named := [p for p in broken if name in p.spellings]:
        raise NnbenchError(f"{start}: {_told(named)}")
    near = _nearest(name, known)
    hint = f"did you mean {near}? " if near else ""
    text = f"{start}; {hint}known: {', '.join(sorted(known))}"
    if not near and (may := suspects(plural, broken)):
        text = f"{text}; it may be brought by what could not be loaded: {_told(may)}"
    raise NnbenchError(text)


def _told(broken: Iterable[Plugin], thing: str = "") -> str:
    """Say why plugins are left out, or why one thing of each is."""
    return "; ".join(
        f"plugin {p.name!r} of {p.origin} is left out: {_reason(p, thing)}" for p in broken
    )


def _reason(plugin: Plugin, thing: str) -> str:
    known = plugin.left_out or ""
    kind = "|".join(kind.removesuffix("s") for kind in kinds())
    remarks = re.split(rf"; (?=(?:{kind})s?\b)", known) if thing else []
    return next((remark for remark in remarks if remark.startswith(thing)), known)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return which name may have been meant: the first one of those that are most like it."""

    def likeness(each: str) -> float:
        return difflib.SequenceMatcher(None, each, name).ratio()

    near = difflib.get_close_matches(name, known, n=1)
    return max(sorted(known), key=likeness) if near else None


def suspects(kind: str, known: Iterable[Plugin]) -> list[Plugin]:
    """Return the plugins that bring nothing of a kind, and are left out for a fault: nobody knows what they would bring."""
    return [
        plugin
        for plugin in known
        if plugin.left_out
        and not plugin.left_out.startswith(LIMIT)  # which is how it was wanted
        and not plugin.brings.get(kind)
    ]


def why_unavailable(backend: Backend) -> str | None:
    """Return why a backend can't run here, or None; one whose own check fails can't either.

    If it requires what is not installed, the reason has the command that installs it.
    """
    try:
        return _ask_availability(backend)
    except PluginError as error:
        return str(error)


def _ask_availability(backend: Backend) -> str | None:
    """Return why a backend can't run here, or None.

    What its check raises is a reason: it may be the driver that has failed, and not the plugin.

    Raises
    ------
    PluginError
        If what the check returns is no reason, nor None.
    """
    try:
        reason: object = _what_is_missing(backend, Backend) or backend.unavailable()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
        return shorten(error)
    if not (reason is None or isinstance(reason, str)):
        must = "must return why not, as a text, or None"
        raise PluginError(f"unavailable() returned {faults.show(reason)}, and {must}")
    return in_a_line(reason or "") or None


def _what_is_missing(item: Backend | Engine, kind: type[Named]) -> str | None:
    """Say what is required and not installed, and how to install it; None if all is there."""
    missing = [name for name in item.requires if not distributions.is_installed(name)]
    if not missing:
        return None
    origins = {plugin.name: plugin.distribution for plugin in _load()[1] if not plugin.left_out}
    _, owner = _sort(kind)[0].get(item.name, (item, ""))
    command = distributions.how_to_install(missing, origins.get(owner))
    return f"{missing[0]} is not installed: {command}"


def _items(implementation: pluggy.HookImpl, kind: type) -> list[Any]:
    """Call a hook that lists, and return as many things as it lists, whatever they are.

    Raises
    ------
    PluginError
        If it raises anything, or returns no list, or one that is too long.
    """
    expected = f"must return a list of {kind.__name__}"
    try:
        returned: Any = implementation.function()
        is_list = isinstance(returned, Iterable) and not isinstance(returned, str | bytes | Mapping)
        items: list[Any] = list(islice(returned, MOST_LISTED + 1)) if is_list else []
    except (Exception, SystemExit) as error:
        raise PluginError(shorten(error)) from error
    if not is_list:
        raise PluginError(f"the hook returned {faults.show(returned)}, and {expected}")
    if len(items) > MOST_LISTED:
        raise PluginError(f"the hook {expected}, and of at most {MOST_LISTED:,}")
    return items


# Plugins


def plugins() -> list[Plugin]:
    """Return every installed plugin, sorted by name, with what it brings."""
    if _listings:
        return _listings[-1].plugins
    known = {name: _sort(kind) for name, kind in kinds().items()}

    def complete(plugin: Plugin) -> Plugin:
        if plugin.left_out:
            return plugin
        brings = {"events": [name for name in events() if any(_implementations(name, plugin))]}
        remarks = []
        for kind, (owned, problems) in known.items():
            brings[kind] = [name for name, (_, owner) in owned.items() if owner == plugin.name]
            remarks += [problem.remark for problem in problems if problem.owner == plugin.name]
        return replace(
            plugin,
            left_out="; ".join(remarks) or None,
            brings={kind: names for kind, names in brings.items() if names},
        )

    return in_order(map(complete, _load()[1]))


def in_order(plugins: Iterable[Plugin]) -> list[Plugin]:
    """Sort plugins as they are listed."""
    return sorted(plugins, key=lambda plugin: (plugin.name, plugin.identity))


def notify(hook: str, **arguments: object) -> None:
    """Call the observers of one hook; a failing observer is a warning."""
    for implementation in _implementations(hook.removeprefix(PREFIX)):
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
            text = f"{hook} of plugin {implementation.plugin_name!r} failed: {error!r}"
            warnings.warn(text, PluginWarning, stacklevel=2)
    for tell in _forwarding:
        tell(hook, arguments)


_forwarding: list[Callable[[str, Mapping[str, object]], None]] = []


@contextmanager
def forwarding(tell: Callable[[str, Mapping[str, object]], None]) -> Iterator[None]:
    """Within this context, tell of every event by a function, too: its hook, and the arguments."""
    _forwarding.append(tell)
    try:
        yield
    finally:
        _forwarding.remove(tell)


def manager() -> pluggy.PluginManager:
    """Return the plugin manager with every plugin registered that is installed and wanted.

    Where a listing is relied on it has none, but those that are registered there.
    """
    return _without_plugins() if _listings else _load()[0]


def _implementations(name: str, plugin: Plugin | None = None) -> list[pluggy.HookImpl]:
    every = getattr(manager().hook, PREFIX + name).get_hookimpls()
    return [each for each in every if plugin is None or each.plugin_name == plugin.name]


def _manager() -> pluggy.PluginManager:
    made = pluggy.PluginManager(contract.NAME)
    made.add_hookspecs(hooks)
    return made


_without_plugins = cache(_manager)


@cache
def _load() -> tuple[pluggy.PluginManager, list[Plugin]]:
    loader = _manager()
    loader.register(_datasets, name="nnbench.data.datasets")
    loader.register(_workloads, name="nnbench.data.workloads")
    return loader, [_load_plugin(loader, *each) for each in sift()]


def describe(entry: Entry) -> Plugin:
    """Return the record of a plugin that is not loaded."""
    return Plugin(
        name=entry.name,
        distribution=entry.distribution,
        version=entry.version,
        module=entry.module,
    )


def sift() -> list[tuple[Entry, Plugin]]:
    """Return every plugin that is installed, with its record, which says if it is not to be loaded.

    The environment may say so. Of two with one name only the first is loaded; the other is warned of.

    Raises
    ------
    PluginError
        If the environment names one that is not installed.
    """
    every = [(entry, describe(entry)) for entry in distributions.plugins()]
    asked = list(filter(None, map(str.strip, os.environ.get(LIMIT, "").split(","))))
    refused = {text.removeprefix(NOT) for text in asked if text.startswith(NOT)}
    named = {text for text in asked if not text.startswith(NOT)}
    known = {spelling: plugin.name for _, plugin in every for spelling in plugin.spellings}
    for text in sorted(named - known.keys()):
        try:
            find("plugin", text, dict.fromkeys(known.values()))
        except NnbenchError as error:
            raise PluginError(f"{LIMIT}: {error}") from error
    first: dict[str, Plugin] = {}

    def judged(entry: Entry, plugin: Plugin) -> Plugin:
        if plugin.spellings & refused:
            return replace(plugin, left_out=f"{LIMIT} leaves it out")
        if named and not plugin.spellings & named:
            return replace(plugin, left_out=f"{LIMIT} does not name it")
        if reason := entry.fault or why_unselectable("plugins", plugin.name):
            return leave_out(plugin, reason)
        if plugin.name in first:
            return leave_out(plugin, _taken(first[plugin.name]))
        first[plugin.name] = plugin
        return plugin

    return [(entry, judged(entry, plugin)) for entry, plugin in every]


def leave_out(plugin: Plugin, reason: str) -> Plugin:
    """Warn of a plugin that is not loaded."""
    text = f"plugin {plugin.name!r} of {plugin.origin} is left out: {reason}"
    warnings.warn(text, PluginWarning, stacklevel=3)
    return replace(plugin, left_out=reason)


def _load_plugin(loader: pluggy.PluginManager, entry: Entry, plugin: Plugin) -> Plugin:
    """Register one plugin; one that cannot be imported, or whose hooks are none, is left out with a warning."""
    if plugin.left_out:
        return plugin
    try:
        module = entry.load()
        if other := loader.get_name(module):
            return leave_out(plugin, f"it is what plugin {other!r} is")
        if unmarked := _unmarked(loader, module):
            return leave_out(plugin, f"{', '.join(unmarked)} has no @hookimpl, so nobody calls it")
        loader.register(module, name=plugin.name)
        loader.check_pending()  # a misspelt hook would be called by nobody
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
        if loader.has_plugin(plugin.name):
            loader.unregister(name=plugin.name)
        return leave_out(plugin, _why_not_loaded(error, plugin))
    return plugin


def _why_not_loaded(error: BaseException, plugin: Plugin) -> str:
    match error:
        case pluggy.PluginValidationError():  # whose text says it all
            return in_a_line(str(error))
        case ModuleNotFoundError(name=str(module)):
            return f"{shorten(error)}: {_how_to_bring(module, plugin)}"
        case _:
            return shorten(error)


def _how_to_bring(module: str, plugin: Plugin) -> str:
    """Return what to do about a module that a plugin imports, and that is not there."""
    distribution = plugin.distribution or plugin.name
    if module.partition(".")[0] == re.split(r"[.:]", plugin.module)[0]:
        return shlex.join(["pip", "install", "--force-reinstall", distribution])
    if missing := distributions.missing(distribution):
        return distributions.how_to_install(missing, None)
    return "install what has it, and let the plugin require that"


def _unmarked(loader: pluggy.PluginManager, module: object) -> list[str]:
    """Return the names of functions that are called as hooks are, and not marked as such."""
    return [
        name
        for name in vars(hooks)
        if name.startswith(PREFIX)
        and hasattr(module, name)
        and loader.parse_hookimpl_opts(module, name) is None
    ]


def shorten(error: BaseException) -> str:
    """Write an error in one line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - it may be a plugin's, too
        text = ""
    return in_a_line(": ".join(filter(None, [type(error).__name__, text])))


def in_a_line(text: str) -> str:
    """Write a text that a plugin has made in one line, of bearable length."""
    line = " ".join(text[: 2 * LONGEST].split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
