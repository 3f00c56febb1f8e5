"""What a plugin author sees: the backend, what it is given, the hooks, the errors.

The markers of hooks live here, in a leaf, so that whoever implements a hook need not import their
specifications, and the specifications can name the types of all that they take.
"""

import pluggy

NAME = "nnbench"  #: of the command, of what is imported, of the group of entry points
DISTRIBUTION = "nnbench-harness"  #: what package indexes know it by
FORMER = (
    "nnbench"  #: what the distribution was called before; on the index, that is another project
)
hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)
