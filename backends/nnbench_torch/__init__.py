"""PyTorch: ``torch-cpu`` by hand, ``torch-eager``, ``torch-compile``, ``torch-tutorial``, CUDA."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nnbench import Backend, Option, hookimpl
from nnbench_torch.availability import why_no_compiler, why_no_cuda, why_no_torch

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_torch.network import TorchNetwork

FUSED = Option(default=True, help="optimizer step in one kernel")
GRAPH = Option(default=False, help="replay recorded CUDA graphs of up to 64 steps")


# Each of these imports torch only when a cell starts.


def create_handwritten(spec: NetworkSpec, *, fused: bool = True) -> TorchNetwork:
    """Make the network of ``torch-cpu``."""
    from nnbench_torch.handwritten import HandwrittenNetwork

    return HandwrittenNetwork(spec, fused=fused)


def create_eager(spec: NetworkSpec, *, fused: bool = True) -> TorchNetwork:
    """Make the network of ``torch-eager``."""
    from nnbench_torch.autograd import AutogradNetwork

    return AutogradNetwork(spec, fused=fused)


def create_compiled(spec: NetworkSpec) -> TorchNetwork:
    """Make the network of ``torch-compile``."""
    from nnbench_torch.compiled import CompiledNetwork

    return CompiledNetwork(spec)


def create_tutorial(spec: NetworkSpec) -> TorchNetwork:
    """Make the network of ``torch-tutorial``."""
    from nnbench_torch.tutorial import TutorialNetwork

    return TutorialNetwork(spec)


def create_cuda(spec: NetworkSpec, *, fused: bool = True, graph: bool = False) -> TorchNetwork:
    """Make the network of ``torch-cuda``."""
    if graph:
        from nnbench_torch.cuda_graph import make_graph_network

        return make_graph_network(spec, fused=fused)
    from nnbench_torch.autograd import AutogradNetwork

    return AutogradNetwork(spec, "cuda", fused=fused)


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register the family."""
    member = partial(Backend, libraries=("torch",), unavailable=why_no_torch)
    return [
        member(
            name="torch-cpu",
            summary="PyTorch by hand: no autograd, every result into its buffer",
            create=create_handwritten,
            options={"fused": FUSED},
        ),
        member(
            name="torch-eager",
            summary="PyTorch, eager: autograd, resident data, a fused optimizer",
            create=create_eager,
            options={"fused": FUSED},
        ),
        member(
            name="torch-compile",
            summary="PyTorch, torch.compile of a whole step; compiles while it warms up",
            create=create_compiled,
            unavailable=why_no_compiler,
            compiles=True,
        ),
        member(
            name="torch-tutorial",
            summary="a tutorial's loop: DataLoader, a new optimizer in every step (moments kept)",
            create=create_tutorial,
        ),
        member(
            name="torch-cuda",
            summary="PyTorch on an NVIDIA GPU: autograd, or recorded graphs of torch-cpu's step",
            create=create_cuda,
            unavailable=why_no_cuda,
            options={"fused": FUSED, "graph": GRAPH},
            device="cuda",
        ),
    ]
