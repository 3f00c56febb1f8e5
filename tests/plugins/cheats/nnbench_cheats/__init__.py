"""Backends that cheat, one way each, and some that are right although they look as if they did.

``docs/trust.md`` names what stops each of them. Only for tests: they read and write what is not theirs.
"""

from nnbench import Backend, hookimpl

from . import ahead, harness, honest, less, machine
from .right import CHEATS

MODULES = (ahead, harness, honest, less, machine)  # each has registered its own


@hookimpl
def nnbench_backends():
    attack_whoever_lists()
    return [
        Backend(name=each.name, summary=each.summary, create=each.create, precision=each.precision)
        for each in CHEATS.values()
    ]


def attack_whoever_lists():
    """Where the parent lists plugins itself, it would find nothing wrong from now on."""
    from nnbench.proof import guards, judge
    from nnbench.records.cells import Kind, Status

    Status.INVALID.kind, Status.INVALID.counts = Kind.MEASURED, True
    for module in (guards, judge):
        for name in ("problem", "remarks", "deviation"):
            if name in vars(module):
                setattr(module, name, lambda *_, **__: None)
    machine.serve_on()
