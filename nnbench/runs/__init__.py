"""A run: what was asked, the order of its cells, and what is kept on disk."""
