"""What a fitted baseline computes for a task, told to those who write it in another form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class ExportedTask:
    """How a task's predictions come from a baseline's inputs.

    Args:
        constant: [1] or [c], what every row gets; then nothing else counts.
        model: `TreeEnsemble`, `SymmetricTrees`, `KernelFunctions`, or lines: standardised inputs
            times coefficients.
        single: Whether inputs are to be compared in single precision.
        columns: Which of the model's sums are the task's; None for all.
        link: What is made of the sums.
        scale: Mean and deviation by which numbers are put back into their unit.
        present: The classes that the sums are of; empty for numbers.
        floor: Whether numbers below 0 are 0.
    """

    constant: np.ndarray | None = None
    model: Any = None
    single: bool = False
    columns: tuple[int, ...] | None = None
    link: Literal["exp", "logistic", "softmax"] | None = None
    scale: tuple[float, float] = (0.0, 1.0)
    present: tuple[int, ...] = ()
    floor: bool = False
