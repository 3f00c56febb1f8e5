"""TOML files: a workload of one's own, and a whole run.

The schema of both comes from their records (``Workload``, ``RunTable``), and so do the checks.
"""
