"""A plugin with an executor, which runs blocks here; its import may hang or end the process."""

import os
import time

from nnbench import hookimpl
from nnbench.execution.executor import LocalExecutor

match os.environ.get("NNBENCH_TEST_IMPORT"):
    case "hangs":
        time.sleep(600)
    case "dies":
        os._exit(3)
    case "interrupts":
        raise KeyboardInterrupt


class Elsewhere(LocalExecutor):
    name = "elsewhere"
    summary = "as if on another machine"


@hookimpl
def nnbench_executors():
    return [Elsewhere()]
