"""Circumstances: what an answer says beside the decision and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jointrain.studies import Comparison

MOST_NAMED = 6
"""More targets than these are counted in a sentence, not named."""

MOST_TABLES = 20
"""With more targets than these there is one table that counts verdicts, not one for each target."""


@dataclass(frozen=True)
class Circumstances:
    """What an answer says beside the decision and its figures.

    Args:
        tasks: Names of the targets.
        rows: Rows of the table.
        folds, seeds: What was measured.
        ways: How each recipe trains, in words: ``together``, ``apart``, ``in alternation``.
        together: The recipe that stands for training together; ``separate`` if there is none.
        blends: The weights of the components of the saved model, by target; None if none is saved.
        saved_change: How the saved model compares with one of its components over all targets, on
            folds held out of its choice; called with the component's name.
        scarce: Why a target's metric is undefined in many folds, in words, by target.
        cut_by_budget: Whether a budget cut anything, so that a larger one shows more.
        sampled: Whether the rows are a sample, drawn since the time did not pay for all.
        cut_short: Whether the time was over before all of the saved model was trained.
        networks_alone: Whether what is saved had to be a network, as of rows that no memory holds.
        fixed_test: Whether there is one test set that all seeds share.
        chosen: The recipe that does best on the validation rows, where there is such a test set.
        weights_in: Where the weights of the saved model can be read; None: where the command line
            writes them.
        own_splits: Whether an experiment of one's own says how rows are split, and no flag does.
        unsaved: Baselines that are measured only, for they can't be saved.
        single: Whether the saved networks are single ones, not ensembles.
    """

    tasks: tuple[str, ...]
    rows: int
    folds: int
    seeds: int
    ways: Mapping[str, str]
    together: str = "joint"
    blends: Mapping[str, Mapping[str, float]] | None = None
    saved_change: Callable[[str], Comparison] | None = None
    scarce: Mapping[str, str] = field(default_factory=dict)
    cut_by_budget: bool = False
    sampled: bool = False
    cut_short: bool = False
    networks_alone: bool = False
    fixed_test: bool = False
    chosen: str | None = None
    weights_in: str | None = None
    own_splits: bool = False
    unsaved: tuple[str, ...] = ()
    single: bool = False
