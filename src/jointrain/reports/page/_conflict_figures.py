"""How far the gradients of targets pulled apart, by step."""

from __future__ import annotations

import math

from jointrain.reports.page._figures import Figures
from jointrain.studies.searches import Affinity


def conflict_figures(affinity: Affinity | None) -> Figures | None:
    """Return the cosines of gradients by step, of affinities that kept them."""
    if affinity is None or affinity.cosines is None:
        return None
    steps, cosines = affinity.cosines
    tasks, pairs = affinity.tasks, []
    for i, first in enumerate(tasks):
        for j in range(i + 1, len(tasks)):
            found = [
                round(float(one), 4) if math.isfinite(one) else None for one in cosines[:, i, j]
            ]
            known = [one for one in found if one is not None]
            if known:
                pairs.append(
                    {
                        "first": first,
                        "second": tasks[j],
                        "steps": [int(step) for step in steps],
                        "cosines": found,
                        "mean": sum(known) / len(known),
                        "negative": sum(one < 0 for one in known) / len(known),
                    }
                )
    if not pairs:
        return None
    return {
        "pairs": pairs,
        "note": f"Of one joint run, measured {len(steps)} times.",
    }
