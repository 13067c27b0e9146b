"""PaddlePaddle's functional interface on the CPU."""

import numpy as np
import paddle
import paddle.nn.functional as F  # noqa: N812  the library's own habit

paddle.set_device("cpu")


def _in(array):
    return paddle.to_tensor(np.ascontiguousarray(array))


def softmax(x, axis=-1):
    return F.softmax(_in(x), axis=axis).numpy()


def log_softmax(x, axis=-1):
    return F.log_softmax(_in(x), axis=axis).numpy()


def logsumexp(x, axis=-1):
    return paddle.logsumexp(_in(x), axis=axis).numpy()


def sigmoid(x):
    return F.sigmoid(_in(x)).numpy()


def log_sigmoid(x):
    return F.log_sigmoid(_in(x)).numpy()


def _soft(target):
    return np.asarray(target).dtype.kind == "f"


def cross_entropy(logits, target, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    result = F.cross_entropy(
        _in(logits),
        _in(target),
        weight=None if weight is None else _in(weight),
        ignore_index=ignore_index,
        reduction=reduction,
        soft_label=_soft(target),
        label_smoothing=label_smoothing,
    ).numpy()
    return result.reshape(-1) if reduction == "none" else result


def cross_entropy_grad(logits, target):
    x = _in(logits)
    x.stop_gradient = False
    F.cross_entropy(x, _in(target), reduction="sum", soft_label=_soft(target)).backward()
    return x.grad.numpy()
