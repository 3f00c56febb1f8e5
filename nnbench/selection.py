"""Parse what users type for a backend or an executor: ``name`` or ``name[key=value,…]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnbench import catalog
from nnbench.catalog.names import ALL
from nnbench.contract import faults
from nnbench.contract.backend import Option
from nnbench.contract.bounds import Line, Quantity, Whole
from nnbench.contract.errors import BackendUnavailableError, NnbenchError
from nnbench.records.runs import Entry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from nnbench.catalog.listings import Plugin
    from nnbench.contract.backend import Backend, OptionValue

PATTERN = re.compile(r"(?P<name>[^\[\],=\s]+)(?:\[(?P<options>[^\[\]]*)\])?")
OUTSIDE_BRACKETS = re.compile(r",(?![^\[]*\])")
BOUNDED: dict[type, Any] = {bool: bool, int: Whole, float: Quantity, str: Line}
THREADS = Option(1, "CPU threads")  #: every backend takes it; the harness applies it
BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Selection:
    """A backend with the parameters that a user gave it."""

    backend: Backend
    options: dict[str, OptionValue]
    threads: int | None = None  #: every backend takes ``threads``; the harness applies it
    named: bool = True  #: False if it is one of "all"

    @property
    def label(self) -> str:
        """The name in tables: the backend's, and its parameters in brackets."""
        given = {"threads": self.threads} if self.threads else {}
        return spell_name(self.backend.name, {**given, **self.options})

    @property
    def entry(self) -> Entry:
        """What it is in a run."""
        return Entry(
            label=self.label,
            backend=self.backend.name,
            options=self.options,
            threads=self.threads,
        )


def refuse_unavailable(labels: Collection[str], unavailable: Mapping[str, str]) -> None:
    """Raise if a backend that must run cannot."""
    for label in labels:
        if label in unavailable:
            raise BackendUnavailableError(f"{label} is unavailable: {unavailable[label]}")


def spell(value: object) -> str:
    """Write an option's value the way users type it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def spell_name(name: str, options: Mapping[str, object]) -> str:
    """Write a name with its parameters the way users type it."""
    pairs = [f"{key}={spell(value)}" for key, value in options.items()]
    return name + (f"[{','.join(pairs)}]" if pairs else "")


def parse(texts: Iterable[str], known: Mapping[str, Backend] | None = None) -> list[Selection]:
    """Parse the values of ``--backends``: each a name, ``all``, or several with commas.

    The backends that may be named are those registered here, unless others are ``known``.

    Raises
    ------
    NnbenchError
        If a backend or a parameter is unknown, or a value does not fit its parameter.
    """
    among = None if known is None else ()  # nobody knows what brings others
    known = catalog.backends() if known is None else known
    selections: dict[str, Selection] = {}
    for text in texts:
        for item in OUTSIDE_BRACKETS.split(text):
            for selection in _parse_item(item.strip(), known, among):
                if selection.named or selection.label not in selections:
                    selections[selection.label] = selection
    return list(selections.values())


def labels(texts: Iterable[str]) -> list[str]:
    """Return what the values of ``--backends`` name, with its parameters, whether there are such backends or not."""
    items = (item.strip() for text in texts for item in OUTSIDE_BRACKETS.split(text))
    return [item for item in items if item]


def names(texts: Iterable[str]) -> set[str]:
    """Return the same without parameters."""
    return {label.partition("[")[0] for label in labels(texts)}


def _parse_item(
    item: str, known: Mapping[str, Backend], among: Iterable[Plugin] | None
) -> list[Selection]:
    if item == ALL:
        everyone = (backend for backend in known.values() if not backend.named_only)
        return [Selection(backend, {}, named=False) for backend in everyone]
    name, given = _split("backend", item)
    backend = catalog.find("backend", name, known, among)
    options = _parse_options(name, given, {"threads": THREADS, **backend.options})
    threads = options.pop("threads", None)
    if threads is not None and int(threads) < 1:
        raise NnbenchError(f"{name}[threads={threads}]: at least 1 thread is needed")
    return [Selection(backend, options, None if threads is None else int(threads))]


def parse_executor(
    text: str, known: Mapping[str, Mapping[str, Option]]
) -> tuple[str, dict[str, OptionValue]]:
    """Parse the value of ``--executor``; return its name and its parameters.

    Parameters
    ----------
    text
        What was typed.
    known
        The parameters that each executor has, by its name.

    Raises
    ------
    NnbenchError
        If the executor or a parameter is unknown, or a value does not fit its parameter.
    """
    name, given = _split("executor", text.strip())
    return name, _parse_options(name, given, catalog.find("executor", name, known))


def _split(kind: str, item: str) -> tuple[str, list[str]]:
    """Return a name, and the pairs in the brackets behind it."""
    match = PATTERN.fullmatch(item)
    if not match:
        raise NnbenchError(f"cannot read {kind} {item!r}; write name or name[key=value,…]")
    return match["name"], [pair for pair in (match["options"] or "").split(",") if pair]


def _parse_options(
    name: str, given: Sequence[str], known: Mapping[str, Option]
) -> dict[str, OptionValue]:
    """Return the parameters in pairs, sorted by their keys."""
    pairs = [_parse_option(name, pair, known) for pair in given]
    options = dict(sorted(pairs))
    if len(options) < len(pairs):
        raise NnbenchError(f"{name}[{','.join(given)}] gives a parameter twice")
    return options


def _parse_option(name: str, pair: str, known: Mapping[str, Option]) -> tuple[str, OptionValue]:
    key, equals, text = (part.strip() for part in pair.partition("="))
    if not equals:
        raise NnbenchError(f"{name}[{pair}]: write {pair}=value")
    if key not in known:
        words = f"known: {', '.join(known)}" if known else "it has none"
        raise NnbenchError(f"{name} has no parameter {key!r}; {words}")
    return key, _convert(f"{name}[{key}={text}]", known[key], text)


def _convert(where: str, option: Option, text: str) -> OptionValue:
    kind = type(option.default)
    try:
        value = BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else f"a value of type {kind.__name__}"
        raise NnbenchError(f"{where}: expected {expected}") from None
    if faults.find(value, BOUNDED[kind], where):
        raise NnbenchError(f"{where}: expected {faults.words(BOUNDED[kind])}")
    if option.choices and value not in option.choices:
        choices = ", ".join(map(spell, option.choices))
        raise NnbenchError(f"{where}: expected one of {choices}")
    return value
