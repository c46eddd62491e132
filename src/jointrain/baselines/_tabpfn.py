"""TabPFN, a network trained on made-up tables, by the package tabpfn and weights on this disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jointrain.baselines._pretrained import PretrainedBaseline


class TabPFN(PretrainedBaseline):
    """TabPFN for each target; needs its package and its weights on disk.

    Source: Hollmann et al., "Accurate predictions on small data with a tabular foundation model",
        Nature 637, 2025.
    """

    name = "tabpfn"
    in_words = "TabPFN"
    package = "tabpfn"
    estimators = ("TabPFNRegressor", "TabPFNClassifier")

    def weights_file(self, classifier: bool) -> Path:
        """Return where the package looks for the weights of its default version."""
        os.environ.setdefault("TABPFN_DISABLE_TELEMETRY", "1")
        from tabpfn import model_loading
        from tabpfn.settings import settings

        version = getattr(settings.tabpfn, "model_version", "v2")
        paths: Sequence[Path] = model_loading.resolve_model_path(
            None, "classifier" if classifier else "regressor", getattr(version, "value", version)
        )[0]
        return Path(paths[0])
