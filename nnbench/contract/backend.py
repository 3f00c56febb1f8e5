"""The contract between the harness and a backend.

A plugin lists its :class:`Backend` records; the harness calls ``create`` in a process of its own
and trains the :class:`Network` it returns. N is the batch size, D the inputs, K the outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, SupportsFloat, TypeVar

from nnbench.contract.spec import minibatches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench.contract.spec import Examples, Layer

DataT = TypeVar("DataT")  # a whole split, where and how the backend wants it
BatchT = TypeVar("BatchT")  # one batch of it

OptionValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Option:
    """A parameter of a backend, set as ``name[key=value]``.

    The default's type is the option's type; ``choices`` limits the values if it is not empty.
    """

    default: OptionValue
    help: str
    choices: tuple[OptionValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the registry knows of a backend before it imports anything heavy."""

    name: str
    summary: str
    #: ``create(spec, **options)``: import the library and build the network. It may raise
    #: BackendUnavailableError where only the library itself can tell.
    create: Callable[..., Network[Any, Any]]
    #: Why the backend can't run here, in one line, or None. Cheap: no heavy import.
    unavailable: Callable[[], str | None] = lambda: None
    options: Mapping[str, Option] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()  #: distributions whose versions the results record
    device: Literal["cpu", "cuda"] = "cpu"  #: where it trains
    skips_zeros: bool = False  #: it saves the multiplications by inputs that are zero
    deterministic: bool = True  #: two trainings from the same parameters give the same bits
    compiles: bool = False  #: each network takes it seconds; tests are content with a few


class Network(ABC, Generic[DataT, BatchT]):
    """One network on one device, trained in place.

    A step is ``batch``, ``feedforward``, ``backprop``, ``update``, in this order, in float32 or
    better. Parameters come from outside: a backend draws no random numbers, and it never times
    itself but for ``device_seconds``.

    Networks are independent of one another. A network may be used from any thread, by one at a
    time. Other processes are started afresh and make networks of their own: nothing is promised
    of a network, or of its library, in a process that was forked.
    """

    @abstractmethod
    def load(self, layers: Sequence[Layer]) -> None:
        """Copy parameters in and clear the optimizer's state."""

    @abstractmethod
    def dump(self) -> list[Layer]:
        """Copy the parameters out, in the form that ``load`` takes."""

    @abstractmethod
    def place(self, examples: Examples) -> DataT:
        """Bring a whole split to the device; timed as transfer."""

    @abstractmethod
    def batch(self, data: DataT, index: NDArray[np.int64]) -> BatchT:
        """Gather the rows that ``index``, shape (N,), names. Valid until the next ``batch``."""

    @abstractmethod
    def feedforward(self, batch: BatchT) -> object:
        """Return the logits, shape (N, K), before softmax or sigmoid; keep what backprop needs."""

    @abstractmethod
    def backprop(self, batch: BatchT) -> SupportsFloat:
        """Compute the gradients of the loss of the last feedforward, and keep them.

        Returns
        -------
        SupportsFloat
            The loss before the update, L2 term included. It may live on the device: it must
            stay valid, and is read only after the epoch.
        """

    @abstractmethod
    def update(self) -> None:
        """Make one optimizer step with the kept gradients; it may be called again with them."""

    @abstractmethod
    def gradients(self) -> list[Layer]:
        """Copy the kept gradients out, L2 term included; for checks, never timed."""

    def synchronize(self) -> None:
        """Block until queued device work is done; nothing to wait for on the CPU."""
        return

    def device_seconds(self) -> float | None:
        """Return how long the last ``train_epoch`` took by the device's own clock, in seconds.

        Called after ``synchronize``. None, as on the CPU, where the device has no clock; otherwise
        a cell in which it disagrees with the harness's is invalid.
        """
        return None

    def compilations(self) -> int | None:
        """Return a count that grows with every compilation in this process.

        It is read around the timed calls, where nothing should compile any more. None where
        the library cannot say.
        """
        return None

    def predict(self, batch: BatchT) -> NDArray[np.float32]:
        """Return the logits in host memory, shape (N, K); no backprop will follow.

        Override it where NumPy cannot convert what ``feedforward`` returns.
        """
        import numpy as np

        logits = self.feedforward(batch)
        try:
            return np.array(logits, dtype=np.float32)
        except (TypeError, ValueError) as error:
            kind = type(logits).__name__
            raise TypeError(
                f"NumPy cannot convert the logits, a {kind}: override predict"
            ) from error

    def train_epoch(
        self, data: DataT, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        """Train on the rows of ``data`` in the given order, in batches of ``batch_size``.

        The harness may hand in an epoch in parts: any number of whole batches, and a last one
        that may be smaller. A faster path may override this method if it leaves the same
        parameters; it should not compile anew for another length of ``order``.

        Returns
        -------
        NDArray[np.float32]
            The loss of each step before its update, shape (steps,).
        """
        losses = [self._step(data, index) for index in minibatches(order, batch_size)]
        return self.losses_to_host(losses)

    def _step(self, data: DataT, index: NDArray[np.int64]) -> SupportsFloat:
        batch = self.batch(data, index)
        self.feedforward(batch)
        loss = self.backprop(batch)
        self.update()
        return loss

    def losses_to_host(self, losses: Sequence[SupportsFloat]) -> NDArray[np.float32]:
        """Copy the losses of one ``train_epoch`` to host memory, shape (steps,)."""
        import numpy as np

        return np.array([float(loss) for loss in losses], dtype=np.float32)
