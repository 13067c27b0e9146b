"""SciPy: functions of probabilities, of those that its softmax gives; the mean by logsumexp's factor b."""

from scipy.spatial.distance import jensenshannon
from scipy.special import logsumexp, softmax
from scipy.stats import entropy as of_probabilities


def logmeanexp(x, axis=-1):
    return logsumexp(x, axis=axis, b=1 / x.shape[axis])


def entropy(x, axis=-1):
    return of_probabilities(softmax(x, axis=axis), axis=axis)


def js_divergence(p_logits, q_logits, axis=-1):
    return jensenshannon(softmax(p_logits, axis=axis), softmax(q_logits, axis=axis), axis=axis) ** 2
