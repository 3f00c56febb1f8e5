"""Find backends, workloads and datasets through entry points."""

from __future__ import annotations

import difflib
import os
import warnings
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pluggy

from nnbench import datasets as builtin_datasets
from nnbench import hookspecs
from nnbench import workloads as builtin_workloads
from nnbench.backend import Backend
from nnbench.datasets import Dataset
from nnbench.errors import NnbenchError, PluginError
from nnbench.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from importlib.metadata import EntryPoint


class Named(Protocol):
    """Anything that the registry lists."""

    @property
    def name(self) -> str:
        """The name that users type."""


LIMIT = "NNBENCH_PLUGINS"  #: environment variable: names of the plugins to load, with commas
KINDS: dict[str, type[Named]] = {
    "backends": Backend,
    "workloads": Workload,
    "datasets": Dataset,
}
EVENTS = ("run_started", "cell_finished", "run_finished")
NamedT = TypeVar("NamedT", bound=Named)


class PluginWarning(UserWarning):
    """A plugin was left out, or one of its observers failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An entry point of the group ``nnbench``, loaded or not."""

    name: str
    distribution: str | None
    version: str | None
    module: str
    left_out: str | None = None  #: why it was not loaded

    @property
    def origin(self) -> str:
        """Its distribution and version."""
        return f"{self.distribution} {self.version}" if self.distribution else "unknown"


def plugin_manager() -> pluggy.PluginManager:
    """Return the plugin manager with every plugin registered that is installed and wanted."""
    return _load()[0]


def plugins() -> list[Plugin]:
    """Return every installed plugin, sorted by name, with why it was left out."""
    return sorted(_load()[1], key=lambda plugin: plugin.name)


@cache
def _load() -> tuple[pluggy.PluginManager, list[Plugin]]:
    manager = pluggy.PluginManager(hookspecs.NAME)
    manager.add_hookspecs(hookspecs)
    manager.register(builtin_datasets, name="nnbench.datasets")
    manager.register(builtin_workloads, name="nnbench.workloads")
    found = entry_points(group=hookspecs.NAME)
    wanted = _wanted({entry_point.name: entry_point for entry_point in found})
    return manager, [_load_plugin(manager, entry_point, wanted) for entry_point in found]


def _wanted(known: Mapping[str, EntryPoint]) -> set[str]:
    """Return the names of the plugins to load: all, unless the environment names some."""
    names = set(filter(None, map(str.strip, os.environ.get(LIMIT, "").split(","))))
    try:
        return {find("plugin", name, known).name for name in sorted(names)} or set(known)
    except NnbenchError as error:
        raise PluginError(f"{LIMIT}: {error}") from error


def _load_plugin(
    manager: pluggy.PluginManager, entry_point: EntryPoint, wanted: Collection[str]
) -> Plugin:
    """Register one plugin; one that cannot be imported is left out with a warning."""
    name, distribution = entry_point.name, entry_point.dist
    plugin = Plugin(
        name=name,
        distribution=distribution.name if distribution else None,
        version=distribution.version if distribution else None,
        module=entry_point.value,
    )
    if name not in wanted:
        return replace(plugin, left_out=f"{LIMIT} does not name it")
    try:
        module = entry_point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
        reason = _shorten(error)
        message = f"plugin {name!r} of {plugin.origin} is left out: {reason}"
        warnings.warn(message, PluginWarning, stacklevel=2)
        return replace(plugin, left_out=reason)
    try:
        manager.register(module, name=name)
        manager.check_pending()  # a misspelt hook is an error, not a no-op
    except (ValueError, pluggy.PluginValidationError) as error:
        raise PluginError(f"plugin {name!r} of {plugin.origin}: {error}") from error
    return plugin


def backends() -> dict[str, Backend]:
    """Return every registered backend by name, sorted."""
    return _by_name(Backend, plugin_manager().hook.nnbench_backends)


def workloads() -> dict[str, Workload]:
    """Return every registered workload by name, sorted."""
    return _by_name(Workload, plugin_manager().hook.nnbench_workloads)


def datasets() -> dict[str, Dataset]:
    """Return every registered dataset by name, sorted."""
    return _by_name(Dataset, plugin_manager().hook.nnbench_datasets)


def why_unavailable(backend: Backend) -> str | None:
    """Return why a backend can't run here, or None; one that fails to tell can't either."""
    try:
        reason = backend.unavailable()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
        reason = _shorten(error)
    return " ".join(reason.split()) if reason else None


def _shorten(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _by_name(kind: type[NamedT], hook: pluggy.HookCaller) -> dict[str, NamedT]:
    found: dict[str, NamedT] = {}
    owners: dict[str, str] = {}
    for implementation in hook.get_hookimpls():
        owner = implementation.plugin_name
        for item in _listed(implementation, kind):
            if item.name in found:
                both = f"{owners[item.name]!r} and {owner!r}"
                what = f"{kind.__name__.lower()} named {item.name!r}"
                raise PluginError(f"plugins {both} both provide a {what}")
            found[item.name] = item
            owners[item.name] = owner
    return dict(sorted(found.items()))


def _listed(implementation: pluggy.HookImpl, kind: type[NamedT]) -> list[NamedT]:
    """Call one listing hook; a failing one is a warning, and its plugin lists nothing."""
    try:
        return _call(implementation, kind)
    except PluginError as error:
        name = implementation.plugin_name
        warnings.warn(f"plugin {name!r} is left out: {error}", PluginWarning, stacklevel=2)
        return []


def _call(implementation: pluggy.HookImpl, kind: type[NamedT]) -> list[NamedT]:
    try:
        return _checked(implementation.function(), kind)
    except (Exception, SystemExit) as error:
        raise PluginError(_shorten(error)) from error


def _checked(items: Any, kind: type[NamedT]) -> list[NamedT]:
    try:
        checked = list(items)
    except TypeError:
        raise TypeError(f"the hook must return a list of {kind.__name__}, not {items!r}") from None
    for item in checked:
        if not isinstance(item, kind):
            raise TypeError(f"{item!r} is no {kind.__name__}")
    return checked


def observed_by(plugin: Plugin) -> list[str]:
    """Return the events that a plugin observes."""
    hooks = plugin_manager().hook
    return [
        event
        for event in EVENTS
        for implementation in getattr(hooks, f"{hookspecs.NAME}_{event}").get_hookimpls()
        if implementation.plugin_name == plugin.name
    ]


def listed_by(plugin: Plugin, kind: str) -> list[str]:
    """Return the names of the ``backends``, ``workloads`` or ``datasets`` that a plugin lists.

    Raises
    ------
    PluginError
        If its hook fails.
    """
    hook = getattr(plugin_manager().hook, f"{hookspecs.NAME}_{kind}")
    own = [each for each in hook.get_hookimpls() if each.plugin_name == plugin.name]
    return [item.name for each in own for item in _call(each, KINDS[kind])]


def find(kind: str, name: str, known: Mapping[str, NamedT]) -> NamedT:
    """Look up a name, or raise an error that suggests the nearest ones."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise NnbenchError(f"no {kind} named {name!r}; {hint}known: {', '.join(known)}")


def notify(hook: str, **arguments: object) -> None:
    """Call the observers of one hook; a failing observer is a warning."""
    for implementation in getattr(plugin_manager().hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
            text = f"{hook} of plugin {implementation.plugin_name!r} failed: {error!r}"
            warnings.warn(text, PluginWarning, stacklevel=2)
