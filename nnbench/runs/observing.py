"""Tell the observers of plugins what happens: in one process for all of them.

That process, ``python -m nnbench.runs.observing``, gets each event as JSON and answers when its observers have
returned; then it is stopped until the next one. So it never runs beside a timed call.
"""

from __future__ import annotations

import os
import warnings
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from nnbench import catalog
from nnbench.catalog.flaws import LIMIT
from nnbench.catalog.listings import PREFIX
from nnbench.contract import hooks
from nnbench.contract.errors import NnbenchError, PluginWarning
from nnbench.execution import children
from nnbench.records.events import EpochFinished, Progress
from nnbench.texts import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nnbench.catalog.listings import Plugin

START_S = 60.0  #: for the imports of all plugins that observe
LIMIT_S = 5.0  #: for all observers of one event
NEEDS = {
    "nnbench.observers.http:observer": "NNBENCH_HTTP_OBSERVER"
}  #: silent without this variable


class Announced(msgspec.Struct, frozen=True):
    """An event; without a hook it is only asked to load the plugins that observe."""

    hook: str = ""
    arguments: dict[str, msgspec.Raw] = {}
    plugins: list[str] = []


class Observers:
    """The observers of plugins, in their process."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._names = ", ".join(plugin.name for plugin in plugins)
        self._events = {PREFIX + event for p in plugins for event in p.brings["events"]}
        self._child: children.Child | None = children.Child(__name__)
        self._ask(Announced(plugins=[plugin.identity for plugin in plugins]), START_S)

    def tell(self, hook: str, arguments: Mapping[str, Any]) -> None:
        """Announce an event, and wait until all have seen it."""
        if hook in self._events:
            encoded = {
                name: msgspec.Raw(encode(fit_for_others(value), enc_hook=os.fsencode))
                for name, value in arguments.items()
            }
            self._ask(Announced(hook, encoded), LIMIT_S)

    def _ask(self, question: Announced, limit_s: float) -> None:
        if self._child is None:
            return
        try:
            self._child.go_on()
            self._child.ask(question, type(None), limit_s)
            self._child.stop()
        except (children.ChildError, NnbenchError) as error:
            self._child.kill()
            self._child = None
            text = f"plugins observe no more of this run ({self._names}): {error}"
            warnings.warn(text, PluginWarning, stacklevel=2)

    def close(self) -> None:
        """End the process."""
        if self._child:
            self._child.go_on()
            self._child.close()


@contextmanager
def told() -> Iterator[None]:
    """Within this context, tell the observers of plugins what is announced.

    Where no listing is relied on they are in this process, and told already.
    """
    plugins = [p for p in catalog.plugins() if p.brings.get("events")] if catalog.relies() else []
    needed = [p for p in plugins if p.module not in NEEDS or os.environ.get(NEEDS[p.module])]
    if not needed:
        yield
        return
    observers = Observers(needed)
    try:
        with catalog.forwarding(observers.tell):
            yield
    finally:
        observers.close()


def fit_for_others(value: Any) -> Any:
    """Return an argument without what could help a backend whose cell still runs, or runs next."""
    match value:
        case Progress():
            return msgspec.structs.replace(value, loss=None, parts=[])
        case EpochFinished(epoch=epoch):
            return EpochFinished(replace(epoch, losses=[], test_loss=None, accuracy=None, parts=[]))
        case _:
            return value


# The process


def _answer(announced: Announced) -> None:
    if not announced.hook:
        os.environ[LIMIT] = ",".join(announced.plugins)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PluginWarning)  # of plugins left out, which is known
            catalog.manager()
        return
    kinds = get_type_hints(getattr(hooks, announced.hook))
    arguments = {
        name: msgspec.json.decode(raw, type=kinds[name], dec_hook=_path)
        for name, raw in announced.arguments.items()
    }
    catalog.notify(announced.hook, **arguments)


def _path(kind: Any, text: str) -> Any:
    """Return a folder as it was, whose name need not be a text: JSON has bytes in Base64."""
    return kind(os.fsdecode(b64decode(text)))


if __name__ == "__main__":
    children.serve(Announced, _answer)
