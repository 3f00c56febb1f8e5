"""Training in parallel: each rank trains on its share of every batch, by DistributedDataParallel.

Batches are the workload's: cut into shares, not one for each rank. Shares of a last, smaller batch are not all
of one size, and there may be fewer examples than ranks. DistributedDataParallel takes the mean of the ranks'
gradients, which would be wrong there. So each rank weighs the loss of its share, L2 term included, with
its part of the batch: what these sum up to is the loss of the batch. A rank without examples
has a loss of zero, and takes part all the same.

The parameters are the same in all ranks, to the bit, since all start with the same, and make
the same update with the gradients that all of them got. Each predicts its share of what is asked for: so
the proof sees the parameters of all of them.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nnbench import BackendUnavailableError, Examples, Network
from nnbench_torch.autograd import AutogradNetwork
from nnbench_torch.network import Data, make_feedforward
from nnbench_torch.ranks import Kept, Ranks, start, usable_cpus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import SupportsFloat

    from numpy.typing import NDArray

    from nnbench import Layer, NetworkSpec, OptimizerState
    from nnbench_torch.network import Parameters


class Perceptron(nn.Module):
    """The function of the parameters that a network is, as DistributedDataParallel wants it."""

    def __init__(self, spec: NetworkSpec, parameters: Parameters) -> None:
        super().__init__()
        self.leaves = nn.ParameterList(map(nn.Parameter, parameters))
        self._feedforward = make_feedforward(spec)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        return self._feedforward(list(self.leaves), inputs)


class ShareNetwork(AutogradNetwork):
    """The network of one rank: ``torch-eager``, but for whose gradients it updates with."""

    def __init__(self, spec: NetworkSpec, device: str) -> None:
        super().__init__(spec, device)
        module = Perceptron(spec, self._parameters)
        self._leaves = [*module.leaves]
        self._weights = self._leaves[:: 1 + spec.bias]
        self._parallel = DistributedDataParallel(
            module, broadcast_buffers=False, gradient_as_bucket_view=True
        )
        self._rank, self._ranks = distributed.get_rank(), distributed.get_world_size()
        self._part = 1.0  # of the latest batch that is this rank's
        # After a first backprop the gradients are arranged anew, and may be summed up in another order.
        self._parallel(torch.zeros(0, spec.sizes[0], device=device)).sum().backward()

    def batch(self, data: Data, index: NDArray[np.int64] | Tensor) -> Data:
        rows = self._to_device(index)
        own = rows.tensor_split(self._ranks)[self._rank]
        self._part = len(own) / len(rows)
        return super().batch(data, own)

    def feedforward(self, batch: Data) -> Tensor:
        self._logits = cast("Tensor", self._parallel(batch.inputs))
        return self._logits

    def backprop(self, batch: Data) -> Tensor:
        """Compute the gradients of the whole batch; return this rank's part of its loss."""
        if self._part:
            loss = self._loss(self._logits, batch.targets, self._weights) * self._part
        else:
            loss = self._logits.sum()  # of nothing
        for leaf in self._leaves:
            leaf.grad = None
        (loss * self._ranks).backward()  # of which the mean over the ranks is taken
        self._gradients = [cast("Tensor", leaf.grad) for leaf in self._leaves]
        return loss.detach()

    def losses_to_host(self, losses: Sequence[SupportsFloat]) -> NDArray[np.float32]:
        """Sum the ranks' parts up, once for all steps."""
        parts = torch.stack(cast("list[Tensor]", losses))
        distributed.all_reduce(parts)
        return parts.cpu().numpy()


class DistributedNetwork(Network[Kept, Kept]):
    """All ranks' networks as one: it has them called, and joins what they answer."""

    def __init__(self, spec: NetworkSpec, started: Ranks) -> None:
        self.ranks = started
        self._network = started.keep(ShareNetwork, spec, started.device)

    def load(self, layers: Sequence[Layer]) -> None:
        self.ranks.first(ShareNetwork.load, self._network, list(layers))

    def dump(self) -> list[Layer]:
        layers: list[Layer] = self.ranks.first(ShareNetwork.dump, self._network)
        return layers

    def optimizer_state(self) -> OptimizerState | None:
        state: OptimizerState | None = self.ranks.first(ShareNetwork.optimizer_state, self._network)
        return state

    def place(self, examples: Examples) -> Kept:
        """Hand the arrays over in files: in a pipe they would be there three times for a while."""
        with TemporaryDirectory(prefix="nnbench-examples-") as folder:
            for name, array in examples._asdict().items():
                if array is not None:
                    np.save(Path(folder, name), array)
            return self.ranks.keep(place, self._network, folder)

    def batch(self, data: Kept, index: NDArray[np.int64]) -> Kept:
        return self.ranks.keep(ShareNetwork.batch, self._network, data, index)

    def feedforward(self, batch: Kept) -> NDArray[np.float32]:
        return np.concatenate(self.ranks.every(feedforward, self._network, batch))

    def backprop(self, batch: Kept) -> float:
        return float(sum(self.ranks.every(backprop, self._network, batch)))

    def update(self) -> None:
        self.ranks.first(ShareNetwork.update, self._network)

    def gradients(self) -> list[Layer]:
        gradients: list[Layer] = self.ranks.first(ShareNetwork.gradients, self._network)
        return gradients

    def predict(self, batch: Kept) -> NDArray[np.float32]:
        return np.concatenate(self.ranks.every(ShareNetwork.predict, self._network, batch))

    def train_epoch(
        self, data: Kept, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        losses: NDArray[np.float32] = self.ranks.first(
            ShareNetwork.train_epoch, self._network, data, order, batch_size
        )
        return losses

    def synchronize(self) -> None:
        self.ranks.first(ShareNetwork.synchronize, self._network)

    def device_seconds(self) -> float | None:
        seconds: float | None = self.ranks.first(ShareNetwork.device_seconds, self._network)
        return seconds


# What ranks call besides methods


def place(network: ShareNetwork, folder: str) -> Data:
    """Place the arrays in a folder."""
    found = {file.stem: np.load(file) for file in Path(folder).iterdir()}
    return network.place(Examples(found["inputs"], found.get("labels"), found.get("targets")))


def feedforward(network: ShareNetwork, batch: Data) -> NDArray[np.float32]:
    """Return the logits of a rank's share, in host memory."""
    return network.feedforward(batch).detach().cpu().numpy()


def backprop(network: ShareNetwork, batch: Data) -> float:
    """Return a rank's part of the loss."""
    return float(network.backprop(batch))


def make_network(spec: NetworkSpec, *, processes: int = 0) -> DistributedNetwork:
    """Return the network of ``torch-ddp``.

    Raises
    ------
    BackendUnavailableError
        If there is no CPU for each process.
    """
    return DistributedNetwork(spec, start(how_many(processes, "cpu"), "cpu"))


def make_cuda_network(spec: NetworkSpec, *, processes: int = 0) -> DistributedNetwork:
    """Return the network of ``torch-ddp-cuda``.

    Raises
    ------
    BackendUnavailableError
        If there is no GPU and no CPU for each process.
    """
    return DistributedNetwork(spec, start(how_many(processes, "cuda"), "cuda"))


def how_many(processes: int, device: str) -> int:
    """Return how many ranks to start; instead of 0, as many as can have a CPU each, and a GPU."""
    available = {"CPU": len(usable_cpus())}
    if device == "cuda":
        available["GPU"] = torch.cuda.device_count()
    if processes < 0:
        text = f"processes={processes}: write how many, or 0 for one on each CPU"
        raise BackendUnavailableError(text)
    for what, count in available.items():
        if count < max(1, processes):
            text = f"processes={processes}: each needs a {what} of its own, there: {count}"
            hint = f" (write threads={processes}, too)" if what == "CPU" else ""
            raise BackendUnavailableError(text + hint)
    return processes or min(available.values())
