"""The targets of the conformance check, for any namespace of the Array API standard."""


def copy(x):
    return x.__array_namespace__().asarray(x, copy=True)


def softmax(x, axis=-1):
    xp = x.__array_namespace__()
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def write(x):
    x += 1.0
    return x.__array_namespace__().asarray(x, copy=True)


def refuse(x):
    raise ValueError("refused")
