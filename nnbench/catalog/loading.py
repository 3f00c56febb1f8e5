"""How plugins are found, chosen by the environment, and loaded; one that cannot be is left out with a warning."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pluggy

from nnbench import contract, distributions
from nnbench.catalog import flaws
from nnbench.catalog.flaws import LIMIT, in_a_line, let_through, shorten
from nnbench.catalog.listings import PREFIX, Plugin, Problem
from nnbench.catalog.names import NOT, find, why_unselectable
from nnbench.contract import hooks
from nnbench.contract.errors import NnbenchError, PluginError, PluginWarning
from nnbench.data import datasets as _datasets
from nnbench.data import workloads as _workloads

if TYPE_CHECKING:
    from nnbench.distributions import Entry


@cache
def load() -> tuple[pluggy.PluginManager, list[Plugin]]:
    """Load every plugin that is installed and wanted; return their manager, and the record of each, loaded or not."""
    loader = empty()
    loader.register(_datasets, name="nnbench.data.datasets")
    loader.register(_workloads, name="nnbench.data.workloads")
    return loader, [load_plugin(loader, *each) for each in sift()]


def empty() -> pluggy.PluginManager:
    """Return a manager that knows what hooks there are, and no plugin."""
    made = pluggy.PluginManager(contract.NAME)
    made.add_hookspecs(hooks)
    return made


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
            find("plugin", text, dict.fromkeys(known.values()), ())
        except NnbenchError as error:
            raise PluginError(f"{LIMIT}: {error}") from error
    first: dict[str, Plugin] = {}

    def unwanted(plugin: Plugin, why: str) -> Plugin:
        return replace(plugin, left_out=(Problem(reason=f"{LIMIT} {why}", wanted=True),))

    def judged(entry: Entry, plugin: Plugin) -> Plugin:
        if plugin.spellings & refused:
            return unwanted(plugin, "leaves it out")
        if named and not plugin.spellings & named:
            return unwanted(plugin, "does not name it")
        if reason := entry.fault or why_unselectable("plugins", plugin.name):
            return leave_out(plugin, reason)
        if plugin.name in first:
            return leave_out(plugin, flaws.taken(first[plugin.name]))
        first[plugin.name] = plugin
        return plugin

    return [(entry, judged(entry, plugin)) for entry, plugin in every]


def leave_out(plugin: Plugin, reason: str) -> Plugin:
    """Warn of a plugin that is not loaded."""
    problem = Problem(reason=reason)
    warnings.warn(problem.of(plugin), PluginWarning, stacklevel=3)
    return replace(plugin, left_out=(problem,))


def load_plugin(loader: pluggy.PluginManager, entry: Entry, plugin: Plugin) -> Plugin:
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
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises
        let_through(error)
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
