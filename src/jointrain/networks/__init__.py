"""Networks: trunks, heads and the ways to share layers between tasks."""

from jointrain.networks._hard_sharing import HardSharing
from jointrain.networks._mlp import MLP
from jointrain.networks._network import Network

__all__ = ["MLP", "HardSharing", "Network"]
