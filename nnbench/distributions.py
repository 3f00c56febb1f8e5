"""Distributions, as pip installs them: what is there, what is missing, and what is in the way."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import nnbench
from nnbench.contract import DISTRIBUTION, FORMER, NAME
from nnbench.contract.errors import PluginError, PluginWarning, install_hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.metadata import Distribution, EntryPoint

SUITE = ("pytest", "pytest-benchmark")  #: what the conformance suite is built on
EXTRA = re.compile(r"(?P<name>[\w.-]+).*;.*extra\s*==\s*['\"](?P<extra>[^'\"]+)")


def get(name: str) -> Distribution | None:
    """Return an installed distribution, or None."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


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


def plugins() -> list[EntryPoint]:
    """Return the entry points of plugins: nnbench's own first, the others by their distributions.

    Its own are there once, if it is installed under both names.
    """
    every = [(each.dist.name if each.dist else "", each) for each in entry_points(group=NAME)]
    names = {name for name, _ in every}
    own = DISTRIBUTION if DISTRIBUTION in names else FORMER
    kept = [pair for pair in every if pair[0] != FORMER or own == FORMER]
    kept.sort(key=lambda pair: (pair[0] != own, normalize(pair[0]), pair[1].name))
    return [each for _, each in kept]


def own_requirement() -> list[str]:
    """Return pip's arguments for the very nnbench that runs here, by where it came from."""
    own = distribution(DISTRIBUTION)
    record = own.read_text("direct_url.json")  # PEP 610; not there if it came from an index
    if record is None:
        return [f"{DISTRIBUTION}=={own.version}"]
    origin = json.loads(record)
    url = origin["url"]
    if origin.get("dir_info", {}).get("editable"):
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
        if not any(each.group == NAME for each in other.entry_points):
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
