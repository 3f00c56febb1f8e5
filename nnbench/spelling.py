"""What users once wrote in another way: it goes on working, and a line says what to write now."""

from __future__ import annotations

import warnings

FORMER = {
    "--table-format": "--format",
    "peak_memory": "peak_memory_bytes",
    "train_s": "train_s_per_epoch",
}


def current(name: str) -> str:
    """Return a name as it is written now."""
    if name not in FORMER:
        return name
    text = f"{name} is deprecated: write {FORMER[name]}"
    warnings.warn(text, FutureWarning, stacklevel=2)  # Python shows users no DeprecationWarning
    return FORMER[name]


def token(text: str) -> str:
    """Return an option as it is written now; click takes and gives it without its dashes."""
    return current(f"--{text}").removeprefix("--")
