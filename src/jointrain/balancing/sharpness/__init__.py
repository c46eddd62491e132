"""Methods that look for flat minima: each task's gradient is taken at weights moved uphill."""

from jointrain.balancing._balancer import Balancer
from jointrain.balancing.sharpness._f_mtl import FMTL
from jointrain.balancing.sharpness._samo import SAMO
from jointrain.system.folder_classes import classes_of

__all__ = ["FMTL", "SAMO"]

# listed above for editors and type checkers; a method in a file of this folder is found unlisted
METHODS = classes_of(__name__, __path__, Balancer)
globals().update(METHODS)
__all__ += [name for name in METHODS if name not in __all__]
