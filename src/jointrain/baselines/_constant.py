"""The constant: what any model has to beat."""

from __future__ import annotations

import numpy as np

from jointrain.baselines._baseline import TargetBaseline


class Constant(TargetBaseline):
    """The mean of a number, the shares of classes, Kaplan-Meier of survival, quantiles."""

    name = "constant"
    in_words = "a constant"
    has_quantiles = True

    def fit(
        self,
        inputs: np.ndarray,  # noqa: ARG002
        target: np.ndarray,  # noqa: ARG002
        classes: int,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        weights: np.ndarray | None = None,  # noqa: ARG002
    ) -> None:
        """Return None: whoever keeps baselines knows the constant of a target."""
        return

    def fit_quantile(
        self,
        inputs: np.ndarray,  # noqa: ARG002
        target: np.ndarray,  # noqa: ARG002
        level: float,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        weights: np.ndarray | None = None,  # noqa: ARG002
    ) -> None:
        """Return None, as `fit`."""
        return
