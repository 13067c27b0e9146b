"""The targets of the conformance check for JAX, and others whose style of calling is to be found."""

import jax
import jax.numpy as jnp


def copy(x):
    return jnp.array(x, copy=True)


@jax.jit
def jitted(x):
    return jax.nn.softmax(x)


def softmax(x, axis=-1):
    return jax.nn.softmax(x.astype(jnp.float64), axis=axis).astype(x.dtype)


def refuse(x):
    raise ValueError("refused")


def loss(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
