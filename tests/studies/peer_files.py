"""What the tools of :mod:`tests.studies.peers` are given: a version of the training, and files that each asks for.

Dictionaries hold whole files by name; the other texts are templates.
"""

from __future__ import annotations

import json

#: Versions differ in size, so that Python never takes the bytecode of one for that of another.
VERSION = """\
from tests.studies.training import Training
train = Training({share:g})
"""

#: A version for those who time processes.
COMMAND = """\
from tests.studies.training import Training, slow_process
Training(0)()
slow_process({share:g})
"""

PYTEST = {
    "pytest.ini": "[pytest]\n",
    "test_training.py": """\
from version import train
def test_training(benchmark):
    benchmark(train)
""",
}

PYPERF = {
    "training.py": """\
import pyperf
from version import train
pyperf.Runner().bench_func("training", train)
""",
}

ASV = {
    "asv.conf.json": json.dumps(
        {
            "version": 1,
            "project": "training",
            "repo": ".",
            "branches": ["main"],
            "environment_type": "virtualenv",
            "build_command": [],
            "install_command": ["in-dir={build_dir} python install.py"],
            "uninstall_command": [],
        }
    ),
    "install.py": """\
import shutil, sysconfig
shutil.copy("version.py", sysconfig.get_path("purelib"))
""",
    "benchmarks/__init__.py": "",
    "benchmarks/training.py": """\
from version import train
def time_training():
    train()
""",
}

BENCHOPT = {
    "objective.py": """\
from benchopt import BaseObjective
class Objective(BaseObjective):
    name = "Training"
    sampling_strategy = "run_once"
    def set_data(self):
        pass
    def get_objective(self):
        return {}
    def get_one_result(self):
        return {"trained": True}
    def evaluate_result(self, trained):
        return {"value": 0.0}
""",
    "datasets/mnist.py": """\
from benchopt import BaseDataset
class Dataset(BaseDataset):
    name = "MNIST"
    def get_data(self):
        return {}
""",
}

SOLVER = """\
from benchopt import BaseSolver
from tests.studies.training import Training
class Solver(BaseSolver):
    name = "{name}"
    def set_objective(self):
        self.train = Training({share:g})
    def warm_up(self):
        self.train()
    def run(self, _):
        self.train()
    def get_result(self):
        return dict(trained=True)
"""

#: Prints the median times of benchopt's result.
MEDIANS = """\
import json, pandas
times = pandas.read_parquet("found.parquet").groupby("solver_name").time
print(json.dumps(times.median().to_dict()))
"""
