"""How near backends come to their machine's ceilings: the roofline model.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures" (2009). Operations and bytes are counted from the network
(``NetworkSpec.operations`` and ``NetworkSpec.traffic``), the ceilings are measured, once for each
machine.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Literal

from nnbench.contract.errors import ResultsError
from nnbench.execution import ceiling, environment
from nnbench.execution.keeping import Store
from nnbench.records import Roof

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnbench.records import Environment

ROOFS: Store[list[Roof]] = Store("ceilings.json", list[Roof])
COPIERS = {"cpu": ("numpy", "torch"), "cuda": ("torch",)}


def find(machine: Environment, devices: Iterable[str], threads: Iterable[int]) -> list[Roof]:
    """Return the roofs of a machine, with one, some and all threads.

    What is not kept is measured, and so is what other versions of the libraries reached.
    """
    versions = installed()
    cores = machine.usable_cores
    wanted = [("cpu", count) for count in sorted({1, cores, *threads})]
    wanted += [(device, 1) for device in sorted(set(devices) - {"cpu"})]
    kept = [roof for roof in ROOFS.load(machine) or [] if roof.libraries == versions]
    known = {(roof.device, roof.threads): roof for roof in kept}
    missing = {key: measure(*key) for key in wanted if key not in known}
    if missing:
        with suppress(ResultsError):  # then they are measured again, the next time
            ROOFS.save(machine, [*known.values(), *missing.values()])
    found = known | missing
    return [found[key] for key in wanted]


def installed() -> dict[str, str]:
    """Return the versions of the libraries that are asked for ceilings."""
    names = sorted(set(chain.from_iterable(ceiling.LIBRARIES.values())))
    found = {name: environment.installed_version(name) for name in names}
    return {name: version for name, version in found.items() if version}


def measure(device: str, threads: int) -> Roof:
    """Measure a roof: the best of the libraries that are there."""
    cpus = tuple(environment.usable_cpus()[-threads:])

    def ask(what: Literal["product", "copy"], libraries: Iterable[str]) -> float | None:
        found = (ceiling.measure(what, name, device, threads, cpus) for name in libraries)
        return max(filter(None, found), default=None)

    return Roof(
        device=device,
        threads=threads,
        gflops=ask("product", ceiling.LIBRARIES[device]),
        gb_per_s=ask("copy", COPIERS[device]),
        libraries=installed(),
    )
