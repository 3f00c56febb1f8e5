"""A plugin that patches nnbench wherever it is loaded, and writes down where that is and what it sees."""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import nnbench.data.datasets
import nnbench.figures.metrics
import nnbench.figures.statistics
import nnbench.runs.store
from nnbench import Dataset, catalog, hookimpl
from nnbench.data.datasets import load_toy

PATCHED = {
    nnbench.data.datasets: ["digest", "load_toy"],
    nnbench.figures.metrics: ["epoch_s"],
    nnbench.figures.statistics: ["compare"],
    nnbench.runs.store: ["append", "create"],
}
MODE = os.environ.get("NNBENCH_TEST_OBSERVER", "")


def write(name, line):
    with Path(os.environ["NNBENCH_FAULTY_FOLDER"], name).open("a") as file:
        file.write(line + "\n")


def mine(*_arguments, **_more):
    raise AssertionError("the patch of a plugin was called")


def patch():
    for module, names in PATCHED.items():
        for name in names:
            setattr(module, name, mine)


def load():
    patch()
    return load_toy()


def see(hook, **arguments):
    write("seen", json.dumps({"pid": os.getpid(), "hook": hook, **arguments}))


@hookimpl
def nnbench_backends():
    patch()
    shorter = {name: replace(each, epochs=1) for name, each in catalog.workloads().items()}
    vars(catalog)["workloads"] = lambda: shorter
    vars(catalog)["why_unavailable"] = lambda _backend: "out of order"
    return []


@hookimpl
def nnbench_datasets():
    return [Dataset(name="meddled", summary="the toy, and a patch", load=load)]


@hookimpl
def nnbench_run_started(run, folder):
    see("run_started", run=type(run).__name__, folder=type(folder).__name__)
    if MODE == "prints":
        print("hello from an observer")  # noqa: T201 - that is the point


@hookimpl
def nnbench_cell_started(spec):
    see("cell_started", seed=spec.seed)
    if MODE == "hangs":
        time.sleep(600)
    if MODE == "dies":
        os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def nnbench_cell_event(event):
    epoch = getattr(event, "epoch", None)
    loss = getattr(event, "loss", None)
    parts = len(getattr(event, "parts", getattr(epoch, "parts", [])))
    see(type(event).__name__, loss=loss, losses=getattr(epoch, "losses", []), parts=parts)


@hookimpl
def nnbench_cell_finished(result):
    see("cell_finished", seed=result.seed, losses=result.losses, status=result.status)


@hookimpl
def nnbench_run_finished():
    see("run_finished", argv=sys.argv)


write("imported", str(os.getpid()))
