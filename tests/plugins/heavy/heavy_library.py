"""Stands for a library that takes seconds to import; it writes down which process did."""

import os
from pathlib import Path

with Path(os.environ["NNBENCH_FAULTY_FOLDER"], "imported").open("a") as file:
    file.write(f"{os.getpid()}\n")
