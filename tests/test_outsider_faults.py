"""Kernels by other hands than the tool's: faults wrong where they say, faults that must fail, sound ones that must pass."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import sampled

from xent_verify import audit
from xent_verify.implementations import find


def loaded(name: str) -> Any:
    """A corpus of ``data/``."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "data" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAULTS, MORE, SOUND = loaded("outsider_faults"), loaded("outsider_faults_2"), loaded("outsider_sound_2")
SHOWN = {name: entry for name, entry in FAULTS.META.items() if entry["args"]}


def wide(value: Any) -> Any:
    return np.asarray(value).astype(np.float64)


@pytest.mark.parametrize("name", SHOWN)
def test_a_fault_is_wrong_where_it_says(name):
    """The call in META is answered otherwise than by a sound implementation."""
    entry = SHOWN[name]
    call = getattr(FAULTS, name)
    for earlier in entry["setup"]:
        call(*(eval(source, FAULTS.NAMES) for source in earlier))
    arguments = [eval(source, FAULTS.NAMES) for source in entry["args"]]
    options = {option: eval(source, FAULTS.NAMES) for option, source in entry["kwargs"].items()}
    found = call(*arguments, **options)
    plain = [np.array(np.asarray(array).astype(np.asarray(array).dtype.newbyteorder("="))) for array in arguments]
    right = find("stable", entry["op"]).call(*plain, **options)
    same = np.shape(found) == np.shape(right) and np.allclose(wide(found), wide(right), rtol=1e-11, atol=0)
    near = np.shape(found) == np.shape(right) and np.allclose(wide(found), wide(right), rtol=4e-6, atol=0)
    assert not (same if "float64" in entry["dtypes"] else near)


def test_the_faults_are_variants_of_sound_code():
    """Without its fault each family answers as the sound implementation does."""
    x = np.array([[0.5, 1.5, -1.0], [2.0, -0.5, 0.25]], np.float32)
    for op, call in FAULTS.SOUND.items():
        second = {
            "cross_entropy": np.array([1, 2]),
            "cross_entropy_grad": np.array([1, 2]),
            "binary_cross_entropy_with_logits": np.full_like(x, 0.25),
            "kl_divergence": x[::-1].copy(),
        }
        arguments = [x, second[op]] if op in second else [x]
        assert np.allclose(call(*arguments), find("stable", op).call(*arguments), rtol=4e-6, atol=0), op


@pytest.mark.parametrize("name", sampled(MORE.META, 9))
def test_a_fault_that_was_planted_elsewhere_fails(name):
    """Under the quick profile, in the first of its formats."""
    entry = MORE.META[name]
    assert not audit(getattr(MORE, name), op=entry["op"], dtypes=entry["dtypes"][:1], profile="quick").ok


@pytest.mark.parametrize("name", sampled(SOUND.META, 8))
def test_a_sound_kernel_that_was_written_elsewhere_passes(name):
    """Under the quick profile, in the first of its formats."""
    entry = SOUND.META[name]
    assert audit(getattr(SOUND, name), op=entry["op"], dtypes=entry["dtypes"][:1], profile="quick").ok
