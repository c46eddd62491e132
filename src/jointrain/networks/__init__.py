"""Networks: trunks, heads and the ways to share layers between tasks."""

from jointrain.networks._aitm import AITM
from jointrain.networks._category_embeddings import CategoryEmbeddings
from jointrain.networks._cgc import CGC
from jointrain.networks._cross_stitch import CrossStitch
from jointrain.networks._dropout import Dropout, keep_factors
from jointrain.networks._dselect_k import DSelectK
from jointrain.networks._hard_sharing import HardSharing
from jointrain.networks._heads import GroupedLinear, TaskHeads
from jointrain.networks._joined_rows import (
    JoinedRows,
    Piece,
    drawing_for,
    drawn_for_rows,
    forget_drawn_rows,
    random_bytes,
    random_state,
    rows_drawn_for,
)
from jointrain.networks._layer_sharing import LayerSharing
from jointrain.networks._learning_to_branch import LearningToBranch
from jointrain.networks._low_rank_adapters import LowRankAdapters
from jointrain.networks._mlp import MLP
from jointrain.networks._mmoe import MMoE
from jointrain.networks._mtan import MTAN
from jointrain.networks._network import Network, Part
from jointrain.networks._numeric_embeddings import NumericEmbeddings
from jointrain.networks._pareto_set import ParetoSet, checked_preference
from jointrain.networks._plain_modules import replaced_methods, why_not_plain
from jointrain.networks._ple import PLE
from jointrain.networks._pyramid import AllStages, PyramidHead
from jointrain.networks._registry import (
    FOUND,
    NETWORK_NAMES,
    NETWORKS,
    NetworkFactory,
    TableNetwork,
    build_network,
    build_table_network,
    check_network,
    check_settings,
)
from jointrain.networks._sluice import Sluice
from jointrain.networks._soft_sharing import SoftSharing
from jointrain.networks._stages import cut, refuse_tied
from jointrain.networks._stored_weights import (
    OtherNetworkError,
    check_finite,
    network_of_own_weights,
    network_of_weights,
    weights_to_store,
)
from jointrain.networks._tabm import TabM
from jointrain.networks._wrappers import KerasTrunk, TransformerDecoder, TransformerTrunk

__all__ = [
    "AITM",
    "CGC",
    "MLP",
    "MTAN",
    "NETWORKS",
    "NETWORK_NAMES",
    "PLE",
    "AllStages",
    "CategoryEmbeddings",
    "CrossStitch",
    "DSelectK",
    "Dropout",
    "GroupedLinear",
    "HardSharing",
    "JoinedRows",
    "KerasTrunk",
    "LayerSharing",
    "LearningToBranch",
    "LowRankAdapters",
    "MMoE",
    "Network",
    "NetworkFactory",
    "NumericEmbeddings",
    "OtherNetworkError",
    "ParetoSet",
    "Part",
    "Piece",
    "PyramidHead",
    "Sluice",
    "SoftSharing",
    "TabM",
    "TableNetwork",
    "TaskHeads",
    "TransformerDecoder",
    "TransformerTrunk",
    "build_network",
    "build_table_network",
    "check_finite",
    "check_network",
    "check_settings",
    "checked_preference",
    "cut",
    "drawing_for",
    "drawn_for_rows",
    "forget_drawn_rows",
    "keep_factors",
    "network_of_own_weights",
    "network_of_weights",
    "random_bytes",
    "random_state",
    "refuse_tied",
    "replaced_methods",
    "rows_drawn_for",
    "weights_to_store",
    "why_not_plain",
]

# a network in a file of this folder is found unlisted
globals().update(FOUND)
__all__ += [name for name in FOUND if name not in __all__]
