"""How long a part may be, and how far rounding alone may bring it from the reference.

Measured on each workload by the reference itself (``nnbench.proof.rounding``).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, replace
from math import inf, isfinite
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from nnbench import files
from nnbench.contract.spec import minibatches
from nnbench.proof.deviations import losses_leeway, losses_off
from nnbench.proof.rounding import Rounded
from nnbench.proof.training import Training, fresh
from nnbench.records.cells import Deviations, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnbench.contract.backend import Precision
    from nnbench.contract.spec import Examples, Layer, NetworkSpec
    from nnbench.proof.training import Suspect

VERSION = 7  #: of what follows, for the cache
LENGTHS = (300, 200, 100, 50, 20, 10, 5, 2, 1)  #: of parts, in steps
#: What parts of up to so many steps are held against at least. Late in a training of ``mnist``, right parts of
#: 300 steps stray by up to 7e-6 in their losses.
BASES = (
    Limits(
        steps=100,
        tolerance=Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5),
    ),
    Limits(
        steps=300,
        tolerance=Deviations(loss=2e-5, displacement=1e-4, first=2e-5, second=2e-5),
    ),
)
#: Of ``adam-fresh``, which moves by signs that float32 cannot always tell. What that does comes late in a training,
#: and is not seen in what is measured here. Right parts stray by up to 1e-3 in their losses and
#: 2e-2 in displacement, if seldom: in an epoch 4 of 374 by more than ``typical``. One batch of 20 left out moves parameters by 1e-1 at
#: least, and a learning rate 1% too large each part by 1e-2.
FRESH = Limits(
    steps=20,
    tolerance=Deviations(loss=1e-2, displacement=6e-2, first=2e-5, second=2e-5),
    typical=5e-3,
)
#: Of a precision class. An input that lies between two values may be rounded to either, which changes the loss of
#: one example, and is amplified as signs are: of 5,000 right parts in bfloat16 none strayed by more than
#: 4e-3, 2e-3, 2e-3 and 1e-4, and another one by 1.4e-2 and 8e-3 in displacement and first moment; the second moment of
#: a first part of ``mnist-wide`` by 6e-4 in TF32. A learning rate 1% too large moves parameters by 9e-3.
NARROW = Limits(
    steps=10,
    tolerance=Deviations(loss=1e-2, displacement=4e-3, first=5e-3, second=2e-3),
)
ROUNDED = {
    "tf32": NARROW,
    "float16": NARROW,
    "bf16": Limits(
        steps=NARROW.steps,
        tolerance=Deviations(loss=1e-2, displacement=6e-2, first=3e-2, second=2e-3),
        typical=4e-3,
    ),
}
FACTOR = 3  #: of the largest deviation that was measured
ROOM = 2  #: times the base: the most that a tolerance may be
MOST_SUSPECTS = (
    6  #: undecided units in a part, since the search tries each, and may miss one of many
)
OPERATIONS = 5e10  #: floating-point operations that a stretch may cost
STRETCHES = 2  #: that are followed, one after the other
WITHOUT_STATE = 10  #: times the tolerance where the optimizer's state is not to be had


def calibrate(
    spec: NetworkSpec,
    examples: Examples,
    batch_size: int,
    layers: list[Layer],
    *,
    precision: Precision = "float32",
    from_parameters: bool = False,
    folder: Path | None = None,
    sha256: str = "",
) -> Limits:
    """Return the length and the tolerance of the parts of a workload.

    The tolerance is three times the largest deviation that was measured, and at least that of ``BASES``. The
    length is the largest at which it is little more than that, and few signs are undecided.

    Parameters
    ----------
    spec, examples, batch_size, layers
        What is trained, and the initial parameters.
    precision
        Of the products.
    from_parameters
        The optimizer's state is not to be had.
    folder
        Where results are kept from run to run; None keeps none.
    sha256
        Of the dataset, so that it need not be computed here.
    """
    path, limits = None, None
    if folder:
        data = (sha256, len(examples.inputs)) if sha256 else examples
        path = folder / f"{_digest(spec, data, batch_size, layers, precision)}.json"
        limits = _read(path, _bases(spec, precision))
    if limits is None:
        limits = _measure(spec, examples, batch_size, layers, precision)
        if path:
            with suppress(OSError):  # a full disk, or one that may not be written to
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_whole(path, msgspec.json.encode(limits))
    return scaled(limits, WITHOUT_STATE) if from_parameters else limits


def _digest(*values: object) -> str:
    digest = hashlib.sha256(
        repr((VERSION, LENGTHS, BASES, FRESH, ROUNDED, FACTOR, ROOM, MOST_SUSPECTS)).encode()
    )
    for value in values:
        _add(digest, value)
    return digest.hexdigest()[:32]


def _add(digest: hashlib._Hash, value: object) -> None:
    match value:
        case np.ndarray():
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        case list() | tuple():
            for one in value:
                _add(digest, one)
        case _:
            digest.update(repr(value).encode())


def _read(path: Path, bases: Sequence[Limits]) -> Limits | None:
    """Read what was kept; what is damaged, missing, or more than ``_choose`` would give is measured anew.

    A backend has the rights of the user whose file it is.
    """
    try:
        limits = msgspec.json.decode(files.read_regular(path), type=Limits)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return limits if _may_be(limits, bases) else None


def _may_be(limits: Limits, bases: Sequence[Limits]) -> bool:
    """Tell whether parts of several steps may be held against such limits, in a workload that has these bases."""
    base = next((base for base in bases if limits.steps <= base.steps), None)
    if base is None or limits.steps not in LENGTHS or limits.typical != base.typical:
        return False
    pairs = zip(asdict(limits.tolerance).values(), asdict(base.tolerance).values(), strict=True)
    return all((least or 0) <= (value or 0) <= ROOM * (least or 0) for value, least in pairs)


def scaled(limits: Limits, factor: float) -> Limits:
    """Return limits with so many times the tolerance."""
    tolerance = {name: (value or 0) * factor for name, value in asdict(limits.tolerance).items()}
    return replace(limits, tolerance=Deviations(**tolerance))


def _bases(spec: NetworkSpec, precision: Precision) -> Sequence[Limits]:
    """Return what parts are held against at least, the shorter ones first."""
    if precision == "float32":
        return spec.optimizer.choose(sgd=BASES, adam=BASES, adam_fresh=(FRESH,))
    usual = ROUNDED[precision]
    fresh = replace(FRESH, steps=usual.steps, typical=None)
    return spec.optimizer.choose(sgd=(usual,), adam=(usual,), adam_fresh=(fresh,))


def _measure(
    spec: NetworkSpec,
    examples: Examples,
    batch_size: int,
    layers: list[Layer],
    precision: Precision,
) -> Limits:
    bases = _bases(spec, precision)
    longest = min(bases[-1].steps, OPERATIONS / (batch_size * spec.operations))
    lengths = [length for length in LENGTHS if length <= longest] or [1]
    exact = Training(spec, examples, precision=precision)
    pair, start = Rounded(exact), fresh(spec, layers)
    batches = _batches(len(examples.inputs), batch_size)
    found: dict[int, list[Deviations]] = {length: [] for length in lengths}
    undecided = 0
    with np.errstate(all="ignore"):  # a training may diverge
        for _ in range(STRETCHES):
            stretch = [next(batches) for _ in range(lengths[0])]
            exact.load(start)
            roundings = exact.roundings(stretch)
            pair.load(start)
            losses: list[tuple[float, float]] = []
            for step, index in enumerate(stretch, start=1):
                suspects: list[Suspect] = []
                losses.append(pair.step(index, suspects))
                undecided += len(suspects)
                if step in found:
                    given, expected = np.array(losses).T
                    leeway = losses_leeway(expected, roundings[:step], bases[0].tolerance.loss or 0)
                    found[step].append(pair.deviations(start, losses_off(given, expected, leeway)))
            start = pair.other.straight()
    rate = undecided / (STRETCHES * lengths[0])
    is_searched = precision == "float32" and rate > 0
    longest = MOST_SUSPECTS / rate if is_searched else lengths[0]
    return _choose(found, longest, bases)


def _choose(
    found: Mapping[int, Sequence[Deviations]], longest: float, bases: Sequence[Limits]
) -> Limits:
    """Return the largest length whose tolerance is little more than its base."""
    best, worst = replace(bases[0], steps=1), dict.fromkeys(asdict(bases[0].tolerance), 0.0)
    for length in sorted(found):
        least = next(base for base in bases if length <= base.steps)
        base = {name: float(value or 0) for name, value in asdict(least.tolerance).items()}
        for name in worst:
            seen = [getattr(deviations, name) for deviations in found[length]]
            worst[name] = max(worst[name], *(inf if one is None else one for one in seen))
        tolerance = {name: max(base[name], FACTOR * worst[name]) for name in worst}
        fits = all(tolerance[name] <= ROOM * base[name] for name in worst)
        if length == 1 or (fits and length <= longest):
            finite = {
                name: value if isfinite(value) else base[name] for name, value in tolerance.items()
            }
            best = replace(least, steps=length, tolerance=Deviations(**finite))
    return best


def _batches(count: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches without end; the orders are no run's."""
    rng = np.random.default_rng(VERSION)
    while True:
        yield from minibatches(rng.permutation(count), batch_size)
