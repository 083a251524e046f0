"""Element types: names, NumPy's promotion minus one row, pickling."""

import copy
import itertools
import pickle

import numpy as np
import pytest

from staticgrad.ir.dtype import (
    ALL_DTYPES,
    BOOL,
    F32,
    F64,
    I8,
    I64,
    DType,
    as_dtype,
    promote,
    promote_weak,
)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_every_spelling_means_the_dtype(dtype: DType) -> None:
    numpy = dtype.numpy
    swapped = numpy.newbyteorder()
    for spec in (dtype, str(dtype), numpy.name, numpy, numpy.type, swapped):
        assert as_dtype(spec) is dtype
    assert numpy.itemsize == dtype.itemsize
    assert (dtype.is_float, dtype.is_integer, dtype.is_bool) == (
        np.issubdtype(numpy, np.floating),
        np.issubdtype(numpy, np.integer),
        numpy == np.bool_,
    )


def test_python_types_are_those_of_numpy() -> None:
    assert (as_dtype(bool), as_dtype(int), as_dtype(float)) == (BOOL, I64, F64)
    assert as_dtype("i8") is I8  # a name of this project, where NumPy means eight bytes


@pytest.mark.parametrize("spec", ["float16", "complex64", object, "U3", "no such type", None, 3.5])
def test_what_is_no_dtype_is_refused_with_the_list(spec: object) -> None:
    with pytest.raises(TypeError, match="is not a dtype of staticgrad; there are bool, int8"):
        as_dtype(spec)


@pytest.mark.parametrize(
    ("a", "b"), list(itertools.combinations_with_replacement(ALL_DTYPES, 2)), ids=str
)
def test_arrays_meet_as_in_numpy_except_integers_with_floats(a: DType, b: DType) -> None:
    expected = (
        next(d for d in (a, b) if d.is_float)
        if a.is_float != b.is_float
        else as_dtype(np.promote_types(a.numpy, b.numpy))
    )
    assert promote(a, b) == promote(b, a) == expected


@pytest.mark.parametrize("other", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("scalar", [True, 3, 0.5], ids=str)
def test_python_scalars_are_weak_as_in_numpy(scalar: float, other: DType) -> None:
    meant = (np.zeros(1, other.numpy) + scalar).dtype
    assert promote_weak(scalar, other) is as_dtype(meant)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_pickles_and_copies_are_the_object(dtype: DType) -> None:
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert copy.deepcopy(dtype) is dtype
    assert repr(F32) == "sg.float32"
