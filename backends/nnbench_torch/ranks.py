"""Processes that torchrun's agent has started, and that do in step what this process tells them.

The agent is torch's own (``torch.distributed.launcher``), and runs in a thread. It starts the ranks, watches
them, and says how one has ended. They reach each other over the loopback interface and meet through files: no
port is fixed, and nobody has to know the name of this machine. Nothing here knows what a rank trains.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import socket
import traceback
import weakref
from collections import deque
from contextlib import suppress
from functools import cache
from itertools import count
from multiprocessing.connection import Pipe, wait
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import distributed

from nnbench import BackendUnavailableError
from nnbench.prctl import die_with_parent

if not distributed.is_available():
    raise BackendUnavailableError("the installed torch is built without torch.distributed")

from torch.distributed import FileStore, HashStore  # type: ignore[attr-defined]  # documented there
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

COMMUNICATION = {"cpu": "gloo", "cuda": "nccl"}
LOOPBACK = "127.0.0.1"
MEETING = "nnbench-one-machine"  #: the name of the rendezvous below
WATCH_S = (
    0.5  #: between two looks of the agent; that a rank has ended is seen at once, why is its to say
)
LAST_WORDS_S = 1.0  #: for others after a first error, which another rank's end may have led to
END_S = 10.0  #: for the agent to end, once a rank has, or all were told to


class OneMachine(RendezvousHandler):
    """A rendezvous of a single agent, which has nobody to wait for, and so needs no network.

    torch's own ones listen on a port that the whole network reaches, or take an agent for dead that
    was stopped for a while, as workers are between their parts.
    """

    def __init__(self, parameters: RendezvousParameters) -> None:
        self._run_id = parameters.run_id
        self._store = HashStore()

    def get_backend(self) -> str:
        """Return its name."""
        return MEETING

    def next_rendezvous(self) -> RendezvousInfo:
        """Meet at once; the ranks have a file of their own instead of an address and a port."""
        return RendezvousInfo(self._store, 0, 1, RendezvousStoreInfo(LOOPBACK, 0))

    def is_closed(self) -> bool:
        """Tell whether nobody may come any more."""
        return False

    def set_closed(self) -> None:
        """Let nobody come any more: nobody does."""

    def num_nodes_waiting(self) -> int:
        """Return how many agents came too late."""
        return 0

    def get_run_id(self) -> str:
        """Return the name that it was given."""
        return self._run_id

    def shutdown(self) -> bool:
        """Close what is open: nothing is."""
        return True


rendezvous_handler_registry.register(MEETING, OneMachine)


class Agent(Thread):
    """Runs torchrun's agent; ``ended`` can be read once it has ended, and ``failure`` says why."""

    def __init__(self, processes: int, folder: Path, *arguments: object) -> None:
        super().__init__(name="torchrun", daemon=True)
        self.failure = ""
        self.ended, self._end = Pipe(duplex=False)
        self._processes, self._folder, self._arguments = processes, folder, arguments

    def run(self) -> None:
        """Start the ranks, and wait for their end."""
        # It warns that it handles no signals in a thread; it need not, since ranks end with this process.
        logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.ERROR)
        try:
            elastic_launch(self._config(), serve)(*self._arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            said: Any = failure.message  # a text, or what stands in the file that a rank wrote
            self.failure = f"rank {rank}: {said['message'] if isinstance(said, dict) else said}"
        except Exception as error:  # noqa: BLE001 - it is told where an answer is waited for
            self.failure = f"torchrun's agent: {type(error).__name__}: {error}"
        finally:
            self._end.close()

    def _config(self) -> LaunchConfig:
        return LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=self._processes,
            run_id=self._folder.name,
            rdzv_backend=MEETING,
            rdzv_endpoint=LOOPBACK,
            local_addr=LOOPBACK,
            max_restarts=0,
            monitor_interval=WATCH_S,
            start_method="spawn",  # nothing is promised of a library in a process that was forked
            logs_specs=DefaultLogsSpecs(log_dir=str(self._folder / "words")),
        )


class Kept:
    """Stands for something that each rank keeps for as long as this is referred to."""

    def __init__(self, number: int) -> None:
        self.number = number


class Call(NamedTuple):
    """What a rank is to do."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]  #: where one is :class:`Kept`, what it stands for is meant
    keep_as: int | None  #: the number under which to keep what comes of it, or None
    answers: bool  #: whether all ranks answer with it, or the first one alone
    forget: list[int]  #: what need not be kept any more

    def make(self, kept: dict[int, Any], rank: int) -> Any:
        """Do it, and return the answer."""
        for number in self.forget:
            del kept[number]
        given = [kept[each.number] if isinstance(each, Kept) else each for each in self.arguments]
        found = self.function(*given)
        if self.keep_as is not None:
            kept[self.keep_as] = found
            return None
        return found if self.answers or rank == 0 else None


class Raised(NamedTuple):
    """An answer: what a call has raised."""

    error: Exception


class Ranks:
    """Some processes, each with its share of this one's CPUs, or with a GPU.

    Any thread may have them called, one call at a time. What goes wrong in one is raised here. If not all
    have come to the call's end, they are out of step from then on, and of no use.
    """

    def __init__(self, processes: int, device: str) -> None:
        self.processes, self.device = processes, device
        self.communication = COMMUNICATION[device]
        self._lock, self._numbers = Lock(), count()
        self._problem: Exception | None = None
        self._dropped: deque[int] = deque()
        self._pids: list[int] = []
        self._folder = TemporaryDirectory(prefix="nnbench-ranks-")
        self._connections, theirs = map(list, zip(*(Pipe() for _ in range(processes)), strict=True))
        folder = Path(self._folder.name)
        self._agent = Agent(processes, folder, theirs, str(folder / "meeting"), device)
        #: Before this process ends, multiprocessing waits for all that it has started, and calls this first.
        self.close = Finalize(None, self._close, exitpriority=10)
        self._agent.start()
        self._pids = self._answers()
        for each in theirs:
            each.close()

    def first(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Have all ranks call a function; return what the first one's call returns."""
        return self._call(function, arguments)[0]

    def every(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        """Have all ranks call a function; return what each call returns."""
        return self._call(function, arguments, answers=True)

    def keep(self, function: Callable[..., Any], *arguments: object) -> Kept:
        """Have all ranks call a function and keep what it returns."""
        number = next(self._numbers)
        self._call(function, arguments, keep_as=number)
        kept = Kept(number)
        weakref.finalize(kept, self._dropped.append, number)  # they are told with the next call
        return kept

    def _call(
        self,
        function: Callable[..., Any],
        arguments: tuple[object, ...],
        *,
        keep_as: int | None = None,
        answers: bool = False,
    ) -> list[Any]:
        with self._lock:
            if self._problem:
                raise RuntimeError(f"the ranks are out of step: {self._problem}")
            forget = [self._dropped.popleft() for _ in range(len(self._dropped))]
            content = ForkingPickler.dumps(Call(function, arguments, keep_as, answers, forget))
            try:
                for connection in self._connections:
                    connection.send_bytes(content)
            except OSError:
                raise self._why_ended() from None
            return self._answers()

    def _answers(self) -> list[Any]:
        """Wait for an answer of each rank.

        Raises
        ------
        Exception
            What a rank has raised, or that one has ended: others' errors may have come from that.
        """
        found: dict[Connection, Any] = {}
        errors: list[Exception] = []
        while waiting := [each for each in self._connections if each not in found]:
            ready = wait([*waiting, self._agent.ended], LAST_WORDS_S if errors else None)
            if not ready:
                break
            if self._agent.ended in ready:
                raise self._why_ended()
            for connection in (each for each in waiting if each in ready):
                try:
                    answer = found[connection] = connection.recv()
                except (EOFError, OSError):
                    raise self._why_ended() from None
                if isinstance(answer, Raised):
                    errors.append(answer.error)
        if errors:
            self._problem = errors[0] if waiting else None
            raise errors[0]
        return [found[each] for each in self._connections]

    def _why_ended(self) -> Exception:
        """Return what the agent says of a rank's end."""
        self._agent.join(END_S)
        self._problem = RuntimeError(self._agent.failure or "a rank has ended without a word")
        return self._problem

    def _close(self) -> None:
        """Let the ranks end, or kill them."""
        for connection in self._connections:
            connection.close()
        self._agent.join(END_S)
        if self._agent.is_alive():
            for pid in self._pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._folder.cleanup()


@cache
def start(processes: int, device: str) -> Ranks:
    """Return the ranks that all networks of this process share which ask for so many on such a device."""
    return Ranks(processes, device)


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may run on, as far as the system says."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def serve(connections: Sequence[Connection], meeting: str, device: str) -> None:
    """Be a rank: do what comes through its connection, until that is closed."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        raise RuntimeError("a rank is started by the agent, and by nobody else")
    die_with_parent(parent.pid)
    rank, processes = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    for number, connection in enumerate(connections):
        if number != rank:
            connection.close()
    settle(rank, processes, device)
    distributed.init_process_group(
        COMMUNICATION[device],
        store=FileStore(meeting, processes),
        rank=rank,
        world_size=processes,
    )
    obey(connections[rank], rank)
    distributed.destroy_process_group()


def settle(rank: int, processes: int, device: str) -> None:
    """Take this rank's share of the CPUs and its GPU, and speak to others within this machine alone."""
    cpus = usable_cpus()
    own = cpus[len(cpus) * rank // processes : len(cpus) * (rank + 1) // processes]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, own)
    torch.set_num_threads(len(own))
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
    os.environ["TORCH_NCCL_ENABLE_MONITORING"] = "0"  # takes one that was stopped for hung
    if device == "cuda":
        torch.cuda.set_device(rank)


def obey(connection: Connection, rank: int) -> None:
    """Answer calls until nobody is left to make one; the first answer says that this rank is ready."""
    kept: dict[int, Any] = {}
    answer: Any = os.getpid()
    while True:
        try:
            connection.send(answer)
            content = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            call: Call = pickle.loads(content)  # noqa: S301 - of the process that has started this one
            answer = call.make(kept, rank)
        except Exception as error:  # noqa: BLE001 - it is raised where the call was made
            traceback.print_exc()
            answer = Raised(portable(error, rank))


def portable(error: Exception, rank: int) -> Exception:
    """Return an error that says where it was raised, and that another process can read."""
    error.add_note(f"in rank {rank}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error} in rank {rank}")
    return error
