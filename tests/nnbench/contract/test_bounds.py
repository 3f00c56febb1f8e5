"""Every value that is read has bounds, in its type: whoever adds a field without them is told here."""

import math
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, inspect

from nnbench.catalog.listings import Listing
from nnbench.contract import bounds
from nnbench.records.cells import CellResult, Limits
from nnbench.records.runs import Environment, Roof, RunInfo
from nnbench.records.site import Index
from nnbench.records.worker import Answer

READ = {
    "run.json": RunInfo,
    "cells.jsonl": CellResult,
    "answer": Answer,
    "list": Listing,
    "index.json": Index,
}
KEPT = {"calibration": Limits, "machine": Environment, "ceilings": list[Roof]}


def parts(kind):
    """Yield the types that one is made of, by the names of fields, keys and items."""
    match kind:
        case inspect.Metadata(type=inner):
            yield "", inner
        case inspect.UnionType(types=types):
            yield from (("", each) for each in types)
        case inspect.DictType(key_type=key, value_type=value):
            yield from {"{key}": key, "{}": value}.items()
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield "[]", item
        case inspect.DataclassType(fields=fields) | inspect.StructType(fields=fields):
            yield from ((f".{field.name}", field.type) for field in fields)


def without_bounds(kind, path="$", *, json=True):
    """Yield where a type has a number or a text that may be anything; JSON itself has no infinity."""
    match kind:
        case inspect.IntType(ge=low, gt=over, le=high, lt=under):
            if (low is None and over is None) or (high is None and under is None):
                yield path
        case inspect.FloatType(ge=low, gt=over, le=high, lt=under):
            if (low is None and over is None) or not (json or high or under):
                yield path
        case inspect.StrType(max_length=None):
            yield path
        case inspect.AnyType() | inspect.RawType():
            yield path
    for step, part in parts(kind):
        yield from without_bounds(part, path + step, json=json)


@pytest.mark.parametrize("kind", (READ | KEPT).values(), ids=(READ | KEPT).keys())
def test_every_value_that_is_read_has_bounds(kind):
    assert list(without_bounds(inspect.type_info(kind), json=kind is not Answer)) == []


FINITE = [
    *(bounds.Seconds, bounds.CallSeconds, bounds.Elapsed, bounds.Microseconds),
    *(bounds.Portion, bounds.Amount),
]


@pytest.mark.parametrize("kind", FINITE)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_a_worker_may_say_is_a_number(kind, number):
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(number), type=kind)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (int, "$"),
        (Annotated[int, Meta(ge=0)], "$"),
        (Annotated[int, Meta(lt=3)], "$"),
        (float, "$"),
        (Annotated[float, Meta(le=3)], "$"),
        (str, "$"),
        (Annotated[str, Meta(min_length=1)], "$"),
        (Any, "$"),
        (msgspec.Raw, "$"),
        (bounds.Count | str | None, "$"),
        (dict[str, bounds.Count], "${key}"),
        (dict[bounds.Name, list[tuple[int, ...]]], "${}[][]"),
        (msgspec.defstruct("Noted", [("count", bounds.Count), ("note", str)]), "$.note"),
    ],
)
def test_what_has_none_is_named(kind, path):
    assert list(without_bounds(inspect.type_info(kind))) == [path]


def largest(kind: Any) -> float:
    """Return the largest number of a type."""
    info: Any = inspect.type_info(kind)
    number: float = info.le
    return number


SUMMED = (bounds.Seconds, bounds.Microseconds, bounds.Amount, bounds.Loss)


@pytest.mark.parametrize("kind", SUMMED)
def test_what_is_summed_stays_a_number(kind):
    limit = largest(kind)
    assert sum([limit] * 1000) < float("inf")


@pytest.mark.parametrize(
    ("said", "recorded"),
    [(bounds.CallSeconds, bounds.Seconds), (bounds.CallCount, bounds.Number)],
)
def test_a_million_calls_of_a_worker_can_be_recorded(said, recorded):
    assert 10**6 * largest(said) <= largest(recorded)


NASTY = [
    *("-1", "0.5", "true", "null", '"1"', "[]", "{}", "1e400", "-0.5", "1e999999"),
    *(str(2**63), str(2**70), str(-(2**70)), str(10**400), "1" + "0" * 5000),
]


@pytest.mark.parametrize("text", NASTY)
def test_a_count_is_a_whole_number_within_bounds(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=bounds.Count)


@pytest.mark.parametrize("text", ["-1", "-5e-324", "1e16", "1e308", "1e400", str(10**400), "null"])
def test_seconds_are_a_number_within_bounds(text):
    with pytest.raises(msgspec.DecodeError):  # of which a ValidationError is one
        msgspec.json.decode(text, type=bounds.Seconds)


def test_a_seed_may_be_what_arrow_can_hold():
    assert msgspec.json.decode(str(2**63 - 1), type=bounds.Seed) == 2**63 - 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(str(2**63), type=bounds.Seed)
