"""What has the name of a file and is none, and what is said of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: How to make it at a path, and why it cannot be read.
NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda _: None, "No such file or directory"),
    "folder": (os.mkdir, "Is a directory"),
    "pipe": (os.mkfifo, "it is no regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
    "loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
}
