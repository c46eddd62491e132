"""Methods that make the update from the tasks' gradients: their Gramian or the Jacobian itself."""

from jointrain.balancing.aggregation._excess_mtl import ExcessMTL
from jointrain.balancing.aggregation._mgda import MGDA

__all__ = ["MGDA", "ExcessMTL"]
