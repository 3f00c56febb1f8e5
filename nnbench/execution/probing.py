"""What an interpreter finds of its backends before one is run: ``python -m nnbench.execution.probing NAMES``.

It imports what a cell would import first, and hashes the files that a backend is made of.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from nnbench import catalog, distributions, pipes
from nnbench.catalog.flaws import let_through, shorten, uninterrupted
from nnbench.texts import encode

if TYPE_CHECKING:
    from nnbench.contract.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A backend."""

    error: str | None = None  #: why it cannot be imported, where it should be available
    code: str  #: of one that has the same, neither its files nor its libraries are others


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Some backends of an interpreter, by name, and what the conformance suite lacks there."""

    backends: dict[str, Probed]
    lacks: list[str]


def main() -> None:
    """Probe the backends of the arguments, as far as there are such, and write the answer."""
    warnings.simplefilter("ignore")  # whoever lists plugins has warned
    with pipes.own_output() as answers, uninterrupted():
        known = catalog.backends()
        found = {name: probe(known[name]) for name in sys.argv[1:] if name in known}
        lacks = [name for name in distributions.SUITE if not distributions.is_installed(name)]
        answers.write(encode(Probe(backends=found, lacks=lacks)))


def probe(backend: Backend) -> Probed:
    """Import what a backend names, and hash its code."""
    return Probed(error=why_not_importable(backend), code=digest(backend))


def why_not_importable(backend: Backend) -> str | None:
    """Return what a cell would fail with before it has a network, or None."""
    if not isinstance(backend.create, str) or catalog.why_unavailable(backend):
        return None
    try:
        resolve_name(backend.create)
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises
        let_through(error)
        return shorten(error)
    return None


def digest(backend: Backend) -> str:
    """Hash the files of a backend's plugin and of its package, and the versions of its libraries."""
    plugin = catalog.owner("backends", backend.name)
    packages, paths = {backend.package}, dict[str, Path]()
    if plugin and plugin.distribution:
        packages.add(plugin.module.partition(":")[0].partition(".")[0])
        paths |= distributions.files(plugin.distribution)
    for package in packages:
        paths |= files(package)
    found = hashlib.sha256(repr(distributions.versions(backend.libraries)).encode())
    for name in sorted(paths):
        content = paths[name].read_bytes() if paths[name].is_file() else b""
        found.update(f"{name} {len(content)} ".encode() + content)
    return found.hexdigest()


def files(package: str) -> dict[str, Path]:
    """Return the files of a package, or of a module, by where they lie from its folder on."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return {}
    if spec is None:
        return {}
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    every = [(folder.parent, path) for folder in folders for path in folder.rglob("*")]
    if not folders and spec.origin:
        every = [(Path(spec.origin).parent, Path(spec.origin))]
    named = {path.relative_to(root).as_posix(): path for root, path in every if path.is_file()}
    return {name: path for name, path in named.items() if distributions.is_code(name)}


if __name__ == "__main__":
    main()
