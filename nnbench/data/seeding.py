"""Everything random, drawn once by the harness and handed to every backend alike.

All draws come from NumPy's PCG64. Each stream is a child of the seed (SeedSequence's spawn key),
so that the initial parameters, the order of examples and the order of backends are independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np

from nnbench.contract.spec import Layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import NetworkSpec
    from nnbench.data.workloads import Initial, Workload

PARAMETERS, ORDER, BLOCK, WARM_UP = range(4)  # the streams


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Return the random generator of one stream of a seed."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=stream)))


def initial_layers(spec: NetworkSpec, initial: Initial, seed: int) -> list[Layer]:
    """Draw the initial parameters, float32.

    ``uniform`` is U(-1/√fan_in, 1/√fan_in) for weights and biases, as torch.nn.Linear has it;
    ``normal`` is the standard normal distribution.
    """
    rng = generator(seed, PARAMETERS)

    def draw(fan_in: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        match initial:
            case "normal":
                return rng.standard_normal(shape).astype(np.float32)
            case "uniform":
                bound = 1 / np.sqrt(fan_in)
                return rng.uniform(-bound, bound, shape).astype(np.float32)
            case _:
                assert_never(initial)

    return [Layer(draw(i, (i, o)), draw(i, (o,)) if spec.bias else None) for i, o in spec.shapes]


def epoch_orders(workload: Workload, examples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the order of the training examples, shape (M,), epoch after epoch."""
    rng = generator(seed, ORDER)
    for _ in range(workload.epochs):
        yield rng.permutation(examples) if workload.shuffle else np.arange(examples)


def warm_up_order(examples: int, seed: int) -> NDArray[np.int64]:
    """Return an order that training will not see."""
    return generator(seed, WARM_UP).permutation(examples)


def block_order(names: Sequence[str], seed: int) -> list[str]:
    """Shuffle the backends of one block."""
    return [names[i] for i in generator(seed, BLOCK).permutation(len(names))]
