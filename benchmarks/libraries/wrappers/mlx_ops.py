"""MLX on its CPU device; bfloat16 crosses as integer bits."""

import ml_dtypes
import mlx.core as mx
import mlx.nn as nn
import numpy as np

mx.set_default_device(mx.cpu)


def _in(array):
    array = np.ascontiguousarray(array)
    if array.dtype == ml_dtypes.bfloat16:
        return mx.array(array.view(np.uint16)).view(mx.bfloat16)
    return mx.array(array)


def _out(array):
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).view(ml_dtypes.bfloat16)
    return np.array(array)


def softmax(x, axis=-1):
    return _out(mx.softmax(_in(x), axis=axis))


def precise_softmax(x, axis=-1):
    return _out(mx.softmax(_in(x), axis=axis, precise=True))


def log_softmax(x, axis=-1):
    return _out(nn.log_softmax(_in(x), axis=axis))


def logsumexp(x, axis=-1):
    return _out(mx.logsumexp(_in(x), axis=axis))


def sigmoid(x):
    return _out(mx.sigmoid(_in(x)))


def log_sigmoid(x):
    return _out(nn.log_sigmoid(_in(x)))


def cross_entropy(logits, target, *, reduction="mean", label_smoothing=0.0):
    return _out(nn.losses.cross_entropy(_in(logits), _in(target), reduction=reduction, label_smoothing=label_smoothing))


def cross_entropy_grad(logits, target):
    held = _in(target)
    return _out(mx.grad(lambda x: nn.losses.cross_entropy(x, held, reduction="sum"))(_in(logits)))
