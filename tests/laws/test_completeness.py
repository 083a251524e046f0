"""No op is registered without samples, element types, special values, sizes, derivatives, words.

And every one is what its NumPy expression says, on all samples. See ``completeness.py``.
"""

import numpy as np
import pytest

from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ir.rounded import widen_array
from staticgrad.language.types.dtype import as_dtype, kind_of_elements
from tests.helpers.limits import finfo
from tests.laws import samples as registry
from tests.laws.completeness import missing
from tests.laws.samples import declaration_of, op_names, samples_of
from tests.laws.spelling import evaluate_spelling

every_op = pytest.mark.parametrize("name", op_names())


@every_op
def test_nothing_is_missing(name):
    gaps = [sentence for sentences in missing(name).values() for sentence in sentences]
    assert gaps == []


def test_nothing_is_declared_of_ops_that_are_none():
    samples_of("add")
    declared = {name for name in registry.DECLARATIONS if not name.startswith("tests.")}
    assert declared <= registered_ops().keys()


ADDING = (
    "sum", "cumsum", "linear_scan", "matmul", "panel_matmul", "scatter_add", "scatter_along",
    "window_sum", "fold", "window_put", "conv", "conv_image", "conv_filter",
)  # fmt: skip
#: Last places in which vector math and sums may differ from NumPy's, over all samples.
PLACES = {"bfloat16": 1, "float16": 1, "float32": 64, "float64": 64}


@every_op
def test_reference_is_the_numpy_expression(name):
    declared = declaration_of(name)
    assert declared is not None, f"{name} has no spelling in NumPy: see test_nothing_is_missing"
    if declared.spelling.startswith("no "):
        assert len(declared.spelling) > 20
        return
    compared = 0
    for sample in samples_of(name):
        if outside_numpy(name, sample):
            continue
        compared += 1
        expected = evaluate_spelling(
            declared.spelling, sample.op, tuple(map(widen_array, sample.arrays))
        )
        with np.errstate(all="ignore"):
            actual = sample.reference()
        actual = (
            tuple(map(np.asarray, actual)) if isinstance(actual, tuple) else (np.asarray(actual),)
        )
        assert len(actual) == len(expected)
        for got, number in zip(actual, expected, strict=True):
            stored = as_dtype(got.dtype)
            is_wide = stored.is_storage and number.dtype == stored.compute.numpy
            with np.errstate(over="ignore"):
                want = number.astype(got.dtype) if is_wide else number
            assert (got.dtype, got.shape) == (want.dtype, want.shape), (sample, got, want)
            check_alike(name, sample, got, want)
    assert compared > 0


def outside_numpy(name, sample):
    """Return whether NumPy refuses the operands or leaves the result to the processor."""
    kinds = {kind_of_elements(np.asarray(a).dtype) for a in sample.arrays}
    if name == "integer_pow":
        return kinds <= set("iu") and sample.op.exponent < 0
    if name == "cast":
        return kinds == {"f"} and sample.op.dtype.kind in "iu"
    return name in ("abs", "at_least", "ceil", "floor", "trunc", "rint") and kinds == {"b"}


def check_alike(name, sample, got, want):
    if kind_of_elements(got.dtype) != "f":
        np.testing.assert_array_equal(got, want, err_msg=str(sample))
        return
    places = float(PLACES[got.dtype.name] * finfo(got.dtype).eps)
    got, want = got.astype(np.float64), want.astype(np.float64)
    operands = map(np.asarray, sample.arrays)
    floats = [np.abs(a.astype(np.float64)) for a in operands if kind_of_elements(a.dtype) == "f"]
    with np.errstate(all="ignore"):
        near = np.isclose(got, want, rtol=places, atol=0.0, equal_nan=True)
        if name in ADDING:
            scale = sum(float(a[np.isfinite(a)].sum()) for a in floats)
            near |= np.abs(got - want) <= places * scale
            near |= ~np.isfinite(want) & ~np.isfinite(got)  # it may overflow on one way only
    assert near.all(), f"{sample}: {got[~near]} for {want[~near]}"


@pytest.fixture
def bare(monkeypatch):
    for table_name in ("PROVIDERS", "DECLARATIONS"):
        monkeypatch.setattr(registry, table_name, dict(getattr(registry, table_name)))
    return "tests.bare"


def sentences(name):
    return "\n".join(s for lines in missing(name).values() for s in lines)
