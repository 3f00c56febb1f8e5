"""What is installed, as processes of their own say that load the plugins: ``python -m nnbench.execution.listing``.

A run knows of plugins from this alone: whatever their code does, it does there. Those of nnbench are listed by
one process, those of each other distribution by another, so that none can change what is known of others. Where such a
process dies, hangs, or answers nonsense, what it should have listed is left out, with a warning.
"""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from time import monotonic
from typing import TYPE_CHECKING, Any

from nnbench import catalog, distributions
from nnbench.catalog import loading
from nnbench.catalog.flaws import LIMIT, clash
from nnbench.catalog.listings import Item, Listing, in_order, without
from nnbench.contract import DISTRIBUTION
from nnbench.contract.errors import NnbenchError, PluginWarning
from nnbench.data.datasets import nnbench_datasets
from nnbench.data.workloads import nnbench_workloads
from nnbench.execution import children
from nnbench.records.runs import OWN_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nnbench.catalog.listings import Plugin

OWN_S = 120.0  #: for what ships, on the slowest machine
LIMIT_S = 20.0  #: for all else that runs beside it, once that is known: they have imported most of the same
GRACE_S = 2.0  #: at least, for each: it may have answered long ago


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
        If the environment names one that is not installed.
    """
    plugins = [plugin for _, plugin in loading.sift()]
    groups = group(plugins)
    with ExitStack() as stack:
        asked = [stack.enter_context(children.Child(__name__)) for _ in groups]
        for child, together in zip(asked, groups, strict=True):
            child.send([plugin.identity for plugin in together])
        meanwhile()
        found = _receive(asked, groups)
    listing = merge(plugins, groups, found)
    with catalog.relying_on(listing):
        yield listing


def _receive(asked: Iterable[children.Child], groups: Iterable[Sequence[Plugin]]) -> list[Listing]:
    """Return what each process lists. The first one is that of what ships, if that is wanted at all."""
    found, until = [], monotonic() + LIMIT_S
    for child, together in zip(asked, groups, strict=True):
        is_own = together[0].distribution in OWN_NAMES
        try:
            limit_s = OWN_S if is_own else max(GRACE_S, until - monotonic())
            found.append(child.receive(Listing, limit_s))
        except (children.ChildError, NnbenchError) as error:
            child.kill()
            lost = [loading.leave_out(plugin, str(error)) for plugin in together]
            found.append(Listing(backends=[], workloads=[], datasets=[], plugins=lost))
        if is_own:
            until = monotonic() + LIMIT_S
    return found


def group(plugins: Iterable[Plugin]) -> list[list[Plugin]]:
    """Return those that are to be loaded by their distributions, nnbench's own first."""
    groups: dict[str, list[Plugin]] = {DISTRIBUTION: []}
    for plugin in plugins:
        maker = plugin.distribution or plugin.name
        if not plugin.left_out:
            groups.setdefault(DISTRIBUTION if maker in OWN_NAMES else maker, []).append(plugin)
    return [together for together in groups.values() if together]


def merge(
    plugins: Iterable[Plugin], groups: Sequence[Sequence[Plugin]], found: Sequence[Listing]
) -> Listing:
    """Join listings: of each what its own plugins bring, and what ships as it is known here."""
    known = {plugin.identity: plugin for plugin in plugins}
    items: dict[str, dict[str, Any]] = {f.name: {} for f in fields(Listing) if f.name != "plugins"}
    items["workloads"] = {each.name: each for each in nnbench_workloads()}
    items["datasets"] = {e.name: Item(name=e.name, summary=e.summary) for e in nnbench_datasets()}
    owners: dict[tuple[str, str], Plugin | None] = {
        (kind, name): None for kind in items for name in items[kind]
    }
    for together, listing in zip(groups, found, strict=True):
        own = {plugin.identity for plugin in together}
        for plugin in (each for each in listing.plugins if each.identity in own):
            problems = []
            for kind, those in items.items():
                brought = plugin.brings.get(kind, [])
                for item in (each for each in getattr(listing, kind) if each.name in brought):
                    if (kind, item.name) in owners:
                        problems.append(clash(kind, item.name, plugin, owners[kind, item.name]))
                        warnings.warn(problems[-1].of(plugin), PluginWarning, stacklevel=3)
                    else:
                        those[item.name], owners[kind, item.name] = item, plugin
            known[plugin.identity] = without(plugin, problems)
    lists = {kind: [those[name] for name in sorted(those)] for kind, those in items.items()}
    return Listing(**lists, plugins=in_order(known.values()))


def _answer(names: list[str]) -> Listing:
    here = {loading.describe(each).identity for each in distributions.plugins()}
    found = [name for name in names if name in here]  # the folder of a shell is not searched here
    if not found:
        return Listing(backends=[], workloads=[], datasets=[])
    os.environ[LIMIT] = ",".join(found)
    return catalog.installed()


if __name__ == "__main__":
    children.serve(list[str], _answer)
