"""Results stored in block formats: what a sound encoder answers passes, what loses a block or its scale does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xent_verify import audit, limits, reference
from xent_verify.core.formats import FORMATS
from xent_verify.verdict.blocks import BLOCKS, Blocks

BLOCKED = {name: form for name, form in BLOCKS.items() if isinstance(form, Blocks)}


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def encoded(p: np.ndarray, name: str, *, up: int = 0, tensor: bool = True) -> np.ndarray:
    """What p [R, n] means once it is stored: one scale a block, the elements rounded to nearest, the largest kept."""
    form = BLOCKED[name]
    n = p.shape[-1]
    blocks = np.pad(p.astype(np.float64), ((0, 0), (0, -n % form.size))).reshape(len(p), -1, form.size)
    top = blocks.max(axis=-1, keepdims=True)
    if form.powers:
        scale = np.ldexp(1.0, np.maximum(np.frexp(top)[1] - 1 - form.element.e_max + up, -127))
    else:
        whole = p.max() / (448 * 6) if tensor else 1.0
        scales = FORMATS["float8_e4m3fn"]
        scale = scales.widen(scales.narrow(top / 6 / whole)) * whole
    with np.errstate(all="ignore"):
        cut = np.where(scale > 0, np.minimum(blocks / scale, form.element.max_finite), 0)
    stored = form.element.widen(form.element.narrow(cut)) * scale
    return np.asarray(stored.reshape(len(p), -1)[:, :n])


X = np.concatenate([np.random.default_rng(0).normal(0, scale, (20, 70)) for scale in (0.1, 1.0, 5.0)]).astype(
    np.float32
)
ALLOWED = {name: limits("softmax", X, policy=f"block:{name}") for name in BLOCKED}
TRUE = np.asarray(reference("softmax", X))


@pytest.mark.parametrize("up", [0, 1])
@pytest.mark.parametrize("name", BLOCKED)
def test_encoders_of_either_scale_pass(name: str, up: int) -> None:
    """The scale of the largest value's binade, and of the next; nothing rounds further than the room that there is."""
    error = np.abs(encoded(softmax(X), name, up=up) - TRUE)
    assert (error <= ALLOWED[name]).all()
    assert (error / ALLOWED[name]).max() > 0.4


@pytest.mark.parametrize("name", BLOCKED)
def test_a_lost_scale_or_a_block_of_another_row_fails(name: str) -> None:
    """Elements without a scale, the scale of the whole row, truncation."""
    form = BLOCKED[name].element
    plain = form.widen(form.narrow(softmax(X).astype(np.float64)))
    turned = np.roll(encoded(softmax(X), name), 1, axis=0)
    wrong = [plain, turned, encoded(softmax(X), name) * 0]
    assert all((np.abs(answer - TRUE) > ALLOWED[name]).any() for answer in wrong)


def test_nvfp4_needs_a_scale_of_the_whole_result() -> None:
    """Scales of small probabilities vanish in float8_e4m3fn (vLLM)."""
    x = np.zeros((2, 4096), np.float32)
    allowed, p = limits("softmax", x, policy="block:nvfp4"), softmax(x)
    true = np.asarray(reference("softmax", x))
    assert (np.abs(encoded(p, "nvfp4") - true) <= allowed).all()
    assert (np.abs(encoded(p, "nvfp4", tensor=False) - true) > allowed).all()


def test_an_audit_takes_the_block_format_as_a_policy() -> None:
    """A target that stores its rows in mxfp4 passes under that policy, and fails as float32."""

    def stored(x: Any) -> Any:
        return encoded(softmax(x), "mxfp4").astype(np.float32)

    for policy, ok in (("block:mxfp4", True), ("standard", False)):
        report = audit(stored, op="softmax", dtypes=["float32"], profile="quick", regimes=["ordinary"], policy=policy)
        assert report.ok is ok


def test_whole_steps_round_to_the_nearest_and_end_at_255() -> None:
    """The answer nearest to each value passes, the next one does not; 1 is 255/256."""
    values, error = np.array([0.0, 0.3, 0.998, 1.0]), np.zeros(4)
    nearest = np.minimum(np.rint(values * 256), 255) / 256
    room = BLOCKS["int8"].room(values, error)
    assert (np.abs(nearest - values) <= room).all()
    assert (np.abs(nearest - 2 / 256 - values) > room).all()


def test_every_row_of_four_logits_of_a_quantised_softmax() -> None:
    """Exhaustively in float4_e2m1fn, 65,536 rows: rounding to the nearest step passes, cutting down does not."""

    def quantised(x: Any, up: float) -> Any:
        e = np.exp(x.astype(np.float32) - x.astype(np.float32).max(axis=-1, keepdims=True))
        return np.minimum(np.floor(e / e.sum(axis=-1, keepdims=True) * 256 + up), 255).astype(np.float32) / 256

    x = FORMATS["float4_e2m1fn"].from_bits(np.stack(np.meshgrid(*[np.arange(16)] * 4), -1).reshape(-1, 4))
    allowed, true = limits("softmax", x, policy="block:int8", result="float32"), np.asarray(reference("softmax", x))
    assert (np.abs(quantised(x, 0.5) - true) <= allowed).all()
    assert (np.abs(quantised(x, 0.0) - true) > allowed).any()


def test_a_block_with_an_infinity_has_no_scale() -> None:
    """Nothing is judged in it, and all is in its neighbour."""
    room = BLOCKS["mxfp4"].room(np.array([np.nan] + [0.5] * 40), np.zeros(41))
    assert np.isnan(room[:32]).all()
    assert np.isfinite(room[32:]).all()
