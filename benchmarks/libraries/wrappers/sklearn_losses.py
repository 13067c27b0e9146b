"""scikit-learn's multinomial loss, as its linear and boosted models call it (a private module: their common core)."""

import numpy as np
from sklearn._loss.loss import HalfMultinomialLoss


def cross_entropy(logits, target):
    if np.ndim(target) != 1:
        raise TypeError("class indices only")
    loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    return np.asarray(loss.loss(np.ascontiguousarray(target).astype(logits.dtype), np.ascontiguousarray(logits)))


def cross_entropy_grad(logits, target):
    if np.ndim(target) != 1:
        raise TypeError("class indices only")
    loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    return np.asarray(loss.gradient(np.ascontiguousarray(target).astype(logits.dtype), np.ascontiguousarray(logits)))
