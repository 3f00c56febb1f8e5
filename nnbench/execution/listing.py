"""What is installed, as a process of its own says that loads every plugin: ``python -m nnbench.execution.listing``.

A run knows of plugins from this alone: whatever their code does, it does there.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnbench import catalog
from nnbench.contract.errors import PluginError
from nnbench.execution import children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 120.0  #: for the imports of all plugins


@contextmanager
def relied_on(meanwhile: Callable[[], object]) -> Iterator[None]:
    """Within this context know of plugins by what they list, and run none of their code.

    Parameters
    ----------
    meanwhile
        What can be done until they are listed.

    Raises
    ------
    PluginError
        If they cannot be listed.
    """
    with children.Child(__name__) as child:
        child.send(None)
        meanwhile()
        try:
            found = child.receive(catalog.Listing, LIMIT_S)
        except children.ChildError as error:
            raise PluginError(f"plugins cannot be listed: {error}") from error
    with catalog.relying_on(found):
        yield


def _answer(_: None) -> catalog.Listing:
    from nnbench.contract.executor import Executor

    return catalog.installed(catalog.listed(Executor).values())  # type: ignore[type-abstract]  # none is made of it


if __name__ == "__main__":
    children.serve(type(None), _answer)
