"""A plugin's engine, held to what an engine may say: :mod:`nnbench.contract.engine`.

It is trusted with what it runs, since it runs in this process (docs/trust.md), but not to be without mistakes. What it may not say
is the end of the run, in one line; what was finished by then is kept. What its machines say is looked at where it is
read (:mod:`nnbench.execution.remote`).
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from nnbench.catalog.flaws import shorten
from nnbench.contract import faults
from nnbench.contract.bounds import Count
from nnbench.contract.engine import Engine, Report, Session
from nnbench.contract.errors import ExecutorError, NnbenchError, PluginWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nnbench.contract.backend import OptionValue

GOES_ON = "what is finished is kept, and nnbench run --resume goes on"


class Checked(Session):
    """A session of which every answer is checked.

    Parameters
    ----------
    engine
        The plugin's own.
    options
        What it is opened with.
    """

    def __init__(self, engine: Engine, options: dict[str, OptionValue]) -> None:
        self._name = engine.name
        self._session: Session = self._call("open", partial(engine.open, **options))
        if not isinstance(self._session, Session):
            raise self._error(f"open() returned {faults.show(self._session)}, which is no Session")

    def slots(self) -> int:
        """Return how many errands can be carried out at once."""
        found: int = self._ask("slots", self._session.slots, Count)
        return found

    def found(self, beginning: str) -> dict[str, bytes]:
        """Return what was submitted before."""
        found = self._call("found", partial(self._session.found, beginning))
        if not isinstance(found, dict) or not all(
            isinstance(key, str) and isinstance(value, bytes) for key, value in found.items()
        ):
            text = f"found() returned {faults.show(found)}, and must return bytes by their names"
            raise self._error(text)
        return found

    def submit(self, name: str, errand: bytes, *, outlives: bool) -> None:
        """Have an errand carried out."""
        self._call("submit", partial(self._session.submit, name, errand, outlives=outlives))

    def wait(self, seconds: float) -> Iterable[Report]:
        """Return what has come."""

        def gather() -> list[Any]:
            return [*self._session.wait(seconds)]

        reports: list[Report] = self._call("wait", gather)
        for report in reports:
            if problem := faults.find(report, Report, "a report"):
                raise self._error(f"wait() gave what is none: {problem}")
        return reports

    def cancel(self, name: str) -> None:
        """Have an errand ended."""
        self._call("cancel", partial(self._session.cancel, name))

    def close(self) -> None:
        """End the session."""
        try:
            self._session.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises
            text = f"executor {self._name!r} has not ended as it should: {shorten(error)}"
            warnings.warn(text, PluginWarning, stacklevel=2)

    def _ask(self, method: str, call: Callable[[], object], kind: Any) -> Any:
        value = self._call(method, call)
        if problem := faults.find(value, kind, "it"):
            raise self._error(f"{method}() returned what it may not: {problem}")
        return value

    def _call(self, method: str, call: Callable[[], Any]) -> Any:
        """Call a method of the plugin; what it may raise are errors of nnbench, and interruptions."""
        try:
            return call()
        except NnbenchError:
            raise
        except (Exception, SystemExit) as error:
            raise self._error(f"{method}() raised {shorten(error)}") from error

    def _error(self, text: str) -> ExecutorError:
        return ExecutorError(f"executor {self._name!r}: {text}; {GOES_ON}")
