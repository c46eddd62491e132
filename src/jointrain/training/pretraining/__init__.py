"""Self-supervised pre-training of a trunk on rows without labels."""

from jointrain.training.pretraining._contrastive import Contrastive
from jointrain.training.pretraining._denoising import Denoising
from jointrain.training.pretraining._masked_features import MaskedFeatures
from jointrain.training.pretraining._objective import Objective
from jointrain.training.pretraining._pretrain import pretrain, run_pretraining

__all__ = ["Contrastive", "Denoising", "MaskedFeatures", "Objective", "pretrain", "run_pretraining"]
