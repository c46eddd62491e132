"""RealMLP, a network with tuned defaults, by the package pytabkit."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._estimator import estimated


class RealMLP(TargetBaseline):
    """RealMLP of pytabkit with its tuned defaults for each target; needs its package.

    Source: Holzmüller et al., "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
        Tabular Data", NeurIPS 2024.
    """

    name = "realmlp"
    in_words = "RealMLP"
    package = "pytabkit"
    one_hot = True
    saved: ClassVar[bool] = False

    def fit(  # type: ignore[override]  # it takes no weights of rows
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,
    ) -> Any:
        """Return the fitted estimator, trained on one core."""
        import pytabkit

        made_by = pytabkit.RealMLP_TD_Classifier if classes else pytabkit.RealMLP_TD_Regressor
        made = made_by(device="cpu", n_threads=1, random_state=seed % 2**31)
        return made.fit(inputs, target)

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        """Return values [m], or probabilities [m, classes]."""
        return estimated(self.name, model, inputs, classes)
