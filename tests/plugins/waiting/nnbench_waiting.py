"""A plugin with a backend that takes its time to tell whether it is available."""

import os
import time
from pathlib import Path

from nnbench import Backend, hookimpl


def unavailable():
    Path(os.environ["NNBENCH_FAULTY_FOLDER"], "reached").touch()
    time.sleep(600)


@hookimpl
def nnbench_backends():
    return [
        Backend(name="patient", summary="", create=lambda _: None, unavailable=unavailable)  # type: ignore[return-value]  # never called
    ]
