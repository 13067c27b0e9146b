"""autograd: softmax as its gradient of logsumexp."""

from autograd import elementwise_grad
from autograd.scipy.special import logsumexp


def softmax(x, axis=-1):
    return elementwise_grad(lambda value: logsumexp(value, axis=axis))(x)
