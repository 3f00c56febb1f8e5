"""A server of SSH on this host, for tests, and a client that knows two names for it: ``lab1`` and ``lab2``."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.backends.remote.slurm import PATH, WITH_US, free_ports
from tests.plugins.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = ("sshd", "ssh", "ssh-keygen")
SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""
CLIENT = """
Host lab1 lab2
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/user
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known
"""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=PATH)]


@contextmanager
def running(folder: Path, variables: dict[str, str]) -> Iterator[Path]:
    """Give the folder of an ``ssh`` that finds the server, as a user's does who has configured it.

    Parameters
    ----------
    folder
        Where it keeps everything; it is made.
    variables
        Of the environment of whatever is started through it.
    """
    folder.mkdir()
    [port] = free_ports(1)
    about = {"port": port, "folder": folder, "user": getpass.getuser()}
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    given = " ".join(f'"{key}={value}"' for key, value in variables.items())
    (folder / "server").write_text(SERVER.format_map(about) + f"SetEnv {given}\n")
    (folder / "client").write_text(CLIENT.format_map(about))
    key = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {key}")
    client = folder / "bin" / "ssh"  # ssh asks no variable where its configuration is
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    client.chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it insists
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *WITH_US,
                str(shutil.which("sshd", path=PATH)),
                "-D",
                "-e",
                "-f",
                str(folder / "server"),
            ],
            stderr=log,
        )
    try:
        wait_until(lambda: answers(port))
        yield client.parent
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
