"""Methods that choose the weights of the training losses by held-out losses."""

from jointrain.balancing._balancer import Balancer
from jointrain.balancing.bilevel._auto_lambda import AutoLambda
from jointrain.balancing.bilevel._forum import FORUM
from jointrain.balancing.bilevel._moml import MOML
from jointrain.system.folder_classes import classes_of

__all__ = ["FORUM", "MOML", "AutoLambda"]

# listed above for editors and type checkers; a method in a file of this folder is found unlisted
METHODS = classes_of(__name__, __path__, Balancer)
globals().update(METHODS)
__all__ += [name for name in METHODS if name not in __all__]
