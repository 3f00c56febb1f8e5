"""The ``torch-cpu`` and ``torch-cuda`` backends: autograd and torch.optim on resident data."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nnbench import Backend, Option, hookimpl
from nnbench_torch.availability import why_no_cuda, why_no_torch

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_torch.network import TorchNetwork

OPTIONS = {"fused": Option(default=True, help="optimizer step in one kernel")}


def create(device: str, spec: NetworkSpec, *, fused: bool = True) -> TorchNetwork:
    """Import torch only when a cell starts."""
    from nnbench_torch.network import TorchNetwork

    return TorchNetwork(spec, device, fused=fused)


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register one backend for each device."""
    return [
        Backend(
            name="torch-cpu",
            summary="PyTorch on the CPU: autograd and torch.optim",
            create=partial(create, "cpu"),
            unavailable=why_no_torch,
            options=OPTIONS,
            libraries=("torch",),
        ),
        Backend(
            name="torch-cuda",
            summary="PyTorch on an NVIDIA GPU: the same code",
            create=partial(create, "cuda"),
            unavailable=why_no_cuda,
            options=OPTIONS,
            libraries=("torch",),
            device="cuda",
        ),
    ]
