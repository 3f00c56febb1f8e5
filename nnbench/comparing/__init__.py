"""Two runs, two revisions, and what this machine can tell apart."""
