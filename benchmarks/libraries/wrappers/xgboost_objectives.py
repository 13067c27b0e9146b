"""XGBoost's output transformations: a model of no trees, so that the base margin is the logits."""

import numpy as np
import xgboost


def _predicted(margin, parameters):
    data = xgboost.DMatrix(np.zeros((len(margin), 1), np.float32), label=np.zeros(len(margin)))
    data.set_base_margin(np.ascontiguousarray(margin))
    model = xgboost.train({**parameters, "base_score": 0.5, "verbosity": 0}, data, num_boost_round=0)
    return model.predict(data)


def softmax(x):
    if x.ndim != 2:
        raise TypeError("rows of logits only")
    return _predicted(x, {"objective": "multi:softprob", "num_class": x.shape[1]}).reshape(x.shape)


def sigmoid(x):
    return _predicted(x.reshape(-1), {"objective": "binary:logistic"}).reshape(x.shape)
