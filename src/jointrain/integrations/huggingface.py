"""Hugging Face: a mixin that balances the tasks of a ``transformers.Trainer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.integrations._balanced_loss import BalancedLoss
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training import (
    MixtureLoader,
    compute_losses,
    label_counts,
    of_labelled_tasks,
)


class BalancedTrainerMixin:
    """Makes a Hugging Face Trainer train several tasks with any balancer.

    Name it before ``transformers.Trainer``. It takes two more arguments by keyword. Either train a
    jointrain network on a `MixtureLoader`, given as ``train_dataset``, or override `task_losses`
    and train any model on any data set. With a network whose heads are grouped, steps of some of
    its tasks move the other tasks' heads by the optimiser's momentum: build it with
    ``group_from=None``. Checkpoints hold the model, not the balancer's state.

    Over several processes (``torchrun``, ``accelerate launch``) every step is that of one process
    on the rows of all of them. FSDP1 and DeepSpeed are refused.

    Args:
        balanced_loss: The `BalancedLoss`.
        tasks: The tasks; not needed with a `task_losses` of your own.

    Examples:
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
        """Return the loss of each task on a batch, none for a task without a label in it."""
        tasks = {task.name: task for task in self.tasks}
        return of_labelled_tasks(compute_losses(model, tasks, inputs), inputs)

    def task_rows(self, inputs: Any) -> Mapping[str, float] | None:
        """Return in how many rows of the batch each task has a label; None if in all of them.

        Means over several processes are then those over rows. Override it with `task_losses` where
        batches or labels are of unequal numbers.
        """
        if self.tasks and isinstance(inputs, list):
            return label_counts({task.name: task for task in self.tasks}, inputs)
        return None

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
            self._refuse_inexact()
            self._learn_after_step(model, inputs)
        losses = self.task_losses(model, inputs)
        penalty = None
        network = _unwrapped(model)
        if training and isinstance(network, Network):
            penalty = network.penalty(tuple(losses))
        loss = self.balanced_loss(
            losses,
            penalty=penalty,
            module=model,
            rows=self.task_rows(inputs),
            batches=self._batches_a_step(),
        )
        return (loss, dict(losses)) if return_outputs else loss

    def get_train_dataloader(self) -> Any:
        """Return the mixture's batches as they are, or a DataLoader of any other data set."""
        dataset = self.train_dataset  # type: ignore[attr-defined]
        if isinstance(dataset, MixtureLoader):
            return dataset
        return super().get_train_dataloader()  # type: ignore[misc]

    def _batches_a_step(self) -> int:
        settings = self.args  # type: ignore[attr-defined]
        # the last step of an epoch may have fewer
        found: int = getattr(
            self, "current_gradient_accumulation_steps", settings.gradient_accumulation_steps
        )
        return found

    def _refuse_inexact(self) -> None:
        """Refuse what would not be exact.

        Raises:
            InvalidInputError: Parameters are sharded in a way that can't be balanced, or batches
                are accumulated and the `BalancedLoss` wasn't told how.
        """
        kind = str(self.accelerator.distributed_type)  # type: ignore[attr-defined]
        if "DEEPSPEED" in kind or "MEGATRON" in kind:
            raise InvalidInputError(
                f"{kind} hides the tasks' gradients from a balancer. Use DistributedDataParallel "
                "(torchrun) or FSDP of version 2."
            )
        self.balanced_loss.check_accumulation(self._batches_a_step())

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


def _unwrapped(model: Any) -> Any:
    """Return the module inside of what torch and accelerate wrap it in."""
    for attribute in ("_orig_mod", "module", "_orig_mod"):
        inner = None if isinstance(model, Network) else getattr(model, attribute, None)
        model = model if inner is None else inner
    return model
