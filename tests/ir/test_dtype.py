"""Element types: names, NumPy's promotion minus one row, pickling."""

import itertools

import numpy as np
import pytest

from passes.rules.identities import holds
from staticgrad.language.types.dtype import (
    ALL_DTYPES,
    BF16,
    BOOL,
    F16,
    F32,
    F64,
    I64,
    as_dtype,
    promote,
    promote_weak,
)
from tests.helpers.cases import check_all
from tests.helpers.limits import NUMPY_DTYPES, finfo
from tests.helpers.processes import python


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_every_spelling_means_the_dtype(dtype):
    numpy = dtype.numpy
    swapped = numpy.newbyteorder()
    codes = () if dtype.code in ("i8", "u8") else (dtype.code,)
    for spec in (dtype, str(dtype), numpy.name, numpy, numpy.type, swapped, *codes):
        assert as_dtype(spec) is dtype
    assert numpy.itemsize == dtype.itemsize
    assert (dtype.is_float, dtype.is_integer, dtype.is_bool) == (
        np.issubdtype(numpy, np.floating),
        np.issubdtype(numpy, np.integer),
        numpy == np.bool_,
    )


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_numpy_takes_it_for_one_of_its_own(dtype):
    numpy = dtype.numpy
    assert np.dtype(dtype) is numpy
    assert np.zeros(3, dtype).dtype is numpy
    assert np.ones(2).astype(dtype).dtype is numpy
    assert np.issubdtype(dtype, np.floating) == dtype.is_float
    assert np.promote_types(dtype, numpy) is numpy
    assert np.can_cast(dtype, dtype)
    if dtype.is_float:
        assert finfo(dtype).bits == dtype.bits
    elif dtype.is_integer:
        assert np.iinfo(dtype).bits == dtype.bits
    for name in ("name", "kind", "type", "char", "str", "num", "byteorder", "itemsize", "names"):
        assert getattr(dtype, name) == getattr(numpy, name)
    assert f"{dtype}" == str(dtype) == numpy.name
    with pytest.raises(AttributeError):
        dtype.nothing  # noqa: B018


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_equality_is_numpys_with_every_spelling(dtype):
    for right in ALL_DTYPES:
        for spec in (right, right.numpy, right.name, right.numpy.type, right.numpy.str[1:]):
            assert (dtype == spec) == (spec == dtype) == (dtype.numpy == right.numpy), spec
            assert (dtype != spec) == (spec != dtype) == (dtype.numpy != right.numpy), spec
    for spec in (None, 3, "no such type", object, "U3", (), [1], np.dtype("complex64")):
        assert dtype != spec
        assert not dtype == spec  # noqa: SIM201
    swapped = dtype.numpy.newbyteorder()
    assert (dtype == swapped) == (dtype.numpy == swapped)
    assert {dtype: 1}[dtype.numpy] == {dtype.numpy: 1}[dtype] == 1
    assert len({*ALL_DTYPES, *(d.numpy for d in ALL_DTYPES)}) == len(ALL_DTYPES)


@pytest.mark.parametrize("spec", ["i8", "u8", "float128", "c4", object, "U3", "none", None, 3.5])
def test_what_is_no_dtype_is_refused_with_the_list(spec):
    says = "is not a dtype of staticgrad; there are bool, int8"
    if spec in ("i8", "u8"):
        says = r"counts bits in graphs, bytes in NumPy: u?int8 or"
    with pytest.raises(TypeError, match=says):
        as_dtype(spec)
    assert (as_dtype(bool), as_dtype(int), as_dtype(float)) == (BOOL, I64, F64)
    assert as_dtype("f8") is F64


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_a_dtype_says_what_its_format_holds(dtype):
    if dtype.is_float:
        facts = finfo(dtype.numpy)
        assert dtype.digits == facts.nmant + 1
        assert dtype.largest == float(facts.max)
        assert dtype.bias == facts.maxexp - 1
    else:
        with pytest.raises(TypeError, match="has no exponent"):
            _ = dtype.bias
    if dtype.is_integer:
        assert (1 << dtype.digits) - 1 == np.iinfo(dtype.numpy).max
    if dtype.is_bool:
        with pytest.raises(TypeError, match="no integer is as wide as bool"):
            _ = dtype.signed
        return
    assert (dtype.signed.kind, dtype.unsigned.kind) == ("i", "u")
    assert {dtype.signed.itemsize, dtype.unsigned.itemsize} == {dtype.itemsize}


def test_a_dtype_holds_another_where_numpy_casts_it_safely():
    """NumPy's table, but for integers in floats: it calls int64 in float64 safe, which rounds."""

    def check(outer, inner):
        expected = np.can_cast(inner.numpy, outer.numpy, "safe")
        if inner.is_integer and outer.is_float:
            largest = int(np.iinfo(inner.numpy).max)
            with np.errstate(over="ignore"):
                expected = float(outer.numpy.type(largest)) == largest
        assert holds(outer, inner) == expected

    check_all(check, itertools.product(NUMPY_DTYPES, repeat=2))


def test_bfloat16_is_that_of_its_package():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    foreign = np.dtype(ml_dtypes.bfloat16)
    for spec in ("bfloat16", "bf16", foreign, ml_dtypes.bfloat16, BF16):
        assert as_dtype(spec) is BF16
        assert spec == BF16
    assert {BF16: 1}[foreign] == {foreign: 1}[BF16] == 1
    assert (BF16.numpy, BF16.itemsize, str(BF16), BF16.code) == (foreign, 2, "bfloat16", "bf16")
    assert BF16 not in (F16, F32, "float16", np.dtype("V2"), np.uint16)
    assert np.zeros(3, BF16).dtype == foreign
    promoted = {F16: F32, BF16: BF16, F32: F32, F64: F64}
    for dtype in ALL_DTYPES:
        expected = promoted.get(dtype, BF16)
        assert promote(BF16, dtype) is promote(dtype, BF16) is expected
        narrower = dtype.digits <= BF16.digits and not dtype.is_float
        assert holds(BF16, dtype) == (narrower or dtype is BF16)
        assert holds(dtype, BF16) == (dtype in (BF16, F32, F64))
    for scalar in (True, 3, 0.5):
        assert promote_weak(scalar, BF16) is BF16


@pytest.mark.slow
def test_without_its_package_bfloat16_is_refused():
    program = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "ml_dtypes" else find(name, *rest)
import numpy as np
import staticgrad as sg
for spec in ("bfloat16", sg.bfloat16):
    try:
        sg.input("x", (3,), spec)
    except sg.StaticgradError as error:
        print(error.code, "needs the package ml_dtypes" in str(error), "[bfloat16]" in str(error))
x = sg.input("x", (3,), "float16")
print(sg.compile(x * 2.0).run({"x": np.ones(3)}).dtype)
try:
    sg.parse("staticgrad-ir 1\\ngraph g(%x: bf16[3]) {\\n  return y = %x\\n}\\n")
except sg.StaticgradError as error:
    print(error.code)
try:
    sg.compile(sg.exp(sg.input("x", (3,))), pipeline="O1,narrow")
except sg.StaticgradError as error:
    print(error.code, "[bfloat16]" in str(error))
"""
    lines = python("-c", program).stdout.splitlines()
    assert lines == [*["SG506 True True"] * 2, *("float16", "SG202", "SG506 True")]


WITHOUT_ML_DTYPES = """
import sys
sys.modules["ml_dtypes"] = None  # as where it is not installed
import numpy as np
import staticgrad as sg
x, w = np.ones((5, 4), "float32"), np.full((4, 3), 2.0, "float32")
f = sg.function(sg.value_and_grad(lambda w: (x @ w).sum()))
value, slope = f(w)
assert value == 120.0 and (slope == 5.0).all()
i = np.arange(6, dtype="int8").reshape(2, 3)
product = sg.function(lambda a, b: a.astype("int32") @ b.astype("int32"))(i, i.T)
assert (product == i.astype("int32") @ i.T.astype("int32")).all()
"""


def test_products_are_compiled_without_the_package_of_bfloat16():
    """A plain installation has no ml_dtypes: a table with bfloat16 as a key took its hash."""
    python("-c", WITHOUT_ML_DTYPES)
