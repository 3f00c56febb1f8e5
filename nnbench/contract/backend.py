"""The contract between the harness and a backend.

A plugin lists its :class:`Backend` records; the harness imports what ``create`` names in a process
of its own, and trains the :class:`Network`, or the :class:`Model`, that it makes. N is the batch
size, D the inputs, K the outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, Literal, SupportsFloat, TypeVar

from nnbench.contract.bounds import (
    Distribution,
    Line,
    Name,
    ObjectPath,
    Parameter,
    Quantity,
    Variable,
    Whole,
)
from nnbench.contract.errors import BackendUnavailableError
from nnbench.contract.spec import NetworkSpec, minibatches

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench.contract.spec import Examples, Layer, OptimizerState

DataT = TypeVar("DataT")  # a whole split, where and how the backend wants it
BatchT = TypeVar("BatchT")  # one batch of it

OptionValue = bool | Whole | Quantity | Line
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "tf32", "bf16", "float16"]


@dataclass(frozen=True, slots=True)
class Option:
    """A parameter of a backend, set as ``name[key=value]``.

    The default's type is the option's type; ``choices`` limits the values if it is not empty.
    """

    default: OptionValue
    help: Line
    choices: tuple[OptionValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the catalog knows of a backend before it imports anything heavy.

    A backend of which a field is not as its type says is left out, with a warning.

    Parameters
    ----------
    name
        What users type. No blanks, commas, brackets, ``=`` or ``@``, no ``-`` at its start, not ``all``.
    summary
        A line for ``nnbench list``.
    create
        ``"package.module:Class"``, or a function; called as ``create(spec, **options)`` when a cell
        starts, with those options that a user has given. A class named by its path is imported only
        then, with the library that its module imports.
    requires
        Distributions that it cannot do without, as pip names them. Where one is missing, the backend
        is unavailable, and the harness says how to install it.
    unavailable
        Why else it can't run here, in one line, or None. Cheap: no heavy import.
    supports
        Why it can't train such a network in such batches, in one line, or None: called as
        ``supports(spec, batch_size)``.
    other_optimizer
        How its optimizer differs from the one that such a network asks for, in one line, or None:
        called as ``other_optimizer(spec)``. What follows from that is then expected: it has no rank.
    options
        Its parameters by name, set as ``name[key=value]``.
    libraries
        Distributions whose versions the results record; those in ``requires`` if it is empty.
    environment
        Names of the user's environment variables that it reads. Its processes get these, the few that
        all get, and no others; results have their values. Counts of threads are nnbench's to set.
    record
        What else the results shall say of it, as texts by name: a git hash, a compiler, a BLAS.
        Called as ``record(network)`` in the process of a cell, once, when it is ready to train.
    device
        Where it trains.
    precision
        Of its matrix products.
    skips_zeros
        Whether it saves the multiplications by inputs that are zero.
    deterministic
        Whether two trainings from the same parameters give the same bits.
    compiles
        Whether each network takes it seconds; tests are content with a few.
    named_only
        Whether it is left out of ``all``, and runs only where a user names it.
    """

    name: Name
    summary: Line
    create: ObjectPath | Callable[..., Model[Any, Any]]
    requires: tuple[Distribution, ...] = ()
    unavailable: Callable[[], str | None] = lambda: None
    supports: Callable[[NetworkSpec, int], str | None] = lambda _spec, _batch_size: None
    other_optimizer: Callable[[NetworkSpec], str | None] = lambda _spec: None
    options: Mapping[Parameter, Option] = field(default_factory=dict)
    libraries: tuple[Distribution, ...] = ()
    environment: tuple[Variable, ...] = ()
    record: Callable[[Model[Any, Any]], Mapping[str, str]] = lambda _network: {}
    device: Device = "cpu"
    precision: Precision = "float32"
    skips_zeros: bool = False
    deterministic: bool = True
    compiles: bool = False
    named_only: bool = False

    def __post_init__(self) -> None:
        """Refuse a path that names no attribute; fill in the libraries."""
        if isinstance(self.create, str) and not all(self.create.partition(":")):
            raise ValueError(f"create={self.create!r}: write package.module:Class")
        if not self.libraries:
            object.__setattr__(self, "libraries", self.requires)

    def why_unsupported(self, spec: NetworkSpec, batch_size: int) -> str | None:
        """Return why it can't train such a network in such batches, as far as it declares that.

        Raises
        ------
        TypeError
            If ``supports`` returns anything but a text or None.
        """
        return self._declared("supports", self.supports(spec, batch_size))

    def why_other_optimizer(self, spec: NetworkSpec) -> str | None:
        """Return how its optimizer differs from that of such a network, as it declares.

        Raises
        ------
        TypeError
            If ``other_optimizer`` returns anything but a text or None.
        """
        return self._declared("other_optimizer", self.other_optimizer(spec))

    def _declared(self, field: str, reason: object) -> str | None:
        if reason is None or isinstance(reason, str):
            return " ".join(reason.split()) if reason else None
        raise TypeError(f"{field} of {self.name} returned {reason!r}: return why, or None")

    def network(
        self, spec: NetworkSpec, batch_size: int, **options: OptionValue
    ) -> Model[Any, Any]:
        """Import the library and make a network.

        Raises
        ------
        BackendUnavailableError
            If it does not support such a network, or such batches.
        TypeError
            If ``create`` returns nothing, or ``supports`` anything but a text or None.
        """
        made = self.resolve(spec, batch_size)(spec, **options)
        if made is None:
            raise TypeError(f"create of {self.name} returned None: is a return missing?")
        network: Model[Any, Any] = made
        return network

    def resolve(self, spec: NetworkSpec, batch_size: int) -> Callable[..., Any]:
        """Import the library, and return what ``create`` names.

        Raises
        ------
        BackendUnavailableError, TypeError
            As ``network``.
        """
        if reason := self.why_unsupported(spec, batch_size):
            raise BackendUnavailableError(reason)
        return resolve_name(self.create) if isinstance(self.create, str) else self.create

    @property
    def package(self) -> str:
        """The name of the package, or of the one module, that its code stands in."""
        if isinstance(self.create, str):
            return self.create.partition(":")[0].partition(".")[0]
        create: Any = self.create
        while isinstance(create, partial):
            create = create.func
        return str(create.__module__).partition(".")[0]


class Model(ABC, Generic[DataT, BatchT]):
    """One network on one device, trained in place by a library that owns the step.

    It is the smaller of two base classes, for libraries that do a whole step, or an epoch, in one
    call, and show neither gradients nor phases: those are then left out of the tables, and of the
    checks. If the library lets you in, derive from :class:`Network`.

    All computation is in float32 or better. Parameters come from outside: a backend draws no random
    numbers, and it never times itself but for ``device_seconds``.

    Networks are independent of one another. A network may be used from any thread, by one at a
    time. Other processes are started afresh and make networks of their own: nothing is promised
    of a network, or of its library, in a process that was forked.
    """

    @abstractmethod
    def load(self, layers: Sequence[Layer]) -> None:
        """Copy parameters in and clear the optimizer's state.

        A cell warms up with other parameters, and loads its own when its clock starts. Nothing of
        an earlier training may be left, not even what depends on the parameters of then.
        """

    @abstractmethod
    def dump(self) -> list[Layer]:
        """Copy the parameters out, in the form that ``load`` takes.

        It is called between parts of an epoch, every 100 to 300 steps, off the clock; then the
        whole process may be stopped for a while. All work must have been done when ``synchronize``
        returned: nothing may be left for ``dump``, which has to be about as quick as after
        ``load``.
        """

    @abstractmethod
    def place(self, examples: Examples) -> DataT:
        """Bring a whole split to the device; timed as transfer."""

    @abstractmethod
    def batch(self, data: DataT, index: NDArray[np.int64]) -> BatchT:
        """Gather the rows that ``index``, shape (N,), names. Valid until the next ``batch``."""

    @abstractmethod
    def step(self, batch: BatchT) -> SupportsFloat:
        """Train on one batch.

        Returns
        -------
        SupportsFloat
            The loss before the update, L2 term included. It may live on the device: it must
            stay valid, and is read only after the epoch.
        """

    @abstractmethod
    def predict(self, batch: BatchT) -> NDArray[np.float32]:
        """Return the logits in host memory, shape (N, K), before softmax or sigmoid."""

    def optimizer_state(self) -> OptimizerState | None:
        """Copy out what the optimizer keeps between steps; called where ``dump`` is.

        From the parameters and this state at the start of a part, the proof trains the part itself,
        in float64. So the moments are what the formulas of ``OptimizerState`` give for the
        gradients since ``load``, whatever form the backend keeps them in: 0 steps and zeros right
        after it. They must be as precise as float32 can be, for every parameter, also one that the
        backend knows not to move. Training goes on to the same bits as if nobody had asked.

        Returns
        -------
        OptimizerState or None
            None where the optimizer keeps nothing, which is so for ``sgd`` and ``adam-fresh``. A
            backend that returns None under ``adam`` is followed from its parameters alone, through
            all of the training and with wider tolerances, and its row says so.
        """
        return None

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

    def train_epoch(
        self, data: DataT, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        """Train on the rows of ``data`` in the given order, in batches of ``batch_size``.

        The harness hands in an epoch in parts of any length: some whole batches, and at the
        epoch's end one that may be smaller. Where an epoch is whole batches, a call may also hold
        several epochs. Lengths are drawn anew in each cell. A faster path may override this
        method if it leaves the same parameters; it should not compile anew for another length of
        ``order``.

        Returns
        -------
        NDArray[np.float32]
            The loss of each step before its update, shape (steps,).
        """
        losses = [self._step(data, index) for index in minibatches(order, batch_size)]
        return self.losses_to_host(losses)

    def _step(self, data: DataT, index: NDArray[np.int64]) -> SupportsFloat:
        return self.step(self.batch(data, index))

    def losses_to_host(self, losses: Sequence[SupportsFloat]) -> NDArray[np.float32]:
        """Copy the losses of one ``train_epoch`` to host memory, shape (steps,)."""
        import numpy as np

        try:
            return np.array([float(loss) for loss in losses], dtype=np.float32)
        except TypeError as error:
            if any(loss is None for loss in losses):
                raise TypeError("a step gave None for its loss: is a return missing?") from error
            raise


class Network(Model[DataT, BatchT]):
    """A model whose steps can be taken apart: ``batch``, ``feedforward``, ``backprop``, ``update``.

    A step is these four, in this order; each phase is timed, and the gradients are checked.
    """

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

    def step(self, batch: BatchT) -> SupportsFloat:
        """Train on one batch, phase by phase."""
        self.feedforward(batch)
        loss = self.backprop(batch)
        self.update()
        return loss

    def _step(self, data: DataT, index: NDArray[np.int64]) -> SupportsFloat:
        return Network.step(self, self.batch(data, index))  # a plugin may have a "step" of its own

    def predict(self, batch: BatchT) -> NDArray[np.float32]:
        """Return the logits in host memory, shape (N, K); no backprop will follow.

        Override it where NumPy cannot convert what ``feedforward`` returns.
        """
        import numpy as np

        logits = self.feedforward(batch)
        if logits is None:  # which NumPy would take for a number
            raise TypeError("feedforward returned None: is a return missing?")
        try:
            return np.array(logits, dtype=np.float32)
        except (TypeError, ValueError) as error:
            kind = type(logits).__name__
            raise TypeError(
                f"NumPy cannot convert the logits, a {kind}: override predict"
            ) from error
