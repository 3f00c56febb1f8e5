"""Who computes what, and where it lies: the one description of the partition.

The kernel gets all of it as macros, the network packs its arrays by it, and a model of the messages in the tests is built
from it. All sizes are in floats, and multiples of four of them, which one access of 16 bytes moves.

A network has matrices alone: the bias of a layer is one more row of its matrix, and its input is always 1. Of the first matrix each
block has some rows, and of each later one a replica; of an image it has those inputs that its rows are for. An image belongs to one
block, the owner, which adds up what all blocks have made of its inputs, and goes through the later layers. A chunk is those images that
are under way at once; a batch is one or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbench import BackendUnavailableError, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec

    Array = NDArray[np.float32]

QUAD = 4
FLOAT = 4  #: bytes
CHUNKS = (64, 32, 16, 8, 4)  #: images, the most that fit
BLOCKS = (16, 8, 4, 2, 1)  #: 16 is the largest cluster, where a device allows what is not portable
THREADS = 256  #: of a block
WARP = 32


@dataclass(frozen=True)
class Limits:
    """What a device gives one kernel."""

    shared_bytes: int = 227 * 1024  #: to a block; as large devices have it that have clusters
    clusters: bool = True  #: whether blocks reach into one another's memory


@dataclass(frozen=True)
class Plan:
    """A network on a device."""

    spec: NetworkSpec
    blocks: int
    chunk: int
    threads: int = THREADS
    clusters: bool = True

    @cached_property
    def rows(self) -> int:
        """Rows of the first matrix that a block has."""
        return quads(-(-(self.spec.sizes[0] + self.spec.bias) // self.blocks))

    @cached_property
    def heights(self) -> list[int]:
        """Rows of each matrix in a block."""
        return [self.rows, *(quads(fan_in + self.spec.bias) for fan_in in self.spec.sizes[1:-1])]

    @cached_property
    def widths(self) -> list[int]:
        """Columns of each matrix."""
        return [*map(quads, self.spec.sizes[1:])]

    @cached_property
    def matrices(self) -> list[int]:
        """Where each matrix begins among a block's parameters, and last their number."""
        sizes = (h * w for h, w in zip(self.heights, self.widths, strict=True))
        return [0, *accumulate(sizes)]

    @cached_property
    def record(self) -> list[int]:
        """Where things begin in what is said of an image, and last its length.

        First what goes into each layer but the first, then the derivatives by what comes out of each.
        """
        return [0, *accumulate([*self.heights[1:], *self.widths])]

    @property
    def values(self) -> list[int]:
        """Where in a record the inputs of each layer begin, but for the first one's."""
        return self.record[: len(self.widths) - 1]

    @property
    def deltas(self) -> list[int]:
        """Where the derivatives by the outputs of each layer do."""
        return self.record[len(self.widths) - 1 : -1]

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.threads // WARP

    @property
    def own(self) -> int:
        """Images of a chunk that a block owns at most."""
        return -(-self.chunk // self.blocks)

    @property
    def sums(self) -> int:
        """What arrives at an owner: the first layer's sums, for each block and image of its own."""
        return self.blocks * self.own * self.widths[0]

    @property
    def example(self) -> int:
        """The length of an example: inputs, as the rows of all blocks have them, then targets."""
        return self.blocks * self.rows + self.widths[-1]

    @property
    def count(self) -> int:
        """Parameters in the memory of the device: the rows of all blocks, then the later matrices once."""
        return (self.blocks - 1) * self.matrices[1] + self.matrices[-1]

    @cached_property
    def shared(self) -> dict[str, int]:
        """Where things begin in the shared memory of a block, and last its size; barriers are first."""
        parameters = self.matrices[-1]
        moments = parameters if self.spec.optimizer.keeps_moments else 0
        sizes = {
            "barriers": QUAD,  # two, of 8 bytes
            "parameters": parameters,
            "first": moments,
            "second": moments,
            "gradients": parameters,
            "inputs": 2 * self.chunk * self.rows,
            "targets": 2 * self.own * self.widths[-1],
            "sums": self.sums,
            "records": self.chunk * self.record[-1],
            "drafts": self.own * self.record[-1],
            "numbers": 2 * self.chunk,
        }
        return dict(zip([*sizes, "size"], [0, *accumulate(sizes.values())], strict=True))

    @property
    def shared_bytes(self) -> int:
        """The shared memory of a block."""
        return FLOAT * self.shared["size"]

    @property
    def mail(self) -> int:
        """Where there are no clusters, what is sent lies in the device's memory: sums, then records."""
        return self.blocks * self.sums + self.chunk * self.record[-1]

    @property
    def has_idle_blocks(self) -> bool:
        """Whether some block has no row of the first matrix."""
        return (self.blocks - 1) * self.rows >= self.spec.sizes[0] + self.spec.bias

    def owner(self, image: int) -> tuple[int, int]:
        """Return the block that owns an image of a chunk, and the image's number there."""
        return image % self.blocks, image // self.blocks

    def macros(self) -> dict[str, str]:
        """Return what the kernel is compiled with."""
        spec = self.spec
        numbers: dict[str, Any] = {
            "BLOCKS": self.blocks,
            "THREADS": self.threads,
            "CLUSTERS": int(self.clusters),
            "BIAS": int(spec.bias),
            "CHUNK": self.chunk,
            "OWN": self.own,
            "EXAMPLE": self.example,
            "LAYERS": len(self.widths),
            "SIZES": spec.sizes,
            "HEIGHTS": self.heights,
            "WIDTHS": self.widths,
            "MATRICES": self.matrices,
            "VALUES": [0, *self.values],
            "DELTAS": self.deltas,
            "RECORD": self.record[-1],
            "ACTIVATION": spec.activation.upper(),
            "LOSS": spec.loss.upper(),
            "OPTIMIZER": spec.optimizer.choose(sgd="SGD", adam="ADAM", adam_fresh="ADAM_FRESH"),
            **{f"SHARED_{name.upper()}": place for name, place in self.shared.items()},
        }
        return {
            f"PLAN_{name}": ",".join(
                map(str, value if isinstance(value, list | tuple) else [value])
            )
            for name, value in numbers.items()
        }

    def pack(self, layers: Sequence[Layer]) -> Array:
        """Return the parameters as they lie on the device, shape (count,)."""
        flat = np.zeros(self.count, np.float32)
        for matrix, (weight, bias) in zip(self._cut(flat), layers, strict=True):
            fan_in, fan_out = weight.shape
            matrix[:fan_in, :fan_out] = weight
            if bias is not None:
                matrix[fan_in, :fan_out] = bias
        return flat

    def unpack(self, flat: Array) -> list[Layer]:
        """Copy parameters, their gradients or moments, out of what ``pack`` makes."""
        return [
            Layer(
                matrix[:fan_in, :fan_out].copy(),
                matrix[fan_in, :fan_out].copy() if self.spec.bias else None,
            )
            for matrix, (fan_in, fan_out) in zip(self._cut(flat), self.spec.shapes, strict=True)
        ]

    def _cut(self, flat: Array) -> Iterator[Array]:
        """View parameters as matrices."""
        heights = [self.blocks * self.rows, *self.heights[1:]]
        start = 0
        for height, width in zip(heights, self.widths, strict=True):
            yield flat[start : start + height * width].reshape(height, width)
            start += height * width

    def lay_out(self, examples: Examples) -> Array:
        """Return examples as they lie on the device, shape (M, example)."""
        inputs, labels, targets = examples
        count, fan_in = inputs.shape
        outputs = self.spec.sizes[-1]
        if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < outputs:
            raise IndexError(f"labels {labels.min()} to {labels.max()}, but there are {outputs}")
        laid = np.zeros((count, self.example), np.float32)
        laid[:, :fan_in] = inputs
        if self.spec.bias:
            laid[:, fan_in] = 1
        wanted = laid[:, self.blocks * self.rows :]
        if labels is not None:
            wanted[np.arange(count), labels] = 1
        elif targets is not None:
            wanted[:, :outputs] = targets
        return laid


def quads(count: int) -> int:
    """Round up to whole quads."""
    return -(-count // QUAD) * QUAD


def plans(spec: NetworkSpec, limits: Limits) -> Iterator[Plan]:
    """Yield what fits, for each number of blocks the plan with the largest chunk, most blocks first.

    Raises
    ------
    BackendUnavailableError
        If nothing fits.
    """
    smallest = Plan(spec, BLOCKS[0], CHUNKS[-1])
    found = False
    for blocks in BLOCKS:
        for chunk in CHUNKS:
            plan = Plan(spec, blocks, chunk, clusters=limits.clusters)
            if plan.shared_bytes <= limits.shared_bytes and not plan.has_idle_blocks:
                yield plan
                found = True
                break
    if not found:
        raise BackendUnavailableError(
            f"the network does not stay on the chip: each of {smallest.blocks} blocks would need "
            f"{smallest.shared_bytes / 1024:,.0f} KiB, and there are {limits.shared_bytes // 1024}"
        )


def why_too_large(spec: NetworkSpec) -> str | None:
    """Return why a network does not stay on the chip of any device that this is made for, or None."""
    try:
        next(plans(spec, Limits()))
    except BackendUnavailableError as error:
        return str(error)
    return None
