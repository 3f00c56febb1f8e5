"""The command, also as ``python -m nnbench``; it can say in one line that it cannot even be imported."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback


def main() -> None:
    """Run the command, unless a file of the user's stands in the place of a module that it needs."""
    try:
        from nnbench.cli import main as run
    except Exception as error:
        if not (path := in_the_way(error)):
            raise
        why = f"{path} takes the place of a module that it needs ({type(error).__name__}: {error})"
        sys.stderr.write(f"nnbench: error: cannot start: {why}; rename it, or mend PYTHONPATH\n")
        sys.exit(2)
    run()


def in_the_way(error: Exception) -> str | None:
    """Return a file that was imported from where Python looks before it looks where its own modules are.

    These folders are those of PYTHONPATH, and with ``python -m`` the current one.
    """
    own = sysconfig.get_path("stdlib")
    first = sys.path[: sys.path.index(own)] if own in sys.path else []
    folders = tuple(os.path.join(os.path.abspath(each), "") for each in first)  # noqa: PTH100, PTH118 - as texts
    modules = [
        str(getattr(module, "__file__", None))
        for name, module in [*sys.modules.items()]
        if name.partition(".")[0] not in {"nnbench", "__main__"}
    ]
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised = [str(getattr(error, "filename", None)), *frames[::-1]]
    here = os.path.dirname(__file__)  # noqa: PTH120 - likewise
    found = (each for each in (*raised, *modules) if each.startswith(folders))
    return next((each for each in found if not each.startswith(here)), None)


if __name__ == "__main__":
    main()
