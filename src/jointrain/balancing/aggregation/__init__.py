"""Methods that make the update from the tasks' gradients: their Gramian or the Jacobian itself."""

from jointrain.balancing._balancer import Balancer
from jointrain.balancing.aggregation._aligned_mtl import AlignedMTL
from jointrain.balancing.aggregation._cagrad import CAGrad
from jointrain.balancing.aggregation._config import ConFIG
from jointrain.balancing.aggregation._cons_mtl import ConsMTL
from jointrain.balancing.aggregation._cr_mogm import CRMOGM
from jointrain.balancing.aggregation._db_mtl import DBMTL
from jointrain.balancing.aggregation._dual_proj import DualProj
from jointrain.balancing.aggregation._epo import EPO
from jointrain.balancing.aggregation._excess_mtl import ExcessMTL
from jointrain.balancing.aggregation._fairgrad import FairGrad
from jointrain.balancing.aggregation._ferero import FERERO
from jointrain.balancing.aggregation._gcond import GCond
from jointrain.balancing.aggregation._grad_drop import GradDrop
from jointrain.balancing.aggregation._grad_norm import GradNorm
from jointrain.balancing.aggregation._gradvac import GradVac
from jointrain.balancing.aggregation._imtl import IMTL
from jointrain.balancing.aggregation._imtl_g import IMTLG
from jointrain.balancing.aggregation._krum import Krum
from jointrain.balancing.aggregation._mgda import MGDA
from jointrain.balancing.aggregation._moco import MoCo
from jointrain.balancing.aggregation._modo import MoDo
from jointrain.balancing.aggregation._nash_mtl import NashMTL
from jointrain.balancing.aggregation._pcd import PCD
from jointrain.balancing.aggregation._pcgrad import PCGrad
from jointrain.balancing.aggregation._pivrg import PIVRG
from jointrain.balancing.aggregation._pmgda import PMGDA
from jointrain.balancing.aggregation._rgw import RGW
from jointrain.balancing.aggregation._rotograd_scale import RotoGradScale
from jointrain.balancing.aggregation._sdmgrad import SDMGrad
from jointrain.balancing.aggregation._trimmed_mean import TrimmedMean
from jointrain.balancing.aggregation._upgrad import UPGrad
from jointrain.system.folder_classes import classes_of

__all__ = [
    "CRMOGM",
    "DBMTL",
    "EPO",
    "FERERO",
    "IMTL",
    "IMTLG",
    "MGDA",
    "PCD",
    "PIVRG",
    "PMGDA",
    "RGW",
    "AlignedMTL",
    "CAGrad",
    "ConFIG",
    "ConsMTL",
    "DualProj",
    "ExcessMTL",
    "FairGrad",
    "GCond",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "Krum",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "RotoGradScale",
    "SDMGrad",
    "TrimmedMean",
    "UPGrad",
]

# listed above for editors and type checkers; a method in a file of this folder is found unlisted
METHODS = classes_of(__name__, __path__, Balancer)
globals().update(METHODS)
__all__ += [name for name in METHODS if name not in __all__]
