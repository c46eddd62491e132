"""Population: many small runs trained as one program."""

from jointrain.training.population._population import fit_population, fit_together
from jointrain.training.population._why_not_stacked import why_not_stacked

__all__ = [
    "fit_population",
    "fit_together",
    "why_not_stacked",
]
