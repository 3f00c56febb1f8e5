"""The ``cuda`` backend: a network that stays on the chip of an NVIDIA GPU while it is trained."""

from typing import Any

from nnbench import Backend, NetworkSpec, hookimpl
from nnbench.contract.gpu import why_no_gpu


def supports(spec: NetworkSpec, batch_size: int) -> str | None:  # noqa: ARG001 - of any size
    """Return why a network does not stay on the chip of any GPU, or None."""
    from nnbench_cuda.plan import why_too_large

    return why_too_large(spec)


def describe(network: Any) -> dict[str, str]:
    """Return what results say of the GPU, and of how the network lies on it."""
    plan = network.plan
    together = "cluster" if plan.clusters else "cooperative launch"
    return {
        "gpu": network.gpu.name,
        "blocks": f"{plan.blocks} in a {together}",
        "images": str(plan.chunk),
    }


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``cuda``."""
    return [
        Backend(
            name="cuda",
            summary="CUDA C++ on an NVIDIA GPU: one launch trains a part, parameters stay on the chip",
            create="nnbench_cuda.network:make_network",
            requires=("cuda-bindings",),
            libraries=("cuda-bindings", "nvidia-cuda-nvrtc"),
            unavailable=why_no_gpu,
            supports=supports,
            environment=("CUDA_VISIBLE_DEVICES",),
            record=describe,
            device="cuda",
            compiles=True,
        )
    ]
