"""A plugin with a backend that fails to tell whether it is available."""

from nnbench import Backend, hookimpl


def unavailable():
    raise OSError("the driver is not talking")


@hookimpl
def nnbench_backends():
    return [
        Backend(name="mute", summary="", create=lambda _: None, unavailable=unavailable)  # type: ignore[return-value]  # never called
    ]
