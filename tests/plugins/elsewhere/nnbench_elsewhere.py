"""A plugin with an executor, whose engine carries out errands here, in threads; its import may hang or end the process."""

import os
import queue
import threading
import time

from nnbench import hookimpl
from nnbench.contract.backend import Option
from nnbench.contract.engine import Engine, Report, Session, carry_out

match os.environ.get("NNBENCH_TEST_IMPORT"):
    case "hangs":
        time.sleep(600)
    case "dies":
        os._exit(3)
    case "interrupts":
        raise KeyboardInterrupt


class Threads(Session):
    def __init__(self, count):
        self.count = count
        self.reports: queue.Queue[Report] = queue.Queue()
        self.unwanted: set[str] = set()
        self.threads: dict[str, threading.Thread] = {}

    def slots(self):
        return self.count

    def submit(self, name, errand, *, outlives):
        del outlives  # none does
        self.threads[name] = threading.Thread(target=self.carry_out, args=(name, errand))
        self.threads[name].start()

    def carry_out(self, name, errand):
        def report(lines, is_over=False):
            self.reports.put(Report(errand=name, run=name, lines=lines, is_over=is_over))

        report(carry_out(errand, report, lambda: name not in self.unwanted), is_over=True)

    def wait(self, seconds):
        try:
            return [self.reports.get(timeout=seconds)]
        except queue.Empty:
            return []

    def cancel(self, name):
        self.unwanted.add(name)

    def close(self):
        self.unwanted |= self.threads.keys()
        for thread in self.threads.values():
            thread.join()


class Elsewhere(Engine):
    name = "elsewhere"
    summary = "as if on another machine"
    options = {"workers": Option(1, "blocks at once")}  # noqa: RUF012 - it is never changed

    def open(self, **options):
        return Threads(options.get("workers", 1))


@hookimpl
def nnbench_executors():
    return [Elsewhere()]
