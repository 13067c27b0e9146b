"""tinygrad on its CPU device."""

import numpy as np
from tinygrad import Tensor


def softmax(x, axis=-1):
    return Tensor(np.ascontiguousarray(x)).softmax(axis).numpy()


def log_softmax(x, axis=-1):
    return Tensor(np.ascontiguousarray(x)).log_softmax(axis).numpy()


def logsumexp(x, axis=-1):
    return Tensor(np.ascontiguousarray(x)).logsumexp(axis).numpy()


def sigmoid(x):
    return Tensor(np.ascontiguousarray(x)).sigmoid().numpy()


def cross_entropy(logits, target, *, reduction="mean", label_smoothing=0.0):
    held = Tensor(np.ascontiguousarray(target))
    return Tensor(np.ascontiguousarray(logits)).cross_entropy(held, reduction, label_smoothing).numpy()
