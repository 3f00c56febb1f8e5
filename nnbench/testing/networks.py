"""The networks that a backend is checked on: few, chosen among those that it supports.

A mistake mostly needs one choice, or two together, as biases and squared error. So networks will do
in which any two choices meet: six where all are supported. Elsewhere they are chosen among those that
are, each time the one in which most pairs meet that did not yet.

Source: D. Cohen et al., "The AETG system: an approach to testing based on combinatorial design"
(IEEE Transactions on Software Engineering, 1997).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from typing import Any, NamedTuple

from nnbench.contract.spec import (
    Activation,
    Loss,
    NetworkSpec,
    Optimizer,
    OptimizerKind,
    require_all,
)
from nnbench.proof.mistakes import BATCH_SIZE
from nnbench.show.text import count

# Hyper-parameters that are not the defaults, and an epsilon that shows where it stands.
SGD = Optimizer(kind="sgd", learning_rate=0.1)
ADAM = Optimizer(kind="adam", learning_rate=1e-2, beta1=0.8, beta2=0.95, epsilon=1e-3)
FRESH = Optimizer(kind="adam-fresh", learning_rate=1e-2, beta1=0.8, beta2=0.95, epsilon=1e-3)

L2 = 0.03
MOST_PAIRS = 4  #: of choices that were not tested together; of more, how many they are
SIZES = (6, 5, 5, 3)  #: two hidden layers of one size, so that one can be taken for the other


class Setting(NamedTuple):
    """A network, and how many examples a step of its training has."""

    spec: NetworkSpec
    batch_size: int = BATCH_SIZE


Choices = tuple[str, ...]  #: one of each axis
Change = Callable[[Setting], Setting]


class Axis(NamedTuple):
    """Something in which settings differ."""

    choices: dict[str, Change]  #: by what each is called
    silent: str = ""  #: the choice that a name does not mention


class Chosen(NamedTuple):
    """What a backend is checked on."""

    settings: dict[str, Setting]  #: by name; empty if it supports none
    reason: str = ""  #: why it supports none


def having(**fields: Any) -> Change:
    """Change some fields of the specification."""
    return lambda setting: setting._replace(spec=replace(setting.spec, **fields))


def with_defaults(setting: Setting) -> Setting:
    """Take the default hyper-parameters, all but the learning rate."""
    own = setting.spec.optimizer
    optimizer = Optimizer(kind=own.kind, learning_rate=own.learning_rate)
    return having(optimizer=optimizer)(setting)


ACTIVATIONS: dict[str, Activation] = {"relu": "relu", "sigmoid": "sigmoid"}
LOSSES: dict[str, Loss] = {"cross entropy": "cross_entropy", "squared error": "squared_error"}
OPTIMIZERS: dict[str, Optimizer] = {each.kind: each for each in (ADAM, SGD, FRESH)}

# No backend passes without having trained with each of them that it supports.
require_all(ACTIVATIONS.values(), Activation, "ACTIVATIONS")
require_all(LOSSES.values(), Loss, "LOSSES")
require_all(OPTIMIZERS, OptimizerKind, "OPTIMIZERS")

#: Any two choices of these meet.
AXES = (
    Axis({name: having(activation=each) for name, each in ACTIVATIONS.items()}),
    Axis({name: having(loss=each) for name, each in LOSSES.items()}),
    Axis({"bias": having(bias=True), "no bias": having(bias=False)}),
    Axis({"no L2": having(l2=0.0), "L2": having(l2=L2)}, silent="no L2"),
    Axis({name: having(optimizer=each) for name, each in OPTIMIZERS.items()}),
)
#: Of these a network has the first choice that is supported: it shows most.
FORMS = (
    Axis(
        {
            "two hidden layers": having(sizes=SIZES),
            "one hidden layer": having(sizes=(6, 5, 3)),
            "no hidden layer": having(sizes=(6, 3)),
            "784-50-10": having(sizes=(784, 50, 10)),  # of code that is made for MNIST alone
        },
        silent="two hidden layers",
    ),
    Axis(
        {
            "other hyper-parameters than the defaults": lambda setting: setting,
            "default hyper-parameters": with_defaults,
        },
        silent="other hyper-parameters than the defaults",
    ),
    Axis(
        {
            "batches of eight": lambda setting: setting._replace(batch_size=BATCH_SIZE),
            "batches of one": lambda setting: setting._replace(batch_size=1),
        },
        silent="batches of eight",
    ),
)
USUAL: Choices = tuple(axis.silent for axis in FORMS)
#: They are taken where two do equally well. The first one is what most checks use.
FAVOURITES: tuple[Choices, ...] = (
    ("relu", "cross entropy", "bias", "no L2", "adam"),
    ("sigmoid", "squared error", "no bias", "L2", "adam"),
    ("relu", "cross entropy", "no bias", "L2", "sgd"),
    ("sigmoid", "squared error", "bias", "no L2", "sgd"),
    ("relu", "squared error", "bias", "L2", "adam-fresh"),
    ("sigmoid", "cross entropy", "no bias", "no L2", "adam-fresh"),
)
CANDIDATES = tuple(dict.fromkeys((*FAVOURITES, *product(*(axis.choices for axis in AXES)))))


@cache
def make(choices: Choices) -> Setting:
    """Return the setting of some choices."""
    setting = Setting(
        NetworkSpec(sizes=SIZES, activation="relu", loss="cross_entropy", optimizer=SGD)
    )
    for axis, choice in zip((*AXES, *FORMS), choices, strict=True):
        setting = axis.choices[choice](setting)
    return setting


def name(choices: Choices) -> str:
    """Name a setting in a check's id."""
    named = zip((*AXES, *FORMS), choices, strict=True)
    return ", ".join(choice for axis, choice in named if choice != axis.silent)


def is_name(text: str) -> bool:
    """Tell whether a text names a setting."""
    return {*text.split(", ")} <= {choice for axis in (*AXES, *FORMS) for choice in axis.choices}


def read(text: str) -> Choices:
    """Return the choices of a name."""
    words = text.split(", ")
    return tuple(
        next((choice for choice in axis.choices if choice in words), axis.silent)
        for axis in (*AXES, *FORMS)
    )


@cache
def pairs(choices: Choices) -> frozenset[tuple[str, str]]:
    """Return what meets in a setting."""
    return frozenset(combinations(choices[: len(AXES)], 2))


def choose(why_not: Callable[[NetworkSpec, int], str | None]) -> Chosen:
    """Choose settings in which any two choices meet that are supported together.

    Parameters
    ----------
    why_not
        Why a network in batches of some size is not supported, or None.
    """
    supported = [found for each in CANDIDATES if (found := first_form(each, why_not))]
    if not supported:
        return Chosen({}, why_not(*make((*FAVOURITES[0], *USUAL))) or "")
    chosen: dict[str, Setting] = {}
    met: set[tuple[str, str]] = set()

    def gain(choices: Choices) -> int:
        return len(pairs(choices) - met)

    while gain(best := max(supported, key=gain)):  # the first of those that bring as much
        chosen[name(best)] = make(best)
        met.update(pairs(best))
    return Chosen(chosen)


def first_form(
    choices: Choices, why_not: Callable[[NetworkSpec, int], str | None]
) -> Choices | None:
    """Return the first form of some choices that is supported, or None."""
    forms = product(*(axis.choices for axis in FORMS))
    wholes = ((*choices, *form) for form in forms)
    return next((whole for whole in wholes if why_not(*make(whole)) is None), None)


def describe(names: Iterable[str]) -> list[str]:
    """Say in short lines what settings of these names have tested, and what not; nothing of none."""
    tested = [read(each) for each in names]
    if not tested:
        return []
    every = [choice for axis in (*AXES, *FORMS) for choice in axis.choices]
    seen = {choice for choices in tested for choice in telling(choices)}
    wanted = {choice for axis in AXES for choice in axis.choices}
    wanted |= {axis.silent for axis in FORMS if seen & {*axis.choices}}
    shown = [choice for choice in every if choice in seen and choice not in USUAL]
    lines = [f"on {count(len(tested), 'network')} with {', '.join(shown)}"]
    if wanted - seen:
        lines.append(f"{', '.join(x for x in every if x in wanted - seen)}: not tested")
    met = {pair for choices in tested for pair in pairs(choices)}
    apart = [" and ".join(p) for p in every_pair() if p not in met and seen.issuperset(p)]
    if apart:
        more = len(apart) - MOST_PAIRS
        others = f" (and {count(more, 'more pair')})" if more > 0 else ""
        lines.append(f"{', '.join(apart[:MOST_PAIRS])}{others}: not tested together")
    return lines


def telling(choices: Choices) -> set[str]:
    """Return those choices of a setting that make a difference to it."""
    places = enumerate(zip((*AXES, *FORMS), choices, strict=True))
    return {
        choice
        for at, (axis, choice) in places
        if any(
            make((*choices[:at], other, *choices[at + 1 :])) != make(choices)
            for other in axis.choices
        )
    }


def every_pair() -> list[tuple[str, str]]:
    """Return any two choices that may meet."""
    return [
        pair for one, other in combinations(AXES, 2) for pair in product(one.choices, other.choices)
    ]


#: By name, those of a backend that supports all.
NETWORKS = {each: setting.spec for each, setting in choose(lambda *_: None).settings.items()}
SPECS = tuple(NETWORKS.values())
