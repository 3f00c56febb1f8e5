"""A plugin with things that nobody could select by their names, and one of each kind that can be."""

from dataclasses import replace

from nnbench import Backend, Dataset, hookimpl
from nnbench.contract.engine import Engine
from nnbench.data import datasets, workloads

BACKENDS = ["", "a,b", "a b", "a[b=c]", "a]", "a=b", "all", "-x", "a@b", "a\n", None, 5]
OTHERS = ["", " a", "-x", "a\nb", None]


class Local(Engine):
    name = "local"
    summary = ""

    def open(self, **_):
        raise NotImplementedError


class WithoutName(Local):
    name = None  # type: ignore[assignment]  # that is its fault


@hookimpl
def nnbench_backends():
    names = [*BACKENDS, "mine/1.0+x"]
    return [Backend(name=name, summary="", create="nnbench_numpy.network:X") for name in names]


@hookimpl
def nnbench_workloads():
    [toy] = (each for each in workloads.nnbench_workloads() if each.name == "toy-sigmoid")
    return [replace(toy, name=name) for name in [*OTHERS, "toy-sigmoid+epochs=1"]]


@hookimpl
def nnbench_datasets():
    return [Dataset(name=name, summary="", load=datasets.load_toy) for name in [*OTHERS, "a set"]]


@hookimpl
def nnbench_executors():
    return [WithoutName(), Local()]
