"""A plugin whose hook lacks its marker."""


def nnbench_backends():
    return []
