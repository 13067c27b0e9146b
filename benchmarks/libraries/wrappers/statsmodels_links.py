"""The logistic function of statsmodels: of its discrete Logit model, and of the link of its GLMs."""

import numpy as np
from statsmodels.discrete.discrete_model import Logit
from statsmodels.genmod.families.links import Logit as Link

_MODEL = Logit(np.array([0.0, 1.0]), np.ones((2, 1)))


def sigmoid(x):
    return _MODEL.cdf(x)


def sigmoid_of_glm(x):
    return Link().inverse(x)
