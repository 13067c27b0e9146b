"""The targets of the conformance check, for TensorFlow."""

import tensorflow as tf


def copy(x):
    return tf.identity(x)


def softmax(x, axis=-1):
    return tf.cast(tf.nn.softmax(tf.cast(x, tf.float64), axis=axis), x.dtype)


def refuse(x):
    raise ValueError("refused")
