"""Training: schedules, optimisers and the loop."""

from jointrain.training._cross_fitted_weights import CrossFittedWeights
from jointrain.training._device import (
    one_thread,
    random_state_kept,
    resolve_device,
    threads_for,
)
from jointrain.training._fitted_network import FittedNetwork, mean_validation
from jointrain.training._learning_rates import SchedulerFactory, scheduler_from_name
from jointrain.training._losses import compute_losses, label_counts, of_labelled_tasks
from jointrain.training._network_model import NetworkModel
from jointrain.training._optimizer import Optimizers, OptimizerSettings
from jointrain.training._phases import AnySchedule, Phase, Phases
from jointrain.training._plain_values import adapter_of, from_plain
from jointrain.training._prediction import predict
from jointrain.training._ranks import Strategy
from jointrain.training._run import FitRuns, Run, fit_one_by_one
from jointrain.training._session import Session
from jointrain.training._settings import TrainingSettings
from jointrain.training._task_session import TaskSession
from jointrain.training._trainer import Trainer
from jointrain.training._trainer_checks import checked_auxiliary
from jointrain.training._work import training_work
from jointrain.training.callbacks import (
    Callback,
    ConsoleLogger,
    CSVLogger,
    EpochRecord,
    Logger,
    MLflowLogger,
    TensorBoardLogger,
    WandBLogger,
)
from jointrain.training.checkpoints import Checkpoints
from jointrain.training.merging import Merge, MergeChoice
from jointrain.training.pretraining import Contrastive, Denoising, MaskedFeatures, pretrain
from jointrain.training.sampling import (
    Alternating,
    Batch,
    Joint,
    Mixture,
    MixtureLoader,
    MixturePlan,
    RunProgress,
    Schedule,
    Separate,
    Turns,
)

__all__ = [
    "Alternating",
    "AnySchedule",
    "Batch",
    "CSVLogger",
    "Callback",
    "Checkpoints",
    "ConsoleLogger",
    "Contrastive",
    "CrossFittedWeights",
    "Denoising",
    "EpochRecord",
    "FitRuns",
    "FittedNetwork",
    "Joint",
    "Logger",
    "MLflowLogger",
    "MaskedFeatures",
    "Merge",
    "MergeChoice",
    "Mixture",
    "MixtureLoader",
    "MixturePlan",
    "NetworkModel",
    "OptimizerSettings",
    "Optimizers",
    "Phase",
    "Phases",
    "Run",
    "RunProgress",
    "Schedule",
    "SchedulerFactory",
    "Separate",
    "Session",
    "Strategy",
    "TaskSession",
    "TensorBoardLogger",
    "Trainer",
    "TrainingSettings",
    "Turns",
    "WandBLogger",
    "adapter_of",
    "checked_auxiliary",
    "compute_losses",
    "fit_one_by_one",
    "from_plain",
    "label_counts",
    "mean_validation",
    "of_labelled_tasks",
    "one_thread",
    "predict",
    "pretrain",
    "random_state_kept",
    "resolve_device",
    "scheduler_from_name",
    "threads_for",
    "training_work",
]
