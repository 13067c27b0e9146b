"""Where a class is kept that is not kept everywhere: the trait is named and its edge is found."""

from __future__ import annotations

import numpy as np
import pytest

from xent_verify import audit
from xent_verify.core.model import DtypeResult


def stable(x: np.ndarray, axis: int = -1) -> np.ndarray:
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis, keepdims=True))
        return e / e.sum(axis, keepdims=True)


def naive(x: np.ndarray, axis: int = -1) -> np.ndarray:
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return e / e.sum(axis, keepdims=True)


def short(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Wrong by 1 % in rows of more than 777 logits."""
    return stable(x, axis) * x.dtype.type(1.01 if x.shape[axis] > 777 else 1)


def now_and_then(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Wrong where the bits of the first logit say so: no size, offset or length tells."""
    odd = np.ascontiguousarray(x).reshape(-1)[:1].view(np.uint32) % 5 == 0
    return stable(x, axis) * x.dtype.type(1.01 if odd.any() else 1)


def result(function: object) -> DtypeResult:
    return audit(function, op="softmax", dtypes=["float32"], profile="quick").targets[0].dtypes[0]  # type: ignore[arg-type]


def test_the_edge_of_a_size_is_found() -> None:
    """exp(x) overflows beyond log(M) = 88.72."""
    trait, _, edge = result(naive).domain.partition(" < ")
    assert trait in ("|x|", "|max x|")
    assert float(edge) == pytest.approx(88.7, rel=0.05)


def test_a_length_is_told_to_the_logit() -> None:
    """Every length up to 777 is right."""
    assert result(short).domain == "n < 778"


@pytest.mark.parametrize("function", [stable, now_and_then])
def test_no_domain_where_there_is_none(function: object) -> None:
    """Neither for what is kept everywhere, nor for what no trait tells."""
    assert result(function).domain == ""
