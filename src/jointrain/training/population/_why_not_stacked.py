"""What of a run a population can't do."""

from __future__ import annotations

from torch import Tensor, nn

from jointrain.balancing import Balancer, LossWeighting
from jointrain.data import TensorData
from jointrain.networks import CategoryEmbeddings, replaced_methods
from jointrain.task import Task
from jointrain.training import Joint, Merge, Phases, Separate, Trainer
from jointrain.training._run import Run
from jointrain.training._settings import TrainingSettings
from jointrain.training.population._stacked_losses import slot_of
from jointrain.training.population._stacked_mlp import why_not_by_hand
from jointrain.training.population._stacked_optimizer import optimizer_kind
from jointrain.training.population._vmapped_network import MOST, multiplications, why_not_vmapped
from jointrain.training.sampling import weigh_rows


def why_not_stacked(run: Run) -> str | None:
    """Return why a run can't be part of a population, None if it can."""
    trainer = run.trainer
    if trainer.ranks is not None:
        return "several processes train it together"
    if type(trainer.schedule) is Merge:
        return _why_not_apart(run)
    reason = _why_not_plain(trainer)
    if reason is not None:
        return reason
    if any(type(task) is not Task or slot_of(task) is None for task in trainer.tasks.values()):
        return "a task has a loss of its own, or is of a kind that is trained by itself"
    reason = _why_not_network(run)
    if reason is not None:
        return reason
    if len(trainer.network.heads.groups) and (trainer.settings.l1 or trainer.settings.l2):
        return "it has penalties of grouped heads"
    kind = optimizer_kind(trainer.optimizers, trainer.network)
    if isinstance(kind, str):
        return kind
    return _why_not_data(run)


def _why_not_data(run: Run) -> str | None:
    """Return what about a run's data a population can't do."""
    every = [run.train] if run.validation is None else [run.train, run.validation]
    inputs = run.train.inputs if all(type(data) is TensorData for data in every) else None
    if not isinstance(inputs, Tensor) or inputs.ndim != 2:
        return "its data are not one matrix of inputs"
    if inputs.dtype != next(run.trainer.network.parameters()).dtype:
        return "its inputs are of another type than its weights"
    return None


def _why_not_apart(run: Run) -> str | None:
    """Return what of a run whose tasks are trained apart and merged can't be."""
    trainer = run.trainer
    if type(trainer) is not Trainer or replaced_methods(trainer) or trainer.callbacks:
        return "its trainer has methods or callbacks of its own"
    if trainer.checkpoints is not None:
        return "its trainer writes checkpoints"
    if not all(trainer.weights.values()):
        return "one of its tasks has no weight"
    alone = (trainer.apart(name, trainer.network, validates=True) for name in trainer.tasks)
    reasons = (why_not_stacked(Run(one, run.train, run.validation)) for one in alone)
    return next(filter(None, reasons), None)


def _why_not_network(run: Run) -> str | None:
    """Return what about a run's network neither way of computing it can do."""
    trainer, network = run.trainer, run.trainer.network
    if any(isinstance(module, CategoryEmbeddings) for module in network.modules()):
        return "its network has vectors of ids"
    if network.input_layer is not None:
        return "its network has a layer before all others"
    if why_not_by_hand(network) is None:
        return None
    if set(network.task_names) != set(trainer.tasks):
        return "its network has tasks that it does not train"
    if multiplications(network, trainer.settings.batch_size) > MOST:
        return "its steps are so large that runs one after the other take as little time"
    in_turn = type(trainer.schedule) not in (Joint, Separate)
    reason = why_not_vmapped(network, in_turn)
    if reason is None and any(isinstance(m, nn.BatchNorm1d) for m in network.modules()):
        train = weigh_rows(run.train, trainer.tasks.values())
        fewest = min(
            int(task.labelled(train.targets[name]).sum()) for name, task in trainer.tasks.items()
        )
        if fewest < 2 or trainer.settings.batch_size < 3:
            reason = "its batch normalisation may see a batch of one row"
    return reason


def _why_not_plain(trainer: Trainer) -> str | None:
    """Return what a trainer's loop does that a population's does not."""
    if type(trainer) is not Trainer or replaced_methods(trainer) or trainer.callbacks:
        return "its trainer has methods or callbacks of its own"
    if trainer.checkpoints is not None:
        return "its trainer writes checkpoints"
    if any(task.class_weights is not None for task in trainer.tasks.values()):
        return "classes of its tasks weigh"
    reason = _why_not_options(trainer.settings)
    if reason is not None:
        return reason
    schedule, balancer = trainer.schedule, trainer.balancer
    if isinstance(schedule, (Phases, Merge)) or schedule.follows_progress:
        return "its schedule depends on how the training goes"
    if trainer.auxiliary or trainer.settings.task_patience is not None:
        return "it has auxiliary tasks, or stops tasks one by one"
    if trainer.device.type != "cpu":
        return "it is not trained on the CPU"
    if balancer is not None and not all(trainer.weights.values()):
        return "one of its tasks has no weight, and its balancer does not see it"
    return None if balancer is None else _why_not_balancer(balancer)


def _why_not_balancer(balancer: Balancer) -> str | None:
    """Return what a balancer does that a population's losses do not show."""
    if not isinstance(balancer, LossWeighting) or balancer.wants_after_step:
        return "its balancer needs more than the losses of the step"
    if _weighs_by_itself(balancer):
        return "its balancer moves parameters in a `weigh` that is not by its objective"
    return None


def _weighs_by_itself(balancer: LossWeighting) -> bool:
    """Return whether its class says by `weigh` what its `objective` does not."""
    lines = type(balancer).__mro__
    weigh, objective = (
        next(place for place, one in enumerate(lines) if name in vars(one))
        for name in ("weigh", "objective")
    )
    # the objective that follows from `weigh` has the gradient by the losses alone
    follows = lines[objective] is LossWeighting
    return weigh < objective and (not follows or any(True for _ in balancer.parameters()))


def _why_not_options(settings: TrainingSettings) -> str | None:
    """Return which option of training a population does not know."""
    if settings.precision != "32" or settings.ema is not None or settings.lr_scheduler is not None:
        return "it has half precision, averaged weights or a learning-rate scheduler"
    if settings.bad_rows != "raise":
        return "it leaves out rows that can't be read"
    if settings.compile:
        return "it is compiled by itself"
    if settings.parameter_groups is not None:
        return "it has parameter groups"
    if settings.accumulate > 1:
        return "it accumulates batches"
    if settings.non_finite != "raise":
        return "it leaves out steps that are not finite"
    return None
