"""Small dense problems of size K x K, on the CPU in float64, exact, by solvers of our own.

A linear programme alone is left to scipy.
"""

from jointrain.balancing.solvers._bargaining import bargaining_weights
from jointrain.balancing.solvers._conflict_averse import conflict_averse_weights
from jointrain.balancing.solvers._dense import FLOAT64, Array, components, cutoff
from jointrain.balancing.solvers._dual_cone import dual_cone_weights
from jointrain.balancing.solvers._equal_projection import equal_cosine_weights
from jointrain.balancing.solvers._linear import linear_program
from jointrain.balancing.solvers._min_norm import min_norm_weights
from jointrain.balancing.solvers._nonnegative import equilibrate, nonnegative_quadratic
from jointrain.balancing.solvers._simplex import project_onto_simplex

__all__ = [
    "FLOAT64",
    "Array",
    "bargaining_weights",
    "components",
    "conflict_averse_weights",
    "cutoff",
    "dual_cone_weights",
    "equal_cosine_weights",
    "equilibrate",
    "linear_program",
    "min_norm_weights",
    "nonnegative_quadratic",
    "project_onto_simplex",
]
