"""TabICL, a network trained on made-up tables, by the package tabicl and weights on this disk."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

from jointrain.baselines._pretrained import PretrainedBaseline


class TabICL(PretrainedBaseline):
    """TabICL for each target; needs its package and its weights on disk.

    Source: Qu et al., "TabICL: A Tabular Foundation Model for In-Context Learning on Large Data",
        ICML 2025.
    """

    name = "tabicl"
    in_words = "TabICL"
    package = "tabicl"
    estimators = ("TabICLRegressor", "TabICLClassifier")
    offline = {"allow_auto_download": False}  # noqa: RUF012

    def weights_file(self, classifier: bool) -> Path:
        """Return the file of the default version: where Hugging Face keeps it, or beside."""
        from huggingface_hub import try_to_load_from_cache

        made_by = self.made_by(classifier)
        name: str = inspect.signature(made_by).parameters["checkpoint_version"].default
        kept = try_to_load_from_cache("jingang/TabICL", name)
        if isinstance(kept, str):
            return Path(kept)
        cache = os.environ.get("XDG_CACHE_HOME", "").strip() or Path.home() / ".cache"
        return Path(cache) / "tabicl" / name
