"""The tables of a run: frames of numbers, columns, text."""
