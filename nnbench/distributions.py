"""Distributions, as pip installs them: what is there, what is missing, and what is in the way.

What pip has left half done, or somebody has written by hand, may be anything: a distribution whose metadata cannot be
read is as one that is not there, and what it says of plugins has its fault beside it.
"""

from __future__ import annotations

import json
import re
import shlex
import warnings
from contextlib import suppress
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from importlib.metadata import distributions as all_found
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlparse

import nnbench
from nnbench.contract import DISTRIBUTION, FORMER, NAME, faults
from nnbench.contract import bounds as types
from nnbench.contract.errors import PluginError, PluginWarning, install_hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.metadata import Distribution

SUITE = ("pytest", "pytest-benchmark")  #: what the conformance suite is built on
EXTRA = re.compile(r"(?P<name>[\w.-]+).*;.*extra\s*==\s*['\"](?P<extra>[^'\"]+)")
ALWAYS = re.compile(r"(?P<name>[\w.-]+)[^;]*")  #: a requirement without a condition
LEFT_OVER = "~"  #: how pip renames what it is about to remove


class Entry(NamedTuple):
    """How a distribution announces a plugin: a line in its entry points."""

    name: str
    module: str
    distribution: str  #: its name, or where its metadata lie if they do not say it
    version: str | None
    fault: str | None  #: why nothing can be loaded by it

    def load(self) -> object:
        """Import what the line names."""
        return EntryPoint(self.name, self.module, NAME).load()


def get(name: str) -> Distribution | None:
    """Return an installed distribution, or None; without its name and version it is none."""
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):  # an empty name is an error of its own
        return None
    return None if _identity(found).fault else found


class _Identity(NamedTuple):
    """What a distribution is, by its metadata."""

    name: str
    version: str | None
    fault: str | None


def _identity(found: Distribution) -> _Identity:
    where = _folder(found) or "an unknown place"
    if where.startswith(LEFT_OVER):
        return _Identity(where, None, "an interrupted pip has left that: delete the folder")
    name: Any = None
    version: Any = None
    with suppress(Exception):  # of what is no metadata
        metadata: Any = found.metadata  # its type has no get before Python 3.12
        # importlib_metadata, which serves this too once somebody imports it, has no default for []
        name, version = metadata.get("Name"), metadata.get("Version")
    fault = faults.find(name, types.Distribution, "the name in its metadata")
    fault = fault or faults.find(version, types.Version, "the version in its metadata")
    if fault:
        return _Identity(where, None, f"{fault}: install it again")
    return _Identity(name, version, None)


def _folder(found: Distribution) -> str:
    """Return how the folder, or file, of the metadata is called, which importlib keeps to itself."""
    return Path(str(getattr(found, "_path", ""))).name


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    return {name: found.version for name in names if (found := get(name))}


def is_installed(name: str) -> bool:
    """Tell whether a distribution is there, or a module of its name, without importing it."""
    return bool(find_spec(re.sub(r"[-.]", "_", name)) or get(name))


def how_to_install(missing: Sequence[str], plugin: str | None) -> str:
    """Return the command that installs what a plugin's distribution misses.

    If one of its extras brings the first of them, that is named: the smallest, if several do.
    """
    extras: dict[str, set[str]] = {}
    for requirement in (plugin and (own := get(plugin)) and own.requires) or ():
        if match := EXTRA.match(requirement):
            extras.setdefault(match["extra"], set()).add(normalize(match["name"]))
    fitting = [extra for extra, names in extras.items() if normalize(missing[0]) in names]
    if plugin and fitting:
        return install_hint(min(fitting, key=lambda extra: len(extras[extra])), plugin)
    return shlex.join(["pip", "install", *missing])


def normalize(name: str) -> str:
    """Write a distribution's name as package indexes do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def missing(name: str) -> list[str]:
    """Return the distributions that one requires in any case, and that are not installed."""
    own = get(name)
    needed = [
        match["name"] for text in (own and own.requires) or () if (match := ALWAYS.fullmatch(text))
    ]
    return [each for each in needed if not is_installed(each)]


def plugins() -> list[Entry]:
    """Return the entry points of plugins: nnbench's own first, the others by their distributions.

    Its own are there once, if it is installed under both names.
    """
    every = [entry for found in _distinct() for entry in _entries(found)]
    own = DISTRIBUTION if DISTRIBUTION in {each.distribution for each in every} else FORMER
    kept = [each for each in every if each.distribution != FORMER or own == FORMER]
    return sorted(
        kept, key=lambda each: (each.distribution != own, normalize(each.distribution), each.name)
    )


def _distinct() -> Iterator[Distribution]:
    """Yield what is installed, of each name the one that Python finds first."""
    seen = set()
    for found in all_found():
        name = normalize(Path(_folder(found)).stem.partition("-")[0])
        if not name or name not in seen:
            seen.add(name)
            yield found


def _entries(found: Distribution) -> Iterator[Entry]:
    """Yield what a distribution says of plugins. Whatever else it says is not ours to judge."""
    lines = list(_lines(found))
    if not lines:
        return  # most have none, and to read their metadata takes long
    identity = _identity(found)
    parted = [(line, *map(str.strip, line.partition("="))) for line in lines]
    if identity.fault:
        yield Entry(", ".join(name for _, name, _, _ in parted), "", *identity)
        return
    for line, name, _, module in parted:
        is_right = EntryPoint.pattern.match(module)
        wrong = f"its line in entry_points.txt is {faults.show(line)}, and must be name = module"
        yield Entry(name, module, identity.name, identity.version, None if is_right else wrong)


def _lines(found: Distribution) -> Iterator[str]:
    """Yield the lines of the group in which plugins are announced."""
    try:
        text = found.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        text = error.object.decode(errors="replace")
    except Exception:  # noqa: BLE001 - of whoever finds distributions
        return
    section = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]")
        elif section == NAME and not line.startswith("#"):
            yield line


def own_requirement() -> list[str]:
    """Return pip's arguments for the very nnbench that runs here, by where it came from."""
    own = distribution(DISTRIBUTION)
    record = own.read_text("direct_url.json")  # PEP 610; not there if it came from an index
    if record is None:
        return [f"{DISTRIBUTION}=={own.version}"]
    origin = json.loads(record)
    url = origin["url"]
    if origin.get("dir_info", {}).get("editable"):
        from urllib.request import url2pathname  # which loads all that fetches something

        return ["--editable", url2pathname(urlparse(url).path)]
    if source := origin.get("vcs_info"):
        url = f"{source['vcs']}+{url}@{source['commit_id']}"
    return [f"{DISTRIBUTION} @ {url}"]


def own_record() -> str:
    """Return what pip has noted of the files of this nnbench, with their hashes."""
    return distribution(DISTRIBUTION).read_text("RECORD") or ""


def files(name: str) -> dict[str, Path]:
    """Return the code of a distribution, by where it lies; without what pip makes or writes itself."""
    found = distribution(name)
    paths = {path.as_posix(): Path(str(path.locate())) for path in found.files or ()}
    return {key: path for key, path in paths.items() if is_code(key)}


def is_code(name: str) -> bool:
    """Tell whether a file below a folder of packages is a part of one, and is not made of others."""
    top, *_ = parts = name.split("/")
    is_made = name.endswith((".pyc", ".pth")) or "__pycache__" in parts
    return top != ".." and not top.endswith((".dist-info", ".egg-info")) and not is_made


def check() -> None:
    """Warn of a distribution called ``nnbench`` beside this one: both write the same files.

    On package indexes that name is another project's; it was also the name of this one.

    Raises
    ------
    PluginError
        If files of this one are replaced or gone, so that no plugin can be loaded.
    """
    other, text = get(FORMER), ""
    if other:
        if not any(_lines(other)):
            text = f"the distribution {FORMER} {other.version} is another project's"
        elif get(DISTRIBUTION):
            text = f"{FORMER} {other.version}, the former name of {DISTRIBUTION}, is installed too"
    if text:
        text = f"{text}, and both write the same files: uninstall it (pip uninstall {FORMER})"
        text = f"{text}, and install {DISTRIBUTION} again"
    if not hasattr(nnbench, "Backend"):
        raise PluginError(text or f"files are missing: install {DISTRIBUTION} again")
    if text:
        warnings.warn(text, PluginWarning, stacklevel=2)
