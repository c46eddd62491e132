"""jointrain: train related tasks together, and learn whether that beats training them apart."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jointrain.balancing import BalancedStep, Balancer, backward
    from jointrain.bundle import load_bundle, save_bundle
    from jointrain.data import (
        DataSource,
        SupervisedTable,
        TensorData,
        load_energy_efficiency,
        load_penguins,
        read_table,
    )
    from jointrain.errors import (
        InvalidInputError,
        JointrainError,
        MissingDependencyError,
        NotFittedError,
        WorkerDiedError,
    )
    from jointrain.estimators import JointClassifier, JointRegressor
    from jointrain.metrics import Metric
    from jointrain.networks import MLP, HardSharing, Network
    from jointrain.studies import (
        BlendedModel,
        Study,
        StudyResult,
        default_recipes,
        fit_shipped,
        named_recipes,
        run_within_budget,
    )
    from jointrain.task import Task
    from jointrain.training import (
        Alternating,
        Callback,
        ColumnImportance,
        ConsoleLogger,
        Contrastive,
        Course,
        CSVLogger,
        Denoising,
        EpochRecord,
        Joint,
        Logger,
        MaskedFeatures,
        Mixture,
        MixtureLoader,
        MixturePlan,
        MLflowLogger,
        OptimizerSettings,
        Phase,
        Phases,
        Recipe,
        Separate,
        TableModel,
        TensorBoardLogger,
        Trainer,
        column_importance,
        fit_table,
        pretrain,
        unseen_column_importance,
    )


_ROOMS = {
    "balancing": (
        "BalancedStep",
        "Balancer",
        "backward",
    ),
    "bundle": (
        "load_bundle",
        "save_bundle",
    ),
    "data": (
        "DataSource",
        "SupervisedTable",
        "TensorData",
        "load_energy_efficiency",
        "load_penguins",
        "read_table",
    ),
    "errors": (
        "InvalidInputError",
        "JointrainError",
        "MissingDependencyError",
        "NotFittedError",
        "WorkerDiedError",
    ),
    "estimators": (
        "JointClassifier",
        "JointRegressor",
    ),
    "metrics": ("Metric",),
    "networks": (
        "HardSharing",
        "MLP",
        "Network",
    ),
    "studies": (
        "BlendedModel",
        "Study",
        "StudyResult",
        "default_recipes",
        "fit_shipped",
        "named_recipes",
        "run_within_budget",
    ),
    "task": ("Task",),
    "training": (
        "Alternating",
        "CSVLogger",
        "Callback",
        "ColumnImportance",
        "ConsoleLogger",
        "Contrastive",
        "Course",
        "Denoising",
        "EpochRecord",
        "Joint",
        "Logger",
        "MLflowLogger",
        "MaskedFeatures",
        "Mixture",
        "MixtureLoader",
        "MixturePlan",
        "OptimizerSettings",
        "Phase",
        "Phases",
        "Recipe",
        "Separate",
        "TableModel",
        "TensorBoardLogger",
        "Trainer",
        "column_importance",
        "fit_table",
        "pretrain",
        "unseen_column_importance",
    ),
}
"""The public names of each room, which is imported when one of them is first used."""

_HOMES = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "MLP",
    "Alternating",
    "BalancedStep",
    "Balancer",
    "BlendedModel",
    "CSVLogger",
    "Callback",
    "ColumnImportance",
    "ConsoleLogger",
    "Contrastive",
    "Course",
    "DataSource",
    "Denoising",
    "EpochRecord",
    "HardSharing",
    "InvalidInputError",
    "Joint",
    "JointClassifier",
    "JointRegressor",
    "JointrainError",
    "Logger",
    "MLflowLogger",
    "MaskedFeatures",
    "Metric",
    "MissingDependencyError",
    "Mixture",
    "MixtureLoader",
    "MixturePlan",
    "Network",
    "NotFittedError",
    "OptimizerSettings",
    "Phase",
    "Phases",
    "Recipe",
    "Separate",
    "Study",
    "StudyResult",
    "SupervisedTable",
    "TableModel",
    "Task",
    "TensorBoardLogger",
    "TensorData",
    "Trainer",
    "WorkerDiedError",
    "__version__",
    "backward",
    "column_importance",
    "default_recipes",
    "fit_shipped",
    "fit_table",
    "load_bundle",
    "load_energy_efficiency",
    "load_penguins",
    "named_recipes",
    "pretrain",
    "read_table",
    "run_within_budget",
    "save_bundle",
    "unseen_column_importance",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jointrain' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"jointrain.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
