"""What is installed, as processes of their own say that load the plugins: ``python -m nnbench.execution.listing``.

A run knows of plugins from this alone: whatever their code does, it does there. Those of nnbench are listed by
one process, those of each other distribution by another, so that none can change what is known of others.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from nnbench import catalog, distributions
from nnbench.catalog import Item, Listing
from nnbench.contract import DISTRIBUTION
from nnbench.contract.errors import PluginError
from nnbench.data.datasets import nnbench_datasets
from nnbench.data.workloads import nnbench_workloads
from nnbench.execution import children
from nnbench.records import OWN_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LIMIT_S = 120.0  #: for the imports of all plugins


@contextmanager
def relied_on(meanwhile: Callable[[], object] = lambda: None) -> Iterator[Listing]:
    """Within this context know of plugins by what they list, and run none of their code.

    Parameters
    ----------
    meanwhile
        What can be done until they are listed.

    Yields
    ------
    Listing
        What they list, and what ships.

    Raises
    ------
    PluginError
        If they cannot be listed, or two give one name to different things.
    """
    groups = group()
    with ExitStack() as stack:
        asked = [stack.enter_context(children.Child(__name__)) for _ in groups]
        for child, names in zip(asked, groups, strict=True):
            child.send(names)
        meanwhile()
        try:
            found = [child.receive(Listing, LIMIT_S) for child in asked]
        except children.ChildError as error:
            raise PluginError(f"plugins cannot be listed: {error}") from error
    listing = merge(groups, found)
    with catalog.relying_on(listing):
        yield listing


def group() -> list[list[str]]:
    """Return the names of the plugins to load: nnbench's own first, then those of each distribution."""
    known = {each.name: each for each in distributions.plugins()}
    groups: dict[str, list[str]] = {DISTRIBUTION: []}
    for name in sorted(catalog.wanted(known)):
        origin = known[name].dist
        maker = origin.name if origin else name
        groups.setdefault(DISTRIBUTION if maker in OWN_NAMES else maker, []).append(name)
    return [names for names in groups.values() if names]


def merge(groups: Sequence[Sequence[str]], found: Sequence[Listing]) -> Listing:
    """Join listings: of each what its own plugins bring, and what ships as it is known here."""
    plugins = {plugin.name: plugin for plugin in (found[0].plugins if found else ())}
    items: dict[str, dict[str, Any]] = {f.name: {} for f in fields(Listing) if f.name != "plugins"}
    items["workloads"] = {each.name: each for each in nnbench_workloads()}
    items["datasets"] = {e.name: Item(name=e.name, summary=e.summary) for e in nnbench_datasets()}
    owners = {(kind, name): f"nnbench.data.{kind}" for kind in items for name in items[kind]}
    for names, listing in zip(groups, found, strict=True):
        for plugin in (each for each in listing.plugins if each.name in names):
            plugins[plugin.name] = plugin
            for kind, known in items.items():
                brought = plugin.brings.get(kind, ())
                for item in (each for each in getattr(listing, kind) if each.name in brought):
                    if (kind, item.name) in owners:
                        both = f"{owners[kind, item.name]!r} and {plugin.name!r}"
                        what = f"{kind.removesuffix('s')} named {item.name!r}"
                        raise PluginError(f"plugins {both} both provide a {what}")
                    known[item.name] = item
                    owners[kind, item.name] = plugin.name
    lists = {kind: [known[name] for name in sorted(known)] for kind, known in items.items()}
    return Listing(**lists, plugins=[plugins[name] for name in sorted(plugins)])


def _answer(names: list[str]) -> Listing:
    from nnbench.contract.executor import Executor

    here = {each.name for each in distributions.plugins()}
    found = [name for name in names if name in here]  # the folder of a shell is not searched here
    if not found:
        return Listing(backends=[], workloads=[], datasets=[])
    os.environ[catalog.LIMIT] = ",".join(found)
    return catalog.installed(catalog.listed(Executor).values())  # type: ignore[type-abstract]  # none is made of it


if __name__ == "__main__":
    children.serve(list[str], _answer)
