"""Hugging Face: a mixin that balances the tasks of a ``transformers.Trainer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jointrain.integrations._balanced_loss import BalancedLoss
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training import MixtureLoader, compute_losses


class BalancedTrainerMixin:
    """Makes a Hugging Face Trainer train several tasks with any balancer.

    Name it before ``transformers.Trainer``. It takes two more arguments by keyword. Either train a
    jointrain network on a `MixtureLoader`, given as ``train_dataset``, or override `task_losses`
    and train any model on any data set. With a network whose heads are grouped, steps of some of
    its tasks move the other tasks' heads by the optimiser's momentum: build it with
    ``group_from=None``. Checkpoints hold the model, not the balancer's state. One process.

    Args:
        balanced_loss: The `BalancedLoss`.
        tasks: The tasks; not needed with a `task_losses` of your own.

    Example:
        class BalancedTrainer(BalancedTrainerMixin, transformers.Trainer):
            def task_losses(self, model, inputs):
                output = model(**inputs)
                return {"topic": output.topic_loss, "tone": output.tone_loss}
    """

    # every loss is a mean over its batch, so that accumulated batches are to be averaged
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args: Any,
        balanced_loss: BalancedLoss,
        tasks: Sequence[Task] = (),
        **settings: Any,
    ) -> None:
        self.balanced_loss = balanced_loss
        self.tasks = tuple(tasks)
        self._trained: tuple[Any, Any] | None = None
        super().__init__(*args, **settings)

    def task_losses(self, model: Any, inputs: Any) -> Mapping[str, Tensor]:
        """Return the loss of each task on a batch."""
        return compute_losses(model, {task.name: task for task in self.tasks}, inputs)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return a scalar whose backward pass is balanced."""
        training = model.training and torch.is_grad_enabled()
        if training:
            self._learn_after_step(model, inputs)
        losses = self.task_losses(model, inputs)
        penalty = None
        if training and isinstance(model, Network):
            penalty = model.penalty(tuple(losses))
        loss = self.balanced_loss(losses, penalty=penalty)
        return (loss, dict(losses)) if return_outputs else loss

    def get_train_dataloader(self) -> Any:
        """Return the mixture's batches as they are, or a DataLoader of any other data set."""
        dataset = self.train_dataset  # type: ignore[attr-defined]
        if isinstance(dataset, MixtureLoader):
            return dataset
        return super().get_train_dataloader()  # type: ignore[misc]

    def _learn_after_step(self, model: Any, inputs: Any) -> None:
        """Show the balancer the losses of the last batch at the weights that it led to.

        The Trainer calls nothing with the batch after the optimiser's step, but nothing moves the
        weights until the next batch either.
        """
        if not self.balanced_loss.wants_after_step:
            return
        if self._trained is not None:
            with torch.no_grad():
                self.balanced_loss.after_step(self.task_losses(*self._trained))
        self._trained = model, inputs
