"""Reports as JSON: strict, exact, checked when read."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_factory import example, finding, odd_example, passing, report

from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import DtypeResult, Report, TargetResult
from xent_verify.report import from_json, to_json
from xent_verify.report.arrays import decode_array, encode_array


def same(a, b) -> bool:
    """Equal to the bit: arrays by dtype, shape and bytes, NaN equal to NaN, +0 unlike -0."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return isinstance(b, float) and np.float64(a).tobytes() == np.float64(b).tobytes()
    return type(a) is type(b) and a == b


def wrapped(*examples, **changes) -> Report:
    """A report of one finding per example."""
    found = tuple(finding(minimal=item, **changes) for item in examples)
    result = DtypeResult("float32", 10, float("inf"), 0.1, {"nan": 3}, found)
    return Report((TargetResult("f", "softmax", (result,)),), {})


def test_round_trip_is_exact():
    """A report read back is the report that was written, histograms included."""
    made = report()
    assert same(from_json(to_json(made)), made)
    assert to_json(from_json(to_json(made))) == to_json(made)


@pytest.mark.parametrize("dtype", FORMATS)
def test_odd_examples_round_trip(dtype):
    """Signed zeros, NaN, infinities, subnormals, runs and array options survive in every format."""
    made = wrapped(odd_example(dtype), example(dtype))
    assert same(from_json(to_json(made)), made)


def test_json_is_strict():
    """No NaN or Infinity literal is ever written, and max_ulp stays a plain number or the string inf."""

    def refuse(name):
        raise AssertionError(name)

    data = json.loads(to_json(wrapped(odd_example("float32"))), parse_constant=refuse)
    assert data["targets"][0]["dtypes"][0]["max_ulp"] == "inf"
    assert isinstance(json.loads(to_json(report()))["targets"][0]["dtypes"][0]["max_ulp"], float)


SCHEMA = json.loads(files("xent_verify.report").joinpath("schema.json").read_text(encoding="utf-8"))
COMMITTED = Path(__file__).parent.parent / "reports" / "small" / "results.json"


@pytest.mark.parametrize(
    "text",
    [
        to_json(report()),
        to_json(passing()),
        to_json(wrapped(odd_example("float16"))),
        COMMITTED.read_text(encoding="utf-8"),
    ],
    ids=["failing", "passing", "odd", "committed"],
)
def test_results_obey_the_schema_that_ships(text):
    """A result has the fields that schema.json names, all that it requires and no others."""
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_the_schema_explains_every_field():
    """Each field has a description, which the documentation shows."""
    tables = {"result": SCHEMA, **SCHEMA["$defs"]}
    told = [(name, field, about) for name, table in tables.items() for field, about in table["properties"].items()]
    assert not [(name, field) for name, field, about in told if not about.get("description")]


def test_an_unknown_field_breaks_the_schema():
    """The schema can fail: a finding with another field, or without one of its own, is none."""
    for change in ({"kinds": 7}, {"colour": "red"}, {"count": None}):
        data = json.loads(to_json(report()))
        data["targets"][0]["dtypes"][0]["findings"][0] |= change
        assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(data)


def test_arrays_are_bits_with_values_for_people():
    """An input is its format, its shape, its bits, and its decimal values where it is short."""
    found = json.loads(to_json(report()))["targets"][0]["dtypes"][0]["findings"][0]
    assert found["minimal"]["inputs"] == [
        {"name": "x", "dtype": "float32", "shape": [1, 1], "bits": "42b20000", "values": [89.0]}
    ]


def test_long_rows_are_short():
    """A row of 100,000 equal logits takes a few bytes."""
    record = encode_array(np.zeros((1, 100_000), np.float32))
    assert record == {"dtype": "float32", "shape": [1, 100_000], "bits": "00000000*100000"}


@given(st.data())
def test_any_bits_round_trip(data):
    """Every bit pattern of every format, any shape, comes back as it was."""
    form = data.draw(st.sampled_from(sorted(FORMATS.values(), key=lambda f: f.name)))
    bits = data.draw(st.lists(st.integers(0, 2**form.bits - 1), max_size=12))
    array = form.from_bits(np.array(bits, dtype=form.unsigned)).reshape(1, -1)
    back = decode_array(json.loads(json.dumps(encode_array(array))))
    assert same(back, array)


CORRUPT = {
    "not JSON": lambda text: text[:-20],
    "a literal NaN": lambda text: text.replace('"cases": 5040', '"cases": NaN', 1),
    "another schema": lambda text: text.replace('"schema": 1', '"schema": 9'),
    "a list": lambda text: "[]",
    "a missing key": lambda text: text.replace('"op":', '"opp":', 1),
    "an unknown kind": lambda text: text.replace('"kind": "overflow"', '"kind": "overflaw"', 1),
    "an unknown dtype": lambda text: text.replace('"dtype": "bfloat16"', '"dtype": "bfloat15"'),
    "a negative count": lambda text: text.replace('"count": 120', '"count": -1', 1),
    "a word for a number": lambda text: text.replace('"rounded": 1.0', '"rounded": "one"', 1),
    "a hex twin that differs": lambda text: text.replace('"rounded_hex": "0x1.0', '"rounded_hex": "0x1.1', 1),
    "bits that do not fill the shape": lambda text: text.replace('"bits": "42b20000"', '"bits": "42b20000*2"', 1),
    "bits of another width": lambda text: text.replace('"bits": "42b20000"', '"bits": "42b2"', 1),
    "a cell outside the bins": lambda text: text.replace('"histogram": [[', '"histogram": [[999, 0, 1], [', 1),
    "other bins": lambda text: text.replace('"error_ulp": [0.0,', '"error_ulp": [0.25,', 1),
}


@pytest.mark.parametrize("fault", CORRUPT)
def test_corrupt_files_get_one_line(fault):
    """A corrupt report is a UsageError of one line that names the file."""
    text = to_json(report())
    damaged = CORRUPT[fault](text)
    assert damaged != text
    with pytest.raises(UsageError) as caught:
        from_json(damaged, source="old.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_run_facts_stay_in_their_block():
    """Two runs that differ only in times and machine differ only in the environment block."""
    first = passing()
    second = Report(first.targets, {"seconds": 99.0})
    a, b = json.loads(to_json(first)), json.loads(to_json(second))
    assert a.pop("environment") != b.pop("environment")
    assert a == b


def test_json_needs_neither_pandas_nor_matplotlib():
    """Reading and writing JSON loads none of the heavy libraries that tables and plots need."""
    code = (
        "import sys; from xent_verify.report import from_json, to_json; from_json, to_json;"
        "print(*({'pandas', 'matplotlib', 'jinja2', 'rich'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
