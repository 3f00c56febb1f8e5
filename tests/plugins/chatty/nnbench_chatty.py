"""A plugin that prints wherever it runs: Python's way, past it, from a child, and at the end."""

import atexit
import os
import subprocess
import sys

from nnbench import Backend, hookimpl

print("chatty: said at its import")  # noqa: T201 - that is its fault
os.write(1, b"chatty: said past Python\n")
subprocess.run([sys.executable, "-c", "print('chatty: said by a child')"], check=True)
atexit.register(print, "chatty: said at the end")


@hookimpl
def nnbench_backends():
    print("chatty: said in a hook")  # noqa: T201 - as above
    return [
        Backend(name="chatty", summary="it prints", create="nnbench_numpy.network:NumpyNetwork")
    ]
