"""Every noun that crosses a pipe or lies on disk, by who says it to whom.

What a value may be, its type says (:mod:`nnbench.contract.bounds`), and whoever decodes it checks that.
"""

#: Of what crosses the pipe, and of ``nnbench list --json`` and ``info --json``: an nnbench can run
#: the workers of another one only if both have the same number. A test demands a raise with every
#: change that an older one would misread (tests/protocol.py); a new field with a default is none.
PROTOCOL = 5
