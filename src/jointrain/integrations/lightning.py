"""Lightning: a mixin that balances the tasks of a LightningModule."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.integrations._balanced_loss import BalancedLoss
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training import Batch, compute_losses, label_counts, of_labelled_tasks

_STATE = "jointrain"  # the key of the balancer in a checkpoint


class BalancedModuleMixin:
    """Makes a LightningModule train several tasks with any balancer.

    Name it before ``LightningModule``, in Lightning's automatic optimisation. Set `balanced_loss`;
    then either set `network` and `tasks` and train on a `MixtureLoader`, or override
    `task_losses` (and `task_rows`, where batches or labels are of unequal numbers) and train on
    any batches. With a network whose heads are grouped, steps of some of its tasks move the other
    tasks' heads by the optimiser's momentum: build it with ``group_from=None``.

    Over several processes (``strategy="ddp"``) every step is that of one process on the rows of all
    of them. Strategies that shard by FSDP1 or DeepSpeed are refused.

    Attributes:
        balanced_loss: The `BalancedLoss`.
        network: The network; not needed with a `task_losses` of your own.
        tasks: Its tasks; likewise.

    Examples:
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
    _steps = 0

    def task_losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Return the loss of each task on a batch, none for a task without a label in it."""
        losses = compute_losses(self.network, self._by_name(), batch)
        return of_labelled_tasks(losses, batch)

    def task_rows(self, batch: Any) -> Mapping[str, float] | None:
        """Return in how many rows of the batch each task has a label; None if in all of them.

        Means over an epoch, and over several processes, are then those over rows.
        """
        if isinstance(getattr(self, "network", None), Network) and _is_mixture(batch):
            return label_counts(self._by_name(), batch)
        return None

    def _by_name(self) -> dict[str, Task]:
        return {task.name: task for task in self.tasks}

    def on_fit_start(self) -> None:
        """Refuse what would not be exact.

        Raises:
            InvalidInputError: Lightning doesn't optimise automatically, the strategy shards
                parameters in a way that can't be balanced, or batches are accumulated and the
                `BalancedLoss` wasn't told how.
        """
        own = type(self).training_step is not BalancedModuleMixin.training_step
        if not self.automatic_optimization and not own:  # type: ignore[attr-defined]
            raise InvalidInputError(
                "With `automatic_optimization = False` nothing would be trained: `training_step` "
                "leaves that to Lightning. Leave it True, or write a `training_step` of your own "
                "that calls `self.manual_backward(self.balanced_loss(losses))`."
            )
        trainer = self.trainer  # type: ignore[attr-defined]
        strategy = type(trainer.strategy).__name__
        if "FSDP" in strategy or "DeepSpeed" in strategy:
            raise InvalidInputError(
                f'{strategy} hides the tasks\' gradients from a balancer. Use `strategy="ddp"`, or '
                "`ModelParallelStrategy` with `fully_shard`."
            )
        self.balanced_loss.check_accumulation(trainer.accumulate_grad_batches)
        self.balanced_loss.forget()

    def on_train_start(self) -> None:
        """Note how many steps were made before, as after a resumption."""
        self._steps = self.trainer.global_step  # type: ignore[attr-defined]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return a scalar whose backward pass is balanced, and log each task's loss."""
        losses = self.task_losses(batch)
        rows = self.task_rows(batch)
        self._log_losses("training", losses, rows)
        network = getattr(self, "network", None)
        penalty = network.penalty(tuple(losses)) if isinstance(network, Network) else None
        trainer = self.trainer  # type: ignore[attr-defined]
        return self.balanced_loss(
            losses,
            penalty=penalty,
            module=self,  # type: ignore[arg-type]
            rows=rows,
            batches=trainer.accumulate_grad_batches,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
        )

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Log each task's loss."""
        self._log_losses("validation", self.task_losses(batch), self.task_rows(batch))

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move the batches of a mixture, which Lightning does not know, or any others."""
        if _is_mixture(batch):
            return [replace(part, data=part.data.to(device)) for part in batch]
        return super().transfer_batch_to_device(batch, device, dataloader_idx)  # type: ignore[misc]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Let a balancer that wants it see the losses at the new weights, after each step."""
        trainer = self.trainer  # type: ignore[attr-defined]
        self.balanced_loss.keep(batch, trainer.accumulate_grad_batches)
        if trainer.global_step != self._steps:
            self._steps = trainer.global_step
            with trainer.precision_plugin.train_step_context():
                self.balanced_loss.after_step_on(self.task_losses)

    def on_train_epoch_end(self) -> None:
        """Tell the balancer that an epoch is over."""
        self.balanced_loss.end_epoch()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the balancer."""
        checkpoint[_STATE] = self.balanced_loss.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the balancer; one without such leaves it as it is, with a warning.

        So does one of another balancer where nothing is trained, or for the plain sum.

        Raises:
            InvalidInputError: It is that of another balancer, and may be trained on.
        """
        if _STATE not in checkpoint:
            warnings.warn(
                "The checkpoint holds no balancer, such as one of a module without "
                "`BalancedModuleMixin`: the balancer begins anew.",
                stacklevel=2,
            )
            return
        try:
            self.balanced_loss.load_state_dict(checkpoint[_STATE])
        except InvalidInputError as error:
            message = f"{error} In a checkpoint it is `checkpoint[{_STATE!r}]`."
            trainer = getattr(self, "_trainer", None)
            only_read = self.balanced_loss.balancer is None
            if trainer is not None:
                only_read = trainer.state.fn != "fit"
            if not only_read:
                raise InvalidInputError(message) from error
            warnings.warn(message, stacklevel=2)

    def _log_losses(
        self, kind: str, losses: Mapping[str, Tensor], rows: Mapping[str, float] | None
    ) -> None:
        """Log the losses so that their means over an epoch are means over rows."""
        several = self.trainer.world_size > 1  # type: ignore[attr-defined]
        for name, loss in losses.items():
            self.log(  # type: ignore[attr-defined]
                f"{kind}/{name}",
                loss.detach(),
                batch_size=None if rows is None else int(rows[name]),
                sync_dist=several and kind == "validation",
            )


def _is_mixture(batch: Any) -> bool:
    return isinstance(batch, list) and bool(batch) and isinstance(batch[0], Batch)
