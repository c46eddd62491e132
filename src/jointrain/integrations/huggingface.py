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
    ``group_from=None``. Checkpoints hold the model, not the balancer's state. `predict` and
    ``compute_metrics`` need a `task_losses` that returns the outputs, too.

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
        super().__init__(*args, **settings)
        self.add_callback(_Events(self))  # type: ignore[attr-defined]

    def task_losses(
        self, model: Any, inputs: Any
    ) -> Mapping[str, Tensor] | tuple[Mapping[str, Tensor], Any]:
        """Return the loss of each task on a batch, none for a task without a label in it.

        One of your own may return the losses and the model's outputs, which `predict` and
        ``compute_metrics`` then get: tensors, in a mapping or a tuple if there are several.
        """
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
            self.balanced_loss.keep((model, inputs), self._batches_a_step())
        losses, outputs = _apart(self.task_losses(model, inputs))
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
            scaler=getattr(self.accelerator, "scaler", None),  # type: ignore[attr-defined]
        )
        if not return_outputs:
            return loss
        # the Trainer takes the first of a tuple for the loss
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        given = dict(outputs) if isinstance(outputs, Mapping) else (loss, *(outputs or ()))
        return loss, given

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> Any:
        """Return the loss of a batch, the outputs and the labels.

        Raises:
            InvalidInputError: Outputs are asked for, and `task_losses` gives none, or some that are
                no tensors.
        """
        found = super().prediction_step(  # type: ignore[misc]
            model, inputs, prediction_loss_only, ignore_keys
        )
        if prediction_loss_only:
            return found
        if isinstance(found[1], tuple) and not found[1]:
            raise InvalidInputError(
                "`predict` and `compute_metrics` need the model's outputs, of which `task_losses` "
                "says nothing. Return them with the losses: `return losses, outputs`."
            )
        _check_tensors(found[1])
        return found

    def get_train_dataloader(self) -> Any:
        """Return the mixture's batches as they are, or a DataLoader of any other data set."""
        dataset = self.train_dataset  # type: ignore[attr-defined]
        if isinstance(dataset, MixtureLoader):
            return dataset
        return super().get_train_dataloader()  # type: ignore[misc]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return a DataLoader as the Trainer does; refuse a mixture."""
        given = self.eval_dataset if eval_dataset is None else eval_dataset  # type: ignore[attr-defined]
        if isinstance(given, str):
            given = self.eval_dataset[given]  # type: ignore[attr-defined]
        _refuse_mixture(given, "eval_dataset")
        return super().get_eval_dataloader(eval_dataset)  # type: ignore[misc]

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Return a DataLoader as the Trainer does; refuse a mixture."""
        _refuse_mixture(test_dataset, "test_dataset")
        return super().get_test_dataloader(test_dataset)  # type: ignore[misc]

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

    def learn_after_step(self) -> None:
        """Show the balancer the losses of the step's batches at the weights that they led to."""
        with self.compute_loss_context_manager():  # type: ignore[attr-defined]
            self.balanced_loss.after_step_on(lambda kept: _apart(self.task_losses(*kept))[0])


class _Events:
    """Passes on to the balancer what the Trainer tells its callbacks."""

    def __init__(self, trainer: BalancedTrainerMixin) -> None:
        self._trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._trainer.balanced_loss.forget()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._trainer.learn_after_step()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self._trainer.balanced_loss.end_epoch()

    def __getattr__(self, name: str) -> Any:
        """Return what does nothing at any other event."""
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_, **__: None


def _apart(found: Any) -> tuple[Mapping[str, Tensor], Any]:
    """Return the losses and the outputs, None if there are none."""
    return found if isinstance(found, tuple) else (found, None)


def _refuse_mixture(given: Any, argument: str) -> None:
    if isinstance(given, MixtureLoader):
        raise InvalidInputError(
            f"`{argument}` is a MixtureLoader, which draws rows to train on; give a data set of "
            "rows and override `task_losses`, or predict with jointrain.Trainer"
        )


def _check_tensors(outputs: Any, place: str = "outputs") -> None:
    """Refuse outputs that can't be joined over batches."""
    if isinstance(outputs, Mapping):
        for name, one in outputs.items():
            _check_tensors(one, f"{place}[{name!r}]")
    elif isinstance(outputs, (list, tuple)):
        for number, one in enumerate(outputs):
            _check_tensors(one, f"{place}[{number}]")
    elif not isinstance(outputs, Tensor):
        raise InvalidInputError(
            f"`predict` and `compute_metrics` take tensors from `task_losses`; {place} is of type "
            f"{type(outputs).__name__}; leave it out of what is returned"
        )


def _unwrapped(model: Any) -> Any:
    """Return the module inside of what torch and accelerate wrap it in."""
    for attribute in ("_orig_mod", "module", "_orig_mod"):
        inner = None if isinstance(model, Network) else getattr(model, attribute, None)
        model = model if inner is None else inner
    return model
