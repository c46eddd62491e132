"""jointrain in training loops of others: any loop, Lightning, the Hugging Face Trainer.

Nothing else in jointrain imports this package, and it imports none of theirs.
"""

from jointrain.integrations._balanced_loss import BalancedLoss

__all__ = ["BalancedLoss"]
