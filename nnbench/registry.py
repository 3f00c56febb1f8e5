"""Find backends, workloads and datasets through entry points."""

from __future__ import annotations

import difflib
import warnings
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
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint


class Named(Protocol):
    """Anything that the registry lists."""

    @property
    def name(self) -> str:
        """The name that users type."""


NamedT = TypeVar("NamedT", bound=Named)


class PluginWarning(UserWarning):
    """A plugin was left out, or one of its observers failed."""


@cache
def plugin_manager() -> pluggy.PluginManager:
    """Return the plugin manager with every installed plugin registered."""
    manager = pluggy.PluginManager(hookspecs.NAME)
    manager.add_hookspecs(hookspecs)
    manager.register(builtin_datasets, name="nnbench.datasets")
    manager.register(builtin_workloads, name="nnbench.workloads")
    for entry_point in entry_points(group=hookspecs.NAME):
        _load_plugin(manager, entry_point)
    return manager


def _load_plugin(manager: pluggy.PluginManager, entry_point: EntryPoint) -> None:
    """Register one plugin; one that cannot be imported is left out with a warning."""
    name, distribution = entry_point.name, entry_point.dist
    origin = f"{distribution.name} {distribution.version}" if distribution else "unknown"
    try:
        module = entry_point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
        reason = f"{type(error).__name__}: {error}"
        message = f"plugin {name!r} of {origin} is left out: {reason}"
        warnings.warn(message, PluginWarning, stacklevel=2)
        return
    try:
        manager.register(module, name=name)
        manager.check_pending()  # a misspelt hook is an error, not a no-op
    except (ValueError, pluggy.PluginValidationError) as error:
        raise PluginError(f"plugin {name!r} of {origin}: {error}") from error


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
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises
        reason = f"{type(error).__name__}: {error}"
    return " ".join(reason.split()) if reason else None


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
        return _checked(implementation.function(), kind)
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises
        name, reason = implementation.plugin_name, f"{type(error).__name__}: {error}"
        warnings.warn(f"plugin {name!r} is left out: {reason}", PluginWarning, stacklevel=2)
        return []


def _checked(items: Any, kind: type[NamedT]) -> list[NamedT]:
    checked = list(items)
    for item in checked:
        if not isinstance(item, kind):
            raise TypeError(f"{item!r} is no {kind.__name__}")
    return checked


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
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises
            text = f"{hook} of plugin {implementation.plugin_name!r} failed: {error!r}"
            warnings.warn(text, PluginWarning, stacklevel=2)
