"""Lightning: a mixin that balances the tasks of a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jointrain.integrations._balanced_loss import BalancedLoss
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training import Batch, compute_losses


class BalancedModuleMixin:
    """Makes a LightningModule train several tasks with any balancer.

    Name it before ``LightningModule``, in Lightning's automatic optimisation. Set `balanced_loss`;
    then either set `network` and `tasks` and train on a `MixtureLoader`, or override
    `task_losses` and train on any batches. With a network whose heads are grouped, steps of some
    of its tasks move the other tasks' heads by the optimiser's momentum: build it with
    ``group_from=None``.

    Attributes:
        balanced_loss: The `BalancedLoss`.
        network: The network; not needed with a `task_losses` of your own.
        tasks: Its tasks; likewise.

    Example:
        class Model(BalancedModuleMixin, LightningModule):
            def __init__(self, network, tasks):
                super().__init__()
                self.network, self.tasks = network, tasks
                self.balanced_loss = BalancedLoss(UPGrad())

            def configure_optimizers(self):
                return torch.optim.AdamW(self.network.parameters())
    """

    balanced_loss: BalancedLoss
    network: Network
    tasks: Sequence[Task]

    def task_losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Return the loss of each task on a batch."""
        return compute_losses(self.network, {task.name: task for task in self.tasks}, batch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return a scalar whose backward pass is balanced, and log each task's loss."""
        losses = self.task_losses(batch)
        self._log_losses("training", losses)
        network = getattr(self, "network", None)
        penalty = network.penalty(tuple(losses)) if isinstance(network, Network) else None
        return self.balanced_loss(losses, penalty=penalty)

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Log each task's loss."""
        self._log_losses("validation", self.task_losses(batch))

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move the batches of a mixture, which Lightning does not know, or any others."""
        if isinstance(batch, list) and batch and isinstance(batch[0], Batch):
            return [replace(part, data=part.data.to(device)) for part in batch]
        return super().transfer_batch_to_device(batch, device, dataloader_idx)  # type: ignore[misc]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Let a balancer that wants it see the losses at the new weights."""
        if self.balanced_loss.wants_after_step:
            with torch.no_grad():
                self.balanced_loss.after_step(self.task_losses(batch))

    def on_train_epoch_end(self) -> None:
        """Tell the balancer that an epoch is over."""
        self.balanced_loss.end_epoch()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the balancer."""
        checkpoint["jointrain"] = self.balanced_loss.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the balancer."""
        self.balanced_loss.load_state_dict(checkpoint["jointrain"])

    def _log_losses(self, kind: str, losses: Mapping[str, Tensor]) -> None:
        values = {f"{kind}/{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(values, batch_size=1)  # type: ignore[attr-defined]
