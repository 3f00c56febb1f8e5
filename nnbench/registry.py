"""What plugins list: backends, workloads and datasets."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nnbench import contract
from nnbench.contract.backend import Backend
from nnbench.contract.errors import PluginError
from nnbench.data.datasets import Dataset
from nnbench.data.workloads import Workload
from nnbench.plugins import PluginWarning, manager, shorten

if TYPE_CHECKING:
    import pluggy

    from nnbench.plugins import Plugin


class Named(Protocol):
    """Anything that the registry lists."""

    @property
    def name(self) -> str:
        """The name that users type."""


KINDS: dict[str, type[Named]] = {
    "backends": Backend,
    "workloads": Workload,
    "datasets": Dataset,
}
NamedT = TypeVar("NamedT", bound=Named)


def backends() -> dict[str, Backend]:
    """Return every registered backend by name, sorted."""
    return _by_name(Backend, manager().hook.nnbench_backends)


def workloads() -> dict[str, Workload]:
    """Return every registered workload by name, sorted."""
    return _by_name(Workload, manager().hook.nnbench_workloads)


def datasets() -> dict[str, Dataset]:
    """Return every registered dataset by name, sorted."""
    return _by_name(Dataset, manager().hook.nnbench_datasets)


def why_unavailable(backend: Backend) -> str | None:
    """Return why a backend can't run here, or None; one that fails to tell can't either."""
    try:
        reason = backend.unavailable()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
        reason = shorten(error)
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
        return _call(implementation, kind)
    except PluginError as error:
        name = implementation.plugin_name
        warnings.warn(f"plugin {name!r} is left out: {error}", PluginWarning, stacklevel=2)
        return []


def _call(implementation: pluggy.HookImpl, kind: type[NamedT]) -> list[NamedT]:
    try:
        return _checked(implementation.function(), kind)
    except (Exception, SystemExit) as error:
        raise PluginError(shorten(error)) from error


def _checked(items: Any, kind: type[NamedT]) -> list[NamedT]:
    try:
        checked = list(items)
    except TypeError:
        raise TypeError(f"the hook must return a list of {kind.__name__}, not {items!r}") from None
    for item in checked:
        if not isinstance(item, kind):
            raise TypeError(f"{item!r} is no {kind.__name__}")
    return checked


def listed_by(plugin: Plugin, kind: str) -> list[str]:
    """Return the names of the ``backends``, ``workloads`` or ``datasets`` that a plugin lists.

    Raises
    ------
    PluginError
        If its hook fails.
    """
    hook = getattr(manager().hook, f"{contract.NAME}_{kind}")
    own = [each for each in hook.get_hookimpls() if each.plugin_name == plugin.name]
    return [item.name for each in own for item in _call(each, KINDS[kind])]
