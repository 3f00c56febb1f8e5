"""A plugin with datasets of which each goes wrong in another way when it is loaded."""

import os
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from nnbench import Dataset, Examples, Splits, hookimpl

INPUTS = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([0, 1, 0, 1])
STAYS = """
import os, sys, time
from pathlib import Path
if not os.fork():
    os.setsid()
    if not os.fork():
        Path(sys.argv[1], "daemon").write_text(str(os.getpid()))
        time.sleep(600)
"""


def make(inputs=INPUTS, labels=LABELS, targets=None, test=None, outputs=2, classes=()):
    examples = Examples(inputs, labels, targets)
    return Splits(examples, examples if test is None else test, outputs, classes)


def hang():
    time.sleep(600)


def die():
    os._exit(3)


def kill():
    os.abort()


def leave():
    sys.exit("I am off")


def complain():
    print("on the way")  # noqa: T201 - that is the point
    warnings.warn("there are newer files", UserWarning, stacklevel=1)
    return make()


def start_daemon():
    folder = os.environ["NNBENCH_FAULTY_FOLDER"]
    subprocess.run([sys.executable, "-c", STAYS, folder], check=True)
    while not Path(folder, "daemon").exists():
        time.sleep(0.01)
    return make()


def patch():
    from nnbench.data import datasets
    from nnbench.execution import loading

    vars(datasets)["digest"] = lambda _splits: "0" * 64
    vars(loading)["check"] = lambda *_: None
    return make()


def swap():
    return make(labels=LABELS[::-1])


def changed(**arguments):
    return partial(make, **arguments)


DATASETS = {
    "hanging": hang,
    "dying": die,
    "aborting": kill,
    "leaving": leave,
    "complaining": complain,
    "daemonic": start_daemon,
    "patching": patch,
    "plain": make,
    "backwards": swap,
    "doubles": changed(inputs=INPUTS.astype(np.float64)),
    "short labels": changed(labels=LABELS.astype(np.int32)),
    "flat": changed(inputs=INPUTS[:, 0]),
    "few labels": changed(labels=LABELS[:2]),
    "wild labels": changed(labels=LABELS * 2),
    "negative labels": changed(labels=LABELS - 1),
    "nothing": changed(labels=None),
    "infinite": changed(inputs=np.where(INPUTS > 3, np.float32("nan"), INPUTS)),
    "narrow test": changed(test=Examples(INPUTS[:, :2].copy(), LABELS, None)),
    "narrow targets": changed(labels=None, targets=INPUTS[:, :1].copy()),
    "infinite targets": changed(labels=None, targets=np.full((4, 2), -np.inf, np.float32)),
    "empty": changed(inputs=INPUTS[:0], labels=LABELS[:0]),
    "objects": changed(labels=LABELS.astype(object)),
    "named": changed(classes=(5, 7)),
    "few classes": changed(classes=(5,)),
    "negative classes": changed(classes=(-1, 1)),
    "worded classes": changed(classes=("cat", "dog")),
    "no splits": lambda: 7,
}


@hookimpl
def nnbench_datasets():
    return [Dataset(name=name, summary="", load=load) for name, load in DATASETS.items()]
