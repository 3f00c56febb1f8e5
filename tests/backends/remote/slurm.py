"""A real SLURM of several nodes on this host, for tests: munge, the controller, and a daemon for each node.

It needs no systemd, no cgroups and no root, and ends with the context. Debian and Ubuntu have it in ``slurm-wlm`` and ``munge``.
All nodes have this host's name; in a job ``SLURMD_NODENAME`` tells them apart.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from tests.plugins.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
PATH = os.pathsep.join(
    (os.environ.get("PATH", ""), "/usr/sbin", "/sbin")
)  # which not everybody has
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  #: ends a program when we do
PATIENCE_S = 10.0  #: for a daemon that is to end


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=PATH)]


class Slurm:
    """A cluster that runs.

    Parameters
    ----------
    folder
        Where it keeps everything; its path must be short, since there is a socket in it.
    nodes
        How many there are: ``n1``, ``n2`` and so on, each with one CPU.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self.env = {"SLURM_CONF": str(folder / "slurm.conf")}

    def configure(self) -> None:
        """Write the key and the configuration."""
        folder, user = self.folder, getpass.getuser()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        control, *ports = free_ports(1 + len(self.nodes))
        settings = {
            "ClusterName": "tests",
            "SlurmctldHost": f"{socket.gethostname().split('.')[0]}(127.0.0.1)",
            "SlurmctldPort": control,
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            "CredType": "cred/munge",
            "AuthInfo": f"socket={folder}/munge.socket",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": folder / "spool-%n",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmdPidFile": folder / "slurmd-%n.pid",
            "SlurmctldLogFile": folder / "slurmctld.log",
            "SlurmdLogFile": folder / "slurmd-%n.log",
            # without cgroups, which a container seldom has
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "MailProg": "/bin/true",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            # whatever this host has, and at once
            "SlurmdParameters": "config_overrides",
            "SchedulerParameters": "sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0",
            "ReturnToService": 2,
            "KillWait": 5,
            "Waittime": 0,
        }
        host = socket.gethostname().split(".")[0]
        lines = [f"{name}={value}" for name, value in settings.items()]
        lines += [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=4000 State=UNKNOWN"
            for name, port in zip(self.nodes, ports, strict=True)
        ]
        lines.append(f"PartitionName=cpu Nodes={','.join(self.nodes)} Default=YES State=UP")
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (folder / name).mkdir()

    def daemons(self) -> Iterator[list[str]]:
        """Yield the commands that run it."""
        files = {
            "socket": "socket",
            "key-file": "key",
            "log-file": "log",
            "pid-file": "pid",
            "seed-file": "seed",
        }
        options = [f"--{option}={self.folder}/munge.{name}" for option, name in files.items()]
        yield ["munged", "--foreground", "--force", *options]
        yield ["slurmctld", "-D"]
        for node in self.nodes:
            yield ["slurmd", "-D", "-N", node]

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a daemon, which ends with this process."""
        with (self.folder / "daemons.log").open("ab") as log:
            return subprocess.Popen(
                [*WITH_US, *command],
                env={**os.environ, **self.env, "PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ask(self, *command: str) -> str:
        """Return what one of its commands says."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.env, "PATH": PATH},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    def is_up(self) -> bool:
        """Tell whether all nodes wait for jobs."""
        return self.ask("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle"] * len(
            self.nodes
        )

    def queue(self) -> dict[str, str]:
        """Return the states of the jobs that have not ended."""
        return dict(
            line.split() for line in self.ask("squeue", "--noheader", "--format=%i %T").splitlines()
        )

    def jobs(self) -> list[dict[str, str]]:
        """Return what is known of all jobs, ended ones, too."""
        lines = self.ask("scontrol", "--oneliner", "show", "jobs").splitlines()
        pairs = ([pair.partition("=") for pair in line.split()] for line in lines if "=" in line)
        return [{key: value for key, _, value in each} for each in pairs]

    def told(self) -> str:
        """Return the ends of its logs."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(folder: Path, nodes: int = 2) -> Iterator[Slurm]:
    """Give a cluster whose nodes are idle, and end it, with all its jobs."""
    slurm = Slurm(folder, nodes)
    slurm.configure()
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in slurm.daemons():
            daemons.append(slurm.start(command))
            if command[0] == "munged":
                wait_until((folder / "munge.socket").exists)
        try:
            wait_until(slurm.is_up)
        except AssertionError:
            raise AssertionError(slurm.told()) from None
        yield slurm
    finally:
        if slurm.queue():
            slurm.ask("scancel", f"--user={getpass.getuser()}")
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(PATIENCE_S)
            daemon.kill()
            daemon.wait()
