"""``python -m nnbench``."""

from nnbench.cli import main

main()
