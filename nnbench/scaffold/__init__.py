"""Write a new backend plugin, a distribution of its own, from the template beside this module."""

from __future__ import annotations

import re
import tempfile
from importlib.metadata import version
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from nnbench import catalog, distributions
from nnbench.catalog.names import ALL
from nnbench.contract import DISTRIBUTION
from nnbench.contract.errors import NnbenchError
from nnbench.files import named

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SUFFIX = ".in"  #: of the template's files, which are no Python until they are filled in
REPOSITORY = "git+https://HOST/OWNER/nnbench"  #: to be filled in by hand; pip refuses it
PACKAGE = "package"  #: the template's name for the folder of the plugin's package


def create(name: str, directory: Path | None = None) -> Path:
    """Write the plugin of a backend called ``name``.

    Parameters
    ----------
    name
        Lower-case words with hyphens, as in ``torch-cpu``. The distribution becomes
        ``nnbench-<name>``.
    directory
        Where to write it: a folder that is empty or not there. The distribution's name, in the
        working directory, if it is None.

    Returns
    -------
    Path
        The folder that was written.

    Raises
    ------
    NnbenchError
        If the name cannot be one, or is taken, or the folder holds something, or cannot be written.
    """
    fields = fields_for(name)
    target = directory or Path(fields["distribution"])
    with named(target):
        is_taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if is_taken:
        raise NnbenchError(f"{target} is not empty; choose another place with --directory")
    with named(target), as_file(files(__name__) / "template") as template:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(template, target, fields)
    return target


def fields_for(name: str) -> dict[str, str]:
    """Return what the template's fields stand for."""
    package = f"nnbench_{name.replace('-', '_')}"
    if not NAME.fullmatch(name) or name == ALL:
        raise NnbenchError(
            f"{name!r} cannot name a backend; write lower-case words as in my-backend"
        )
    names = {
        "backend": name in catalog.backends() and name,
        "plugin": any(each.name == name for each in distributions.plugins()) and name,
        "module": find_spec(package) and package,
        "distribution": distributions.get(f"nnbench-{name}") and f"nnbench-{name}",
    }
    for what, taken in names.items():
        if taken:
            text = f"a {what} named {taken!r} is installed already; choose another name"
            raise NnbenchError(text)
    *_, own = (
        distributions.own_requirement()
    )  # what pip installs nnbench from elsewhere: from where this came
    if own.startswith(f"{DISTRIBUTION}=="):
        own = DISTRIBUTION
    elif "@ git+" not in own:
        own = f"{DISTRIBUTION} @ {REPOSITORY}"
    return {
        "name": name,
        "distribution": f"nnbench-{name}",
        "package": package,
        "class": "".join(word.capitalize() for word in name.split("-")) + "Network",
        "version": version(DISTRIBUTION),
        "requirement": own,
    }


def write(template: Path, target: Path, fields: dict[str, str]) -> None:
    """Fill in the template beside the target, and move it there when it is complete."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".nnbench-new-") as temporary:
        draft = Path(temporary) / target.name
        for source in sorted(template.rglob(f"*{SUFFIX}")):
            place = source.relative_to(template).with_suffix("")
            parts = [fields["package"] if part == PACKAGE else part for part in place.parts]
            path = draft.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(source.read_text("utf-8")).substitute(fields), "utf-8")
        target.mkdir(exist_ok=True)
        for path in draft.iterdir():
            path.rename(target / path.name)
