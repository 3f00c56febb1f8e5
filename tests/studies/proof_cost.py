"""What does the proof cost? CPU seconds of a run with it, beside the same run without.

``python -m tests.studies.proof_cost --repeats 3`` makes runs of one round of each workload under ``--proof off``,
``sampled`` and ``full``, in turn, and writes the medians of all CPU time, that of every process of a run, to
``results/proof/proof_cost.json``. What is counted as the proof's cost is the difference. A run before the first one
makes what is kept from run to run: compiled kernels, tolerances.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from nnbench import catalog
from nnbench.execution import supervisor
from tests.plugins.helpers import NNBENCH, environment
from tests.studies import proofs

NAME = "proof_cost"
MODES = ("off", "sampled", "full")
BACKENDS = "all"  #: as in a default run


def main() -> None:
    """Run, print, and write."""
    workloads = [*catalog.workloads()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backends", default=BACKENDS)
    parser.add_argument("--workloads", nargs="+", default=workloads, choices=workloads)
    options = parser.parse_args()
    found = {}
    for workload in options.workloads:
        cpu_s(workload, options.backends, "sampled")
        seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
        for _ in range(options.repeats):
            for mode in MODES:
                seconds[mode].append(cpu_s(workload, options.backends, mode))
        middle = {mode: median(each) for mode, each in seconds.items()}
        shares = {mode: middle[mode] / middle["off"] - 1 for mode in ("sampled", "full")}
        found[workload] = {"cpu_s": seconds, "share": shares}
        text = ", ".join(f"{mode} {share:+.0%}" for mode, share in shares.items())
        print(f"{workload}: {middle['off']:.1f} s of CPU time; {text}", flush=True)  # noqa: T201 - a script
        proofs.write(NAME, {"backends": options.backends, "workloads": found})


def cpu_s(workload: str, backends: str, mode: str) -> float:
    """Return the CPU time of a run of one round, with all processes that it starts."""
    proofs.RAW.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=proofs.RAW, prefix=f"{NAME}-") as folder:
        asked = ["-w", workload, "-b", backends, "-r", "1", "--proof", mode]
        command = [*NNBENCH, "run", "--no-progress", *asked, "-o", str(Path(folder) / "run")]
        process = subprocess.Popen(
            command, env=environment(**{supervisor.SHARED: ""}), stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode in proofs.FINE, f"{command}: ended with {process.returncode}"
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
