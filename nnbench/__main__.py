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

    These folders are those of PYTHONPATH, and with ``python -m`` the current one. An environment may lie in one of
    them; so a file is of the innermost folder.
    """
    own = sysconfig.get_path("stdlib")
    folders = [os.path.join(os.path.abspath(each), "") for each in sys.path]  # noqa: PTH100, PTH118 - as texts
    first = folders[: sys.path.index(own)] if own in sys.path else []
    modules = [
        str(getattr(module, "__file__", None))
        for name, module in [*sys.modules.items()]
        if name.partition(".")[0] not in {"nnbench", "__main__"}
    ]
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised = [str(getattr(error, "filename", None)), *frames[::-1]]
    here = os.path.dirname(__file__)  # noqa: PTH120 - likewise

    def is_first(path: str) -> bool:
        return max(filter(path.startswith, folders), key=len, default="") in first

    return next(
        (each for each in (*raised, *modules) if is_first(each) and not each.startswith(here)), None
    )


if __name__ == "__main__":
    main()
