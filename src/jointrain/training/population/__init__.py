"""Population: many small runs trained as one program."""

from jointrain.training.population._population import fit_population, fit_together
from jointrain.training.population._vmapped_network import multiplications
from jointrain.training.population._why_not_stacked import why_not_stacked

__all__ = [
    "fit_population",
    "fit_together",
    "multiplications",
    "why_not_stacked",
]
