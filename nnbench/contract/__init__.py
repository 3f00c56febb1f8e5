"""What a plugin author sees: the backend, what it is told, the hooks, the errors.

The markers of hooks live here, in a leaf, so that whoever implements a hook need not import their
specifications, and the specifications can name the types of all that they take.
"""

import pluggy

NAME = "nnbench"  #: of the group of entry points, too
hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)
