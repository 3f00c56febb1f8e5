"""Steps that are recorded once and replayed on other rows, as a CUDA graph is.

A replay does what was recorded on the same memory, and runs no Python. So all that changes from
step to step lies in tensors that stay where they are: parameters, moments and count of steps, and
for each chunk the numbers of its rows and its losses. An epoch copies its order to the device once;
each chunk is then handed its part of it. Only record_graph, at the end, knows CUDA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nnbench import BackendUnavailableError
from nnbench_torch.autograd import AutogradNetwork
from nnbench_torch.handwritten import HandwrittenNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import NetworkSpec
    from nnbench_torch.network import Data, TorchNetwork

    #: returns what does the work again; recording may do it any number of times
    Recorder = Callable[[Callable[[], None]], Callable[[], None]]

STEPS = 64  #: in a chunk; a whole epoch's recording would hold gigabytes


class Chunk:
    """Some full batches in a row: their steps, recorded."""

    def __init__(self, steps: int, batch_size: int, device: torch.device) -> None:
        self.rows = torch.zeros(steps, batch_size, dtype=torch.int64, device=device)
        self.losses = torch.zeros(steps, device=device)
        self.replay: Callable[[], None]

    def train(self, order: torch.Tensor) -> torch.Tensor:
        """Train on the rows in ``order``, and return the losses, shape (steps,)."""
        self.rows.copy_(order.view_as(self.rows))
        self.replay()
        return self.losses.clone()


class RecordedNetwork(HandwrittenNetwork):
    """The steps by hand, replayed in chunks; the phases and a smaller last batch run as they are."""

    def __init__(self, spec: NetworkSpec, device: str, record: Recorder) -> None:
        super().__init__(spec, device)
        self._record_work = record
        self._recorded_on: tuple[Data | None, int] = None, 0
        self._chunks: dict[int, Chunk] = {}

    @torch.inference_mode()
    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        lengths = chunk_lengths(len(order) // batch_size)
        if lengths:
            self._record_all(data, batch_size)
        losses = []
        with self._device_clock():
            rows = self._to_device(order)
            for chunk in (self._chunks[length] for length in lengths):
                losses.append(chunk.train(rows[: chunk.rows.numel()]))
                rows = rows[chunk.rows.numel() :]
            if len(rows):
                losses.append(torch.as_tensor(self.step(self.batch(data, rows))).view(1))
            return torch.cat(losses).cpu().numpy()

    def _record_all(self, data: Data, batch_size: int) -> None:
        """Record both lengths at once, in the warm-up, unless that was done for these data."""
        recorded, size = self._recorded_on
        if recorded is not data or size != batch_size:
            self._chunks = {n: self._record(data, n, batch_size) for n in (STEPS, 1)}
            self._recorded_on = data, batch_size

    def _record(self, data: Data, steps: int, batch_size: int) -> Chunk:
        """Record a chunk, and leave the network as it was."""
        chunk = Chunk(steps, batch_size, self.device)
        self._workspace(batch_size)  # what outlives the recording is allocated before it

        def work() -> None:
            for rows, loss in zip(chunk.rows, chunk.losses, strict=True):
                loss.copy_(torch.as_tensor(self.step(self.batch(data, rows))))

        state = [*self._optimizer.parameters, *self._optimizer.state]
        saved = [tensor.clone() for tensor in state]
        chunk.replay = self._record_work(work)
        for tensor, old in zip(state, saved, strict=True):
            tensor.copy_(old)
        return chunk


def chunk_lengths(steps: int) -> list[int]:
    """Cut a number of steps into chunks of two lengths, so that two recordings serve any number."""
    return [STEPS] * (steps // STEPS) + [1] * (steps % STEPS)


def record_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Capture work in a CUDA graph, after it ran once: libraries set themselves up then.

    It records on a stream of its own; replays run on the caller's stream, where its events are.
    """
    here = torch.cuda.current_stream()
    side = torch.cuda.Stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        work()
    here.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def make_cuda_network(
    spec: NetworkSpec, *, fused: bool = True, graph: bool = False
) -> TorchNetwork:
    """Return the network of ``torch-cuda``.

    Raises
    ------
    BackendUnavailableError
        Without a GPU; or for a graph without the fused Adam: the other one counts its steps in Python.
    """
    if not graph:
        return AutogradNetwork(spec, "cuda", fused=fused)
    if not fused:
        raise BackendUnavailableError("torch-cuda[graph=true] needs the fused optimizer")
    return RecordedNetwork(spec, "cuda", record_graph)
