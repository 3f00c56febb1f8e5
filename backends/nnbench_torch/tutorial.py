"""The training loop of a well-known tutorial, as it stands there; every ratio can start here.

A DataLoader collates the batches, the network is made of modules, and every step makes a new
``torch.optim.Adam``. All settings are PyTorch's own: no worker processes, no fused optimizer. The
tutorial thereby forgets Adam's moments after every step, which is the optimizer ``adam-fresh``. With
``adam`` each new object is handed the moments of the one before it, so that this backend, too,
trains the workload's network; that is quicker than to make new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from nnbench import OptimizerState
from nnbench_torch.network import Data, TorchNetwork, export, make_loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Layer, NetworkSpec, Optimizer


class TutorialNetwork(TorchNetwork):
    """Modules behind a DataLoader, with an optimizer for each step."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self._model, self._loss = make_model(spec), make_loss(spec)
        self._linears = [m for m in self._model if isinstance(m, nn.Linear)]
        self._optimizer = make_optimizer(spec.optimizer, self._model.parameters())

    def load(self, layers: Sequence[Layer]) -> None:
        with torch.no_grad():
            for linear, (weight, bias) in zip(self._linears, layers, strict=True):
                linear.weight.copy_(torch.from_numpy(weight.T))
                if bias is not None:
                    linear.bias.copy_(torch.from_numpy(bias))
        self._optimizer.state.clear()

    def dump(self) -> list[Layer]:
        return export((linear.weight, linear.bias) for linear in self._linears)

    def gradients(self) -> list[Layer]:
        grads = [(m.weight.grad, m.bias.grad if self.spec.bias else None) for m in self._linears]
        return export(cast("list[tuple[Tensor, Tensor | None]]", grads))

    def optimizer_state(self) -> OptimizerState | None:
        if not self.spec.optimizer.keeps_moments:
            return None
        first, second = map(self._moments, ("exp_avg", "exp_avg_sq"))
        steps = [int(kept["step"]) for kept in self._optimizer.state.values()]
        return OptimizerState(max(steps, default=0), first, second)

    def _moments(self, name: str) -> list[Layer]:
        """Copy moments out; there are none before the first step."""

        def moment(parameter: Tensor) -> Tensor:
            kept = self._optimizer.state.get(parameter)
            return kept[name] if kept else torch.zeros_like(parameter)

        pairs = ((linear.weight, linear.bias) for linear in self._linears)
        return export((moment(w), moment(b) if self.spec.bias else None) for w, b in pairs)

    def batch(self, data: Data, index: NDArray[np.int64] | Tensor) -> Data:
        """Do for one batch what the DataLoader does."""
        dataset = TensorDataset(*data)
        return Data(*default_collate([dataset[row] for row in index.tolist()]))

    def feedforward(self, batch: Data) -> Tensor:
        self._logits = cast("Tensor", self._model(batch.inputs))
        return self._logits

    def backprop(self, batch: Data) -> Tensor:
        self._model.zero_grad()
        weights = [linear.weight for linear in self._linears] if self.spec.l2 else []
        loss = self._loss(self._logits, batch.targets, weights)
        loss.backward()
        return loss.detach()

    def update(self) -> None:
        rule, previous = self.spec.optimizer, self._optimizer.state
        self._optimizer = make_optimizer(rule, self._model.parameters())
        if rule.keeps_moments:
            self._optimizer.state = previous
        self._optimizer.step()

    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        loader = DataLoader(TensorDataset(*data), batch_size, sampler=order.tolist())
        return self.losses_to_host([self.step(Data(*batch)) for batch in loader])


def make_model(spec: NetworkSpec) -> nn.Sequential:
    """Return linear layers with the activation between them; the loss has the output's."""
    modules: list[nn.Module] = []
    for fan_in, fan_out in spec.shapes:
        modules += [nn.Linear(fan_in, fan_out, bias=spec.bias)]
        modules += [spec.choose_activation(relu=nn.ReLU, sigmoid=nn.Sigmoid)()]
    return nn.Sequential(*modules[:-1])


def make_optimizer(spec: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return a new optimizer, with PyTorch's defaults for what is not the workload's."""
    match spec.kind:
        case "sgd":
            return torch.optim.SGD(parameters, lr=spec.learning_rate)
        case "adam" | "adam-fresh":
            betas, epsilon = (spec.beta1, spec.beta2), spec.epsilon
            return torch.optim.Adam(parameters, spec.learning_rate, betas, epsilon)
        case _:
            assert_never(spec.kind)
