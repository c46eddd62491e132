"""Small dense problems of size K x K, on the CPU in float64, exact without a general solver."""

from jointrain.balancing.solvers._min_norm import min_norm_weights

__all__ = ["min_norm_weights"]
