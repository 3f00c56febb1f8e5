"""Observers that ship with nnbench, each of them a plugin that does nothing unless it is set up."""
