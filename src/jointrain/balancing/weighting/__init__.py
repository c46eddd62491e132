"""Methods that weigh the losses by their values: one backward pass."""

from jointrain.balancing.weighting._equal import Equal
from jointrain.balancing.weighting._uncertainty import Uncertainty

__all__ = ["Equal", "Uncertainty"]
