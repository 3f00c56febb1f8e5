"""Load plugins through entry points, and tell the observers among them how a run goes on."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from typing import TYPE_CHECKING

import pluggy

import nnbench
from nnbench import contract
from nnbench.contract import hooks
from nnbench.contract.errors import NnbenchError, PluginError
from nnbench.data import datasets, workloads
from nnbench.lookup import find

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from importlib.metadata import Distribution, EntryPoint

LIMIT = "NNBENCH_PLUGINS"  #: environment variable: names of the plugins to load, with commas
EVENTS = ("run_started", "cell_finished", "run_finished")


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


def manager() -> pluggy.PluginManager:
    """Return the plugin manager with every plugin registered that is installed and wanted."""
    return _load()[0]


def installed() -> list[Plugin]:
    """Return every installed plugin, sorted by name, with why it was left out."""
    return sorted(_load()[1], key=lambda plugin: plugin.name)


@cache
def _load() -> tuple[pluggy.PluginManager, list[Plugin]]:
    loader = pluggy.PluginManager(contract.NAME)
    loader.add_hookspecs(hooks)
    loader.register(datasets, name="nnbench.data.datasets")
    loader.register(workloads, name="nnbench.data.workloads")
    found = own_once(entry_points(group=contract.NAME))
    wanted = _wanted({entry_point.name: entry_point for entry_point in found})
    return loader, [_load_plugin(loader, entry_point, wanted) for entry_point in found]


def check_installation() -> None:
    """Warn of a distribution called ``nnbench`` beside this one: both write the same files.

    On package indexes that name is another project's; it was also the name of this one.

    Raises
    ------
    PluginError
        If files of this one are replaced or gone, so that no plugin can be loaded.
    """
    ours, other = _distribution(contract.DISTRIBUTION), _distribution(contract.FORMER)
    again = (
        f"uninstall it (pip uninstall {contract.FORMER}), and install {contract.DISTRIBUTION} again"
    )
    if other and not is_ours(other):
        text = (
            f"the distribution {contract.FORMER} {other.version} is another project's, whose files"
        )
        text = f"{text} replace some of {contract.DISTRIBUTION}'s: {again}"
    elif other and ours:
        text = f"{contract.DISTRIBUTION} is installed under its former name too,"
        text = f"{text} {contract.FORMER} {other.version}: {again}"
    else:
        text = ""
    if not hasattr(nnbench, "Backend"):
        raise PluginError(text or f"files are missing: install {contract.DISTRIBUTION} again")
    if text:
        warnings.warn(text, PluginWarning, stacklevel=2)


def is_ours(found: Distribution) -> bool:
    """Tell whether a distribution called ``nnbench`` is this project, not its namesake."""
    return any(entry_point.group == contract.NAME for entry_point in found.entry_points)


def own_once(found: Iterable[EntryPoint]) -> list[EntryPoint]:
    """Leave out what the distribution of before lists, if today's is installed too."""
    listed = list(found)
    names = {entry_point.dist.name for entry_point in listed if entry_point.dist}
    if contract.DISTRIBUTION not in names:
        return listed
    return [each for each in listed if not each.dist or each.dist.name != contract.FORMER]


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _wanted(known: Mapping[str, EntryPoint]) -> set[str]:
    """Return the names of the plugins to load: all, unless the environment names some."""
    names = set(filter(None, map(str.strip, os.environ.get(LIMIT, "").split(","))))
    try:
        return {find("plugin", name, known).name for name in sorted(names)} or set(known)
    except NnbenchError as error:
        raise PluginError(f"{LIMIT}: {error}") from error


def _load_plugin(
    loader: pluggy.PluginManager, entry_point: EntryPoint, wanted: Collection[str]
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
        reason = shorten(error)
        message = f"plugin {name!r} of {plugin.origin} is left out: {reason}"
        warnings.warn(message, PluginWarning, stacklevel=2)
        return replace(plugin, left_out=reason)
    try:
        loader.register(module, name=name)
        loader.check_pending()  # a misspelt hook is an error, not a no-op
    except (ValueError, pluggy.PluginValidationError) as error:
        raise PluginError(f"plugin {name!r} of {plugin.origin}: {error}") from error
    return plugin


def shorten(error: BaseException) -> str:
    """Write an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def observed_by(plugin: Plugin) -> list[str]:
    """Return the events that a plugin observes."""
    hooks = manager().hook
    return [
        event
        for event in EVENTS
        for implementation in getattr(hooks, f"{contract.NAME}_{event}").get_hookimpls()
        if implementation.plugin_name == plugin.name
    ]


def notify(hook: str, **arguments: object) -> None:
    """Call the observers of one hook; a failing observer is a warning."""
    for implementation in getattr(manager().hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
            text = f"{hook} of plugin {implementation.plugin_name!r} failed: {error!r}"
            warnings.warn(text, PluginWarning, stacklevel=2)
