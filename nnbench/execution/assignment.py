"""What all cells of a block train, and what of it a worker is told.

The parent keeps what the worker must not know: the seed, the orders to come, the test split's labels, and where parts
end, which it draws.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from random import SystemRandom
from typing import TYPE_CHECKING

import numpy as np

from nnbench.contract.bounds import SHORTEST_S
from nnbench.contract.spec import flatten
from nnbench.data import arrays, seeding
from nnbench.records.worker import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nnbench.contract.backend import Backend
    from nnbench.contract.spec import NetworkSpec
    from nnbench.data.workloads import Workload
    from nnbench.records.cells import CellSpec, Setup
    from nnbench.records.worker import StoredSplits

PARTS = 3  #: of an epoch, at least
FRAME_BYTES = 1 << 16  #: of an answer, its arrays apart
FLOAT_BYTES = 4
RANDOM = SystemRandom()


@dataclass(frozen=True)
class Assignment:
    """What all cells of a block train. A worker is told as much of it as it needs, and when it does."""

    workload: Workload
    seed: int
    splits: StoredSplits

    @cached_property
    def examples(self) -> int:
        """Of the training split."""
        return self.splits.train.inputs.shape[0]

    @cached_property
    def network(self) -> NetworkSpec:
        """The network for this dataset."""
        return self.workload.network(self.splits.train.inputs.shape[1], self.splits.outputs)

    @cached_property
    def batch_size(self) -> int:
        """Examples in a full batch."""
        return min(self.workload.batch_size or self.examples, self.examples)

    @cached_property
    def layers(self) -> bytes:
        """The initial parameters."""
        drawn = seeding.initial_layers(self.network, self.workload.initial, self.seed)
        return b"".join(array.tobytes() for array in flatten(drawn))

    @property
    def images(self) -> int:
        """Training examples of all epochs."""
        return self.examples * self.workload.epochs

    def orders(self) -> Iterator[NDArray[np.int64]]:
        """Yield the order of the training examples, epoch after epoch."""
        return seeding.epoch_orders(self.workload, self.examples, self.seed)

    @cached_property
    def spans(self) -> bool:
        """Whether a part goes on over the end of an epoch, which is too short to be cut."""
        steps = -(-self.examples // self.batch_size)
        return steps < PARTS and self.examples % self.batch_size == 0

    @property
    def is_foreseen(self) -> bool:
        """Whether each batch can be known before it is asked for: then a worker gets no time off the clock to train on."""
        return not self.workload.shuffle or self.batch_size == self.examples

    @cached_property
    def descriptors(self) -> list[int]:
        """Of the arrays that a worker gets."""
        train, test = self.splits.train, self.splits.test
        given = (train.inputs, train.labels, train.targets, test.inputs)
        return [array.descriptor for array in given if array]

    @property
    def dataset_bytes(self) -> int:
        """Of these arrays."""
        return sum(os.fstat(each).st_size for each in self.descriptors)

    def job(self, spec: CellSpec) -> Job:
        """Return what a worker is told before it trains."""
        return Job(
            backend=spec.backend,
            options=spec.options,
            handicap=spec.handicap,
            network=self.network,
            batch_size=self.batch_size,
            cpus=spec.cpus,
            train=self.splits.train,
            test=self.splits.test.inputs,
        )

    @cached_property
    def nonzero_share(self) -> float:
        """Of all training inputs."""
        inputs = arrays.view(self.splits.train.inputs)
        return float(np.count_nonzero(inputs) / inputs.size)

    def told(self, setup: Setup, backend: Backend) -> Setup:
        """Return what a worker says of its set-up, with what guards rely on: that is not a worker's to say."""
        network = self.network
        return replace(
            setup,
            epoch_images=self.examples,
            parameters=network.parameter_count,
            device=backend.device,
            operations=network.operations,
            traffic_bytes=network.traffic(self.batch_size) / self.batch_size,
            nonzero_share=self.nonzero_share if backend.skips_zeros else 1.0,
        )

    @cached_property
    def largest(self) -> int:
        """Bytes of the longest answer: parameters and moments, the logits, or losses."""
        state = 3 * self.network.parameter_count
        logits = self.splits.test.inputs.shape[0] * self.splits.outputs
        steps = self.images // self.batch_size + self.workload.epochs
        return FRAME_BYTES + FLOAT_BYTES * max(state, logits, steps)

    def draw(self, position: int, limit: int, seconds: float, pace_s: float) -> int:
        """Draw how many examples the next part has.

        Between half and all of what may be: of ``limit`` steps, of those that fit into so many
        seconds at the latest pace, and of a third of an epoch, or of all epochs if it ``spans`` them.
        """
        whole = self.images if self.spans else self.examples
        left = whole - position % whole
        third = -(-whole // self.batch_size // PARTS)
        most = max(1, min(limit, third, int(seconds / max(pace_s, SHORTEST_S))))
        return min(left, RANDOM.randint(-(-most // 2), most) * self.batch_size)

    def pieces(self, position: int, images: int) -> Iterator[tuple[int, int]]:
        """Yield the epochs that a part lies in, and how many of its examples each has."""
        while images:
            number, done = divmod(position, self.examples)
            taken = min(images, self.examples - done)
            yield number + 1, taken
            position, images = position + taken, images - taken


def draw(whole: int, count: int) -> bytes:
    """Draw examples that nobody could know before."""
    return np.array(RANDOM.sample(range(whole), count), np.int64).tobytes()
