"""Three functions that a classifier is trained with."""

from tiny_losses.losses import cross_entropy, log_softmax, softmax

__all__ = ["cross_entropy", "log_softmax", "softmax"]
