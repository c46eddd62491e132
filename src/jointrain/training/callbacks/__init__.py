"""Callbacks: what others do between the epochs of a run, such as writing logs."""

from jointrain.training.callbacks._callback import Callback, EpochRecord
from jointrain.training.callbacks._loggers import (
    ConsoleLogger,
    CSVLogger,
    Logger,
    MLflowLogger,
    TensorBoardLogger,
    WandBLogger,
)

__all__ = [
    "CSVLogger",
    "Callback",
    "ConsoleLogger",
    "EpochRecord",
    "Logger",
    "MLflowLogger",
    "TensorBoardLogger",
    "WandBLogger",
]
