"""Methods that weigh the losses by their values: one backward pass."""

from jointrain.balancing._balancer import Balancer
from jointrain.balancing.weighting._cosmos import COSMOS
from jointrain.balancing.weighting._cov import CoV
from jointrain.balancing.weighting._difficulty import ByDifficulty
from jointrain.balancing.weighting._dtp import DTP
from jointrain.balancing.weighting._dwa import DWA
from jointrain.balancing.weighting._equal import Equal
from jointrain.balancing.weighting._famo import FAMO
from jointrain.balancing.weighting._gls import GLS
from jointrain.balancing.weighting._go4align import GO4Align
from jointrain.balancing.weighting._igb import IGB
from jointrain.balancing.weighting._imtl_l import IMTLL
from jointrain.balancing.weighting._ldc_mtl import LDCMTL
from jointrain.balancing.weighting._log_transform import LogTransform
from jointrain.balancing.weighting._pbi import PBI
from jointrain.balancing.weighting._rlw import RLW
from jointrain.balancing.weighting._size import BySize
from jointrain.balancing.weighting._static import Static
from jointrain.balancing.weighting._stch import STCH
from jointrain.balancing.weighting._uncertainty import Uncertainty
from jointrain.balancing.weighting._uw_so import UWSO
from jointrain.system.folder_classes import classes_of

__all__ = [
    "COSMOS",
    "DTP",
    "DWA",
    "FAMO",
    "GLS",
    "IGB",
    "IMTLL",
    "LDCMTL",
    "PBI",
    "RLW",
    "STCH",
    "UWSO",
    "ByDifficulty",
    "BySize",
    "CoV",
    "Equal",
    "GO4Align",
    "LogTransform",
    "Static",
    "Uncertainty",
]

# listed above for editors and type checkers; a method in a file of this folder is found unlisted
METHODS = classes_of(__name__, __path__, Balancer)
globals().update(METHODS)
__all__ += [name for name in METHODS if name not in __all__]
