"""A plugin whose backend needs a heavy library, and whose observer tells what the parent loaded."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from nnbench import Backend, hookimpl


def create(spec):
    import_module("heavy_library")
    return import_module("nnbench_faulty").Steady(spec)


@hookimpl
def nnbench_backends():
    return [Backend(name="heavy", summary="needs a heavy library", create=create)]


@hookimpl
def nnbench_run_finished():
    found = {"pid": os.getpid(), "modules": sorted(sys.modules)}
    Path(os.environ["NNBENCH_FAULTY_FOLDER"], "parent").write_text(json.dumps(found))
