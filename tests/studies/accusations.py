"""Is a right backend ever accused? Every built-in backend on every workload, with all parts proved.

``python -m tests.studies.accusations --rounds 20`` makes one run for each workload and each group of
backends; each round has a random seed. It ends with 1 if any cell is invalid. ``python``, other ``--slow`` ones,
and all on ``mnist-wide``, train some ``--steps`` on the first images, since a budget would end their rounds, too.
"""

from __future__ import annotations

import argparse
import struct
import sys

import numpy as np

from nnbench import catalog
from nnbench.data import datasets
from tests.studies import proofs

NAME = "accusations"
SLOW = ("python", "torch-compile")
SHORT = ("mnist-wide",)  #: workloads on which all train the first images alone
#: Right, but unusual ones, by workload.
HONEST = {
    "mnist": (
        *("takes-other-side", "sums-in-other-order", "computes-in-float64", "owns-its-step"),
        *("shows-no-state", "says-tf32", "says-bf16"),
    ),
    "mnist-wide": ("takes-other-side",),
}


def main() -> None:
    """Train, count, print, and judge."""
    workloads = [*catalog.workloads()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workloads", nargs="+", default=workloads, choices=workloads)
    parser.add_argument("--slow", nargs="*", default=SLOW, help="backends that train few steps")
    parser.add_argument("--steps", type=int, default=24, help="of those")
    options = parser.parse_args()
    known = catalog.backends().items()
    able = [n for n, b in known if not (b.named_only or catalog.why_unavailable(b))]
    quick = [name for name in able if name not in options.slow]
    slow = [name for name in able if name in options.slow]
    found = {}
    for workload in options.workloads:
        few = shortened(workload, options.steps)
        groups = {"quick": [*quick, *HONEST.get(workload, ())], "slow": slow}
        cells = []
        for label, names in [each for each in groups.items() if each[1]]:
            limit = few if label == "slow" or workload in SHORT else []
            asked = ["-w", workload, "-r", options.rounds, "--proof", "full", *limit]
            cells += proofs.run(f"{NAME}-{workload}-{label}", *asked, "-b", ",".join(names))
        found[workload] = proofs.count(cells)
        proofs.write(NAME, found)
        report(workload, found[workload])
    sys.exit(any(each["found"] for counts in found.values() for each in counts.values()))


def shortened(name: str, steps: int) -> list[object]:
    """Return options that let a workload train so many steps: one epoch of the first images of MNIST."""
    workload = catalog.workloads()[name]
    if workload.dataset != "mnist" or not workload.batch_size:
        return []
    splits = datasets.load_mnist()
    examples = steps * workload.batch_size + workload.validation
    folder = proofs.RAW / f"first-{examples}"
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"train": examples, "t10k": len(splits.test.inputs)}
    for (prefix, count), split in zip(counts.items(), (splits.train, splits.test), strict=True):
        assert split.labels is not None
        images = (255 * split.inputs[:count]).round().reshape(count, 28, 28)
        for kind, array in (("images-idx3", images), ("labels-idx1", split.labels[:count])):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            path = folder / f"{prefix}-{kind}-ubyte"
            path.write_bytes(head + array.astype(np.uint8).tobytes())
    return ["--dataset", folder, "--epochs", 1]


def report(workload: str, counts: dict[str, dict[str, object]]) -> None:
    """Print a line for each backend."""
    for name, each in counts.items():
        text = f"{each['found']} of {each['cells']} invalid, {each['status']}"
        proved = f"{each['steps_proved']} of {each['steps_trained']} steps proved"
        print(f"{workload}: {name}: {text}, {proved}, {each['flips']} flips", flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
