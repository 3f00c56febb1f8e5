"""The training loop of a well-known tutorial, as it stands there; every ratio can start here.

A DataLoader collates the batches, and every step makes a new ``torch.optim.Adam``. All settings
are PyTorch's own: no worker processes, no fused optimizer. The tutorial thereby forgets Adam's
moments after every step, which is the optimizer ``adam-fresh``. With ``adam`` each new object is
handed the moments of the one before it, so that this backend, too, trains the workload's network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.data import DataLoader, TensorDataset, default_collate

from nnbench_torch.autograd import AutogradNetwork, make_optimizer
from nnbench_torch.network import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class TutorialNetwork(AutogradNetwork):
    """Autograd behind a DataLoader, with an optimizer for each step."""

    def batch(self, data: Data, index: NDArray[np.int64] | Tensor) -> Data:
        """Do for one batch what the DataLoader does."""
        dataset = TensorDataset(*data)
        return Data(*default_collate([dataset[row] for row in index.tolist()]))

    def update(self) -> None:
        previous = self._optimizer
        self._optimizer = make_optimizer(self.spec.optimizer, self._model.parameters(), fused=None)
        if self.spec.optimizer.kind == "adam":
            self._optimizer.state = previous.state
        self._optimizer.step()

    def train_epoch(
        self, data: Data, order: NDArray[np.int64], batch_size: int
    ) -> NDArray[np.float32]:
        loader = DataLoader(TensorDataset(*data), batch_size, sampler=order.tolist())
        return self.losses_to_host([self._train(Data(*batch)) for batch in loader])
