"""Executors over several machines, by the means of dask.distributed, Ray and Slurm."""

from jointrain.system.executors._dask import DaskExecutor
from jointrain.system.executors._ray import RayExecutor
from jointrain.system.executors._sent_job import SentJob, not_sent
from jointrain.system.executors._slurm import SlurmExecutor

__all__ = [
    "DaskExecutor",
    "RayExecutor",
    "SentJob",
    "SlurmExecutor",
    "not_sent",
]
