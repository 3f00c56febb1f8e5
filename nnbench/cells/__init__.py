"""One cell: what its worker does, what the parent sees of it, and whether to believe it."""
