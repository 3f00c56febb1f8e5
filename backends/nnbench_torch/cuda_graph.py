"""CUDA graphs: one launch for all kernels of a chunk of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nnbench import BackendUnavailableError
from nnbench_torch.recording import RecordedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench import NetworkSpec


class CudaGraphs:
    """Records on a stream of its own; replays run on the caller's stream, where its events are."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture the work in a graph, after it ran once: libraries set themselves up then."""
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


def make_graph_network(spec: NetworkSpec, *, fused: bool) -> RecordedNetwork:
    """Return the network of ``torch-cuda[graph=true]``.

    Raises
    ------
    BackendUnavailableError
        Without a GPU, or without the fused Adam: the other one counts its steps in Python.
    """
    if not fused:
        raise BackendUnavailableError("torch-cuda[graph=true] needs the fused optimizer")
    return RecordedNetwork(spec, "cuda", CudaGraphs())
