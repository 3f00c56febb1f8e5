"""Products of matrices, a row of which is one big integer: fixed point in fields of 64 bits.

A row v is the integer Σⱼ Vⱼ·2⁶⁴ʲ, where Vⱼ is vⱼ in units of a power of two, rounded. One
multiplication of it by a small integer and one addition to another add a multiple of the row to a
whole row; CPython does both in C, over digits of 30 bits. Negative Vⱼ need no care there: the
integer is the exact sum. Only reading the fields does: they are made positive by adding 2⁶² to each.

**Range.** A field is read rightly if |Vⱼ| < 2⁶², whatever happened in between. ``matmul`` and
``outer`` sum products XᵢVᵢⱼ. The multipliers X are known first, with |X| < 2²⁶ (one digit each).
If Σᵢ|Xᵢ| < 2ᴸ, the unit of V is chosen such that |V| ≤ 2⁶¹⁻ᴸ: no sum exceeds 2⁶¹, for any data.

**Rounding.** Each column of multipliers has a unit of its own, so features of any scale are as
precise as others, and rounds by less than 2⁻²⁵ of its largest value. The rows of the other matrix
share a unit and round by no more than 2ᴸ⁻⁶¹ of the largest of them (times its column's unit): by
2⁻²⁷ for the weights at MNIST's pixels, whose sum is below 512 in each image, and by 2⁻²⁸ for the
deltas of a batch of 64. The sums are exact, and read with 51 bits. Float32 rounds each product and
each sum by up to 2⁻²⁴ of it. Where one value is much smaller than others of its block, float32 is
the more precise: here, a weight or a delta of less than 2⁻²⁸ of the largest counts as zero.

**Not finite.** A block with NaN, infinity or more than 2³⁰⁰ has NaN as its unit, and so is every
product with it. What is below 2⁻³⁰⁰ is zero.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache, lru_cache
from itertools import compress
from math import frexp, hypot, isfinite, ldexp, nan
from operator import mul, truediv
from typing import TYPE_CHECKING, NamedTuple

from nnbench_python.functions import SparseRow, picker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Vector = list[float]
    Rows = Sequence[Sequence[float]]

FIELD_BYTES = 8
SUM_BITS = 61  #: of a sum of products, without its sign
MULTIPLIER_BITS = 26
DOUBLE_BITS = 50  #: of a value that ``encode`` takes: a float64 has 52 and a sign bit to spare
LARGEST, SMALLEST = 2.0**300, 2.0**-300


class Multipliers(NamedTuple):
    """A matrix (N, D) of small integers times the units of its columns; zeros are left out."""

    rows: list[SparseRow[int]]
    units: Vector  #: of each column


def largest(values: Iterable[float]) -> float:
    """Return the largest magnitude; NaN or infinity if there is one among the values."""
    magnitudes = list(map(abs, values))
    total = sum(magnitudes)  # which max alone would miss
    return max(magnitudes, default=0.0) if isfinite(total) else total


def unit_for(bound: float, bits: int) -> float:
    """Return the power of two, so many bits of which hold values up to a bound."""
    if not bound < LARGEST:
        return nan
    return ldexp(1.0, frexp(max(bound, SMALLEST))[1] - bits)


def quantize(matrix: Rows) -> Multipliers:
    """Round a matrix to multipliers."""
    units = [unit_for(largest(column), MULTIPLIER_BITS) for column in zip(*matrix, strict=True)]
    return Multipliers([quantize_row(row, units) for row in matrix], units)


def quantize_row(row: Sequence[float], units: Vector) -> SparseRow[int]:
    """Divide a row's non-zero values by their units."""
    positions = list(compress(range(len(row)), row))
    pick = picker(positions)
    try:
        return SparseRow(positions, list(map(int, map(truediv, pick(row), pick(units)))))
    except ValueError:  # a unit is NaN; so will be each product
        return SparseRow([], [])


def matmul(multipliers: Multipliers, matrix: Rows) -> list[Vector]:
    """Return the product of (N, D) multipliers and a (D, K) matrix, shape (N, K)."""
    rows, units = multipliers
    total = max(sum(map(abs, values)) for _, values in rows)
    bits = min(SUM_BITS - total.bit_length(), DOUBLE_BITS)
    bound = largest(unit * hypot(*row) for unit, row in zip(units, matrix, strict=True))
    result_unit, width = unit_for(bound, bits), len(matrix[0])
    packed = [encode(row, result_unit / unit) for row, unit in zip(matrix, units, strict=True)]
    sums = (sum(map(mul, values, picker(positions)(packed))) for positions, values in rows)
    return [decode(number, result_unit, width) for number in sums]


def outer(multipliers: Multipliers, matrix: Rows) -> list[Vector]:
    """Return the product of transposed (N, D) multipliers and a (N, K) matrix, shape (D, K)."""
    rows, units = multipliers
    bits = min(SUM_BITS - MULTIPLIER_BITS - len(rows).bit_length(), DOUBLE_BITS)
    unit, width = unit_for(largest(hypot(*row) for row in matrix), bits), len(matrix[0])
    sums = [0] * len(units)
    for (positions, values), row in zip(rows, matrix, strict=True):
        packed = encode(row, unit)
        for i, x in zip(positions, values, strict=True):
            sums[i] += x * packed
    return [decode(number, unit * own, width) for number, own in zip(sums, units, strict=True)]


def encode(row: Sequence[float], unit: float) -> int:
    """Pack a row, none of whose values exceeds 2⁵¹ units.

    The sum of a value and 1.5·2⁵² units is rounded to whole units, and in its bits, as an
    integer, the value is added to those of 1.5·2⁵² units.
    """
    anchor = 1.5 * 2**52 * unit
    fields = array("d", [x + anchor for x in row])
    return int.from_bytes(fields, sys.byteorder) - repeat(anchor, len(row))


def decode(number: int, unit: float, width: int) -> Vector:
    """Unpack a row, none of whose fields exceeds 2⁶²; the inverse of ``encode`` up to rounding.

    Each field moves to a range from 0 to 2⁶³. Its upper 52 bits become the mantissa of a float64 in
    the range from 2⁶³ to 2⁶⁴ units.
    """
    if not number:  # often, where a pixel is not set in a whole batch
        return [0.0 * unit] * width
    offset, mask = constants(width)
    mantissas = (number + offset) >> 11 & mask
    fields = mantissas | repeat(2.0**63 * unit, width)
    anchor = 1.5 * 2**63 * unit
    return [x - anchor for x in array("d", fields.to_bytes(FIELD_BYTES * width, sys.byteorder))]


@cache
def constants(width: int) -> tuple[int, int]:
    """Return rows of 2⁶², and of 52 bits."""
    ones = int.from_bytes((1).to_bytes(FIELD_BYTES, "little") * width, "little")
    return 2**62 * ones, (2**52 - 1) * ones


@lru_cache(maxsize=4096)
def repeat(value: float, width: int) -> int:
    """Return a row, each field of which has the bits of a float64."""
    return int.from_bytes(array("d", [value] * width), sys.byteorder)
