"""Methods that choose the weights of the training losses by held-out losses."""

from jointrain.balancing.bilevel._auto_lambda import AutoLambda
from jointrain.balancing.bilevel._forum import FORUM
from jointrain.balancing.bilevel._moml import MOML

__all__ = ["FORUM", "MOML", "AutoLambda"]
