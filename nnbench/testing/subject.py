"""The backend under test, and the networks that it has created so far."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from nnbench import catalog, selection
from nnbench.contract.backend import Backend
from nnbench.contract.errors import BackendUnavailableError, NnbenchError
from nnbench.execution.variables import THREAD_VARIABLES
from nnbench.testing import networks
from nnbench.testing.problems import BATCH_SIZE
from nnbench.testing.session import UNTESTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnbench.contract.backend import Model, OptionValue
    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.selection import Selection
    from nnbench.testing.networks import Chosen, Setting

REQUIRE = "NNBENCH_REQUIRE"
HOPELESS = "create fails for every network"


def required() -> set[str]:
    """Return the names of the backends that must not be missing: for CI."""
    return set(filter(None, os.environ.get(REQUIRE, "").split(",")))


class Subject:
    """A backend with its options.

    A network is created once for each specification and loaded anew for each check, since a
    backend may compile for every network.
    """

    def __init__(self, chosen: Selection, *, is_registered: bool = True) -> None:
        self.chosen = chosen
        self.is_registered = is_registered  #: whether another process finds it by its name
        self.backend = chosen.backend
        self.label = chosen.label  #: the name that users type
        self.is_rejected = False  #: whether it was said that it supports no network
        self.reuses = True  #: until it shows that load does not reset a network
        #: what it does in every training; None until it is looked for
        self.habit: str | None = None
        self._networks: dict[tuple[NetworkSpec, int], Model[Any, Any]] = {}
        self._unsupported: dict[tuple[NetworkSpec, int], str] = {}
        self._failed: dict[NetworkSpec, Exception] = {}

    @property
    def threads(self) -> int | None:
        """The CPU threads that this process was started with, where that was said."""
        text = os.environ.get(THREAD_VARIABLES[0], "")
        return int(text) if text.isdigit() else None

    @cached_property
    def _chosen(self) -> Chosen:
        return networks.choose(self._why_declined)

    @property
    def settings(self) -> dict[str, Setting]:
        """What it is checked on, by name: few of what it declares to support."""
        return self._chosen.settings

    def _why_declined(self, spec: NetworkSpec, batch_size: int) -> str | None:
        try:
            return self.backend.why_unsupported(spec, batch_size)
        except Exception:  # noqa: BLE001 - the check of that network is to show it
            return None

    def batch_size(self, spec: NetworkSpec) -> int:
        """Return how many examples a step of a network has in the checks."""
        return next((n for each, n in self.settings.values() if each == spec), BATCH_SIZE)

    def why_other(self, spec: NetworkSpec) -> str | None:
        """Return how its optimizer differs from that of a network, as it declares, or None."""
        return self.backend.why_other_optimizer(spec)

    def require(self) -> None:
        """Skip the running check, or fail it, if the backend cannot run here."""
        if reason := catalog.why_unavailable(self.backend):
            self.miss(reason)
        if self.chosen.threads not in (None, self.threads):
            pytest.fail(
                f"{self.label}: threads are set before a process starts: run nnbench test "
                f"'{self.label}', or pytest with {THREAD_VARIABLES[0]}={self.chosen.threads}",
                pytrace=False,
            )

    def require_network(self) -> None:
        """Skip the running check if the backend makes no network.

        If it supports none, one check fails: nothing is tested, which nobody would notice.
        """
        if self.settings and all(spec in self._failed for spec, _ in self.settings.values()):
            self.skip(HOPELESS)
        if reason := self._why_none():
            if self.is_rejected:
                self.miss(reason)
            self.is_rejected = True
            pytest.fail(f"{self.label}: {UNTESTED}{reason}", pytrace=False)

    def _why_none(self) -> str:
        """Return why it makes none of its networks, or nothing."""
        reason = self._chosen.reason
        try:
            for setting in self.settings.values():
                if not (reason := self.why_unsupported(*setting)):
                    break
        except Exception:  # noqa: BLE001 - of create: the check of that network shows it
            return ""
        return reason

    def miss(self, reason: str) -> NoReturn:
        """Skip the running check; one of a required backend fails."""
        if self.backend.name in required():
            pytest.fail(f"{self.label} is required ({REQUIRE}): {reason}", pytrace=False)
        self.skip(reason)

    def skip(self, reason: str) -> NoReturn:
        """Skip the running check."""
        pytest.skip(f"{self.label}: {reason}")

    def _create(self, spec: NetworkSpec, batch_size: int) -> Model[Any, Any]:
        if spec in self._failed:
            raise self._failed[spec]
        try:
            return self.backend.network(spec, batch_size, **self.chosen.options)
        except BackendUnavailableError:
            raise
        except Exception as error:
            self._failed[spec] = error
            raise

    def network(
        self,
        spec: NetworkSpec,
        layers: Sequence[Layer],
        number: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> Model[Any, Any]:
        """Return a network with these parameters, or skip the running check.

        Those of another ``number`` are other networks.
        """
        if reason := self.why_unsupported(spec, batch_size):
            self.skip(reason)
        if (spec, number) not in self._networks or not self.reuses:
            self._networks[spec, number] = self._create(spec, batch_size)
        network = self._networks[spec, number]
        network.load(layers)
        return network

    def why_unsupported(self, spec: NetworkSpec, batch_size: int) -> str:
        """Return why the backend does not support a network or its batches, or nothing."""
        key = spec, batch_size
        if key not in self._unsupported:
            try:
                self._networks[spec, 0] = self._create(spec, batch_size)
                self._unsupported[key] = ""
            except BackendUnavailableError as error:
                self._unsupported[key] = " ".join(str(error).split())
        return self._unsupported[key]

    def supported(self) -> Iterator[tuple[str, NetworkSpec]]:
        """Yield those networks that it does make, with their names."""
        for name, (spec, batch_size) in self.settings.items():
            if not self.why_unsupported(spec, batch_size):
                yield name, spec

    @property
    def spec(self) -> NetworkSpec:
        """The first of them."""
        return next(spec for _, spec in self.supported())


def make_subject(backend: str | Backend, **options: OptionValue) -> Subject:
    """Return the subject that a name (as users type it) or a backend's record describes.

    Raises
    ------
    NnbenchError
        If the name or an option is unknown, or several backends are named.
    """
    if isinstance(backend, Backend):
        return Subject(selection.Selection(backend, dict(options)), is_registered=False)
    chosen = selection.parse([backend])
    if len(chosen) != 1:
        raise NnbenchError(f"name one backend, not {backend!r}")
    return Subject(chosen[0])
