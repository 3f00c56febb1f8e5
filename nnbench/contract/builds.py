"""What backends compile for this machine, kept on disk.

The name of a file holds two digests. One is of what it is made from, which the backend computes: sources, options, a compiler's
version. The other is of the file itself, so that a damaged one shows before it is loaded, and is built again. It comes to its
place by renaming, so two processes that build at once do not see each other's halves.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DIGITS = 32  #: of a digest in a name


def cache(name: str) -> Path:
    """Return the folder that holds what a backend has built.

    Raises
    ------
    OSError
        If the user has none.
    """
    import platformdirs

    folder = Path()
    with suppress(RuntimeError):  # as newer versions say it; older ones give a folder called ~
        folder = Path(platformdirs.user_cache_path("nnbench")) / name
    if not folder.is_absolute():
        raise FileNotFoundError("the user has no home folder")
    return folder


def digest_of(path: Path) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]


def find(folder: Path, name: str, suffix: str) -> Path | None:
    """Return what was built before under a name, if it is what was built."""
    for path in sorted(folder.glob(f"{name}-*{suffix}")):
        if path.stem == f"{name}-{digest_of(path)}":
            return path
    return None


def build(folder: Path, name: str, suffix: str, make: Callable[[Path], object]) -> Path:
    """Have ``make`` write a file in a folder beside its place, then move it there.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".building-", dir=folder) as temporary:
        built = Path(temporary, f"built{suffix}")
        make(built)
        return built.rename(folder / f"{name}-{digest_of(built)}{suffix}")
