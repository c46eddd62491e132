"""Executors over several machines, by the means of dask.distributed, Ray and Slurm."""

from jointrain.system.executors._dask import DaskExecutor
from jointrain.system.executors._sent_job import SentJob

__all__ = [
    "DaskExecutor",
    "SentJob",
]
