"""A plugin whose import fails, with a message of two lines."""

raise ImportError("libfoo.so.1: cannot open\nshared object file")
