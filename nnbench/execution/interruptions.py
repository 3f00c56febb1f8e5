"""Steps that no signal may cut in half: what asks this process to end is heeded when they are over."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDING = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@contextmanager
def deferred() -> Iterator[None]:
    """Within this context keep what comes of these signals for its end; a second Ctrl-C does not wait.

    Python hands signals to the main thread alone; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: list[int] = []
    found: dict[int, Any] = {number: signal.getsignal(number) for number in ENDING}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def keep(number: int, frame: object) -> None:
        if number == signal.SIGINT and number in kept:
            handlers[number](number, frame)
        kept.append(number)

    for number in handlers:
        signal.signal(number, keep)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if kept:
            handlers[kept[0]](kept[0], None)
