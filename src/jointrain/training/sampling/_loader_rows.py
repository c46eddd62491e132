"""Which rows of its data set a DataLoader gives, and in what order."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from jointrain.errors import InvalidInputError


def refuse_other_rows(loader: DataLoader[Any], purpose: str) -> None:
    """Refuse a loader that leaves rows out or gives some twice, where all are wanted once.

    Samplers of one's own are taken at their word: their rows are those that are wanted.

    Args:
        loader: The loader.
        purpose: What the rows are for, in the words of the error: ``validation``, ...

    Raises:
        InvalidInputError: It does so.
    """
    what, advice = f"the {purpose} DataLoader", "give its data set, or a loader"
    for sampler in _samplers(loader):
        kind = type(sampler).__name__
        if isinstance(sampler, (RandomSampler, WeightedRandomSampler)):
            others = sampler.num_samples != len(loader.dataset)  # type: ignore[arg-type]
            if sampler.replacement or others:
                raise InvalidInputError(
                    f"{what} does not give each row once, as its {kind} draws some of them; "
                    f"{advice} without it"
                )
        if isinstance(sampler, DistributedSampler) and sampler.num_replicas > 1:
            raise InvalidInputError(
                f"{what} gives each process other rows by its {kind}; {advice} without it"
            )
    if _drops_rows(loader):
        raise InvalidInputError(
            f"{what} leaves out the rows after the last full batch; {advice} without drop_last=True"
        )


def refuse_other_order(loader: DataLoader[Any], purpose: str) -> None:
    """Refuse a loader whose rows come in random order, where each is to be known by its place.

    Raises:
        InvalidInputError: It gives other rows, or in random order.
    """
    refuse_other_rows(loader, purpose)
    for sampler in _samplers(loader):
        random = isinstance(sampler, (RandomSampler, WeightedRandomSampler, SubsetRandomSampler))
        if random or (isinstance(sampler, DistributedSampler) and sampler.shuffle):
            raise InvalidInputError(
                f"the {purpose} DataLoader gives rows in random order, and predictions come "
                "without their rows; give its data set, or a loader with shuffle=False"
            )


def _samplers(loader: DataLoader[Any]) -> list[Any]:
    found = []
    for one in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        # of batches by number it has a sampler of rows in it
        found += [one, getattr(one, "sampler", None)]
    return found


def _drops_rows(loader: DataLoader[Any]) -> bool:
    batch_sampler = getattr(loader, "batch_sampler", None)
    if isinstance(getattr(loader, "sampler", None), BatchSampler):
        batch_sampler = loader.sampler
    if not getattr(batch_sampler, "drop_last", loader.drop_last):
        return False
    if isinstance(loader.dataset, IterableDataset):
        return True  # how many there are is not known, and each worker has a last batch
    size = getattr(batch_sampler, "batch_size", None)
    rows = getattr(batch_sampler, "sampler", None)
    return not size or not isinstance(rows, Sized) or len(rows) % size != 0
