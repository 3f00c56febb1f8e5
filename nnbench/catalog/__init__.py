"""What is installed, by name: what each plugin lists or observes, and whether it can run here.

A process that must run no plugin's code relies on a :class:`Listing` instead, which another one has made.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from nnbench import distributions
from nnbench.catalog import flaws, loading, names
from nnbench.catalog.listings import (
    PREFIX,
    BackendItem,
    ExecutorItem,
    Item,
    Listing,
    Named,
    Plugin,
    Problem,
    elsewhere,
    events,
    in_order,
    kinds,
    without,
)
from nnbench.contract import faults
from nnbench.contract.backend import Backend
from nnbench.contract.engine import Engine
from nnbench.contract.errors import PluginError, PluginWarning
from nnbench.data.datasets import Dataset
from nnbench.data.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pluggy

MOST_LISTED = 1000  #: things by one hook
MOST_TOLD = 20  #: faulty ones among them, one by one

T = TypeVar("T")
NamedT = TypeVar("NamedT", bound=Named)


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
            problem = flaws.of("backends", backend.name, str(error))
            warnings.warn(problem.of(plugin), PluginWarning, stacklevel=2)
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
        return {e.name: Dataset(name=e.name, summary=e.summary, load=elsewhere) for e in known}
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
    loader = loading.empty()  # not the one whose observers are called
    for entry in distributions.plugins():
        if (record := loading.describe(entry)).identity == plugin.identity:
            plugin = loading.load_plugin(loader, entry, record)
    found = [
        item
        for implementation in loader.hook.nnbench_executors.get_hookimpls()
        for item in _items(implementation, Engine)
        if flaws.why_faulty("executors", item) is None and getattr(item, "name", None) == name
    ]
    if not found:
        reason = plugin.why_left_out or "it lists none of that name any more"
        raise PluginError(f"executor {name!r} of plugin {plugin.name!r} is not there: {reason}")
    [wanted, *_] = found
    assert isinstance(wanted, Engine)  # noqa: S101 - nothing is wrong with it
    return wanted


def listed(kind: type[NamedT]) -> dict[str, NamedT]:
    """Return everything of one of the :func:`kinds` by name, sorted; warn of what is left out."""
    owned, problems = _sort(kind)
    for plugin, problem in problems:
        warnings.warn(problem.of(plugin), PluginWarning, stacklevel=2)
    return {name: item for name, (item, _) in sorted(owned.items())}


def _sort(kind: type[NamedT]) -> tuple[dict[str, tuple[NamedT, str]], list[tuple[Plugin, Problem]]]:
    """Return everything of a kind by name, with the plugin that lists it; and what is left out."""
    [plural] = (name for name, each in kinds().items() if each is kind)
    records = {plugin.name: plugin for plugin in loading.load()[1] if not plugin.left_out}
    owned: dict[str, tuple[NamedT, str]] = {}
    problems: list[tuple[Plugin, Problem]] = []
    for implementation in _implementations(plural):
        owner = implementation.plugin_name
        try:
            items = _items(implementation, kind)
        except PluginError as error:
            problems.append((records[owner], Problem(thing=plural, reason=str(error))))
            continue
        faulty = []
        for item in items:
            if reason := flaws.why_faulty(plural, item):
                faulty.append(flaws.of(plural, flaws.name_of(item), reason))
            elif item.name in owned:
                first = records.get(owned[item.name][1])
                faulty.append(flaws.clash(plural, item.name, records[owner], first))
            else:
                owned[item.name] = item, owner
        if (more := len(faulty) - MOST_TOLD) > 0:
            faulty[MOST_TOLD:] = [Problem(thing=f"{more:,} more {plural}", reason="")]
        problems += [(records[owner], problem) for problem in faulty]
    return owned, problems


def find(kind: str, name: str, known: Mapping[str, T], among: Iterable[Plugin] | None = None) -> T:
    """Return what a name stands for that a user typed: see :func:`nnbench.catalog.names.find`.

    ``among`` are the plugins that may bring it; None are those of here.

    Raises
    ------
    NnbenchError
        If it is unknown.
    """
    if name in known:
        return known[name]
    if among is None:
        among = plugins() if f"{kind.partition(' ')[0]}s" in kinds() else ()
    return names.find(kind, name, known, among)


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
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises
        flaws.let_through(error)
        return flaws.shorten(error)
    if not (reason is None or isinstance(reason, str)):
        must = "must return why not, as a text, or None"
        raise PluginError(f"unavailable() returned {faults.show(reason)}, and {must}")
    return flaws.in_a_line(reason or "") or None


def _what_is_missing(item: Backend | Engine, kind: type[Named]) -> str | None:
    """Say what is required and not installed, and how to install it; None if all is there."""
    missing = [name for name in item.requires if not distributions.is_installed(name)]
    if not missing:
        return None
    origins = {
        plugin.name: plugin.distribution for plugin in loading.load()[1] if not plugin.left_out
    }
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
    except BaseException as error:
        flaws.let_through(error)
        raise PluginError(flaws.shorten(error)) from error
    if not is_list:
        raise PluginError(f"the hook returned {faults.show(returned)}, and {expected}")
    if len(items) > MOST_LISTED:
        raise PluginError(f"the hook {expected}, and of at most {MOST_LISTED:,}")
    return items


def plugins() -> list[Plugin]:
    """Return every installed plugin, sorted by name, with what it brings."""
    if _listings:
        return _listings[-1].plugins
    known = {name: _sort(kind) for name, kind in kinds().items()}

    def complete(plugin: Plugin) -> Plugin:
        if plugin.left_out:
            return plugin
        brings = {"events": [name for name in events() if any(_implementations(name, plugin))]}
        left_out = []
        for kind, (owned, problems) in known.items():
            brings[kind] = [name for name, (_, owner) in owned.items() if owner == plugin.name]
            left_out += [problem for owner, problem in problems if owner == plugin]
        return replace(
            plugin,
            left_out=tuple(left_out),
            brings={kind: names for kind, names in brings.items() if names},
        )

    return in_order(map(complete, loading.load()[1]))


def notify(hook: str, **arguments: object) -> None:
    """Call the observers of one hook; a failing observer is a warning."""
    for implementation in _implementations(hook.removeprefix(PREFIX)):
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises
            flaws.let_through(error)
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
    return _without_plugins() if _listings else loading.load()[0]


def _implementations(name: str, plugin: Plugin | None = None) -> list[pluggy.HookImpl]:
    every = getattr(manager().hook, PREFIX + name).get_hookimpls()
    return [each for each in every if plugin is None or each.plugin_name == plugin.name]


_without_plugins = cache(loading.empty)
