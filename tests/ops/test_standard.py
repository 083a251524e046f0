"""The array API standard's names: attributes of values, dtypes, constants; facts without a run."""

import itertools

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, AxisError, DTypeError, RankError
from staticgrad.language.types.dtype import ALL_DTYPES
from tests.helpers.limits import NUMPY_DTYPES
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused

A = np.arange(24.0).reshape(2, 3, 4)


@pytest.fixture(params=["symbolic", "eager"])
def value(request):
    return (
        Tensor(A, dtype="float64")
        if request.param == "eager"
        else sg.input("x", A.shape, "float64")
    )


def test_attributes_of_the_standard(value):
    assert value.mT.shape == (2, 4, 3)
    assert value.device == "cpu"
    assert value.to_device("cpu") is value
    namespace = sg.xp if isinstance(value, Tensor) else sg
    assert value.__array_namespace__() is namespace
    assert value.__array_namespace__(api_version="2024.12") is namespace
    assert_each_refused(
        (ArgumentError, "no device 'cuda'", lambda: value.to_device("cuda")),
        (ArgumentError, "2099.12", lambda: value.__array_namespace__(api_version="2099.12")),
        (RankError, "not a matrix", lambda: value[0, 0].mT),
    )


def test_transposed_matrices_have_their_elements():
    np.testing.assert_array_equal(run(sg.input("x", A.shape, "float64").mT, {"x": A}), A.mT)


@pytest.mark.parametrize("module", [np, sg], ids=["np", "sg"])
def test_facts_are_answered_without_a_node(module, value):
    assert module.shape(value) == A.shape
    assert module.ndim(value) == 3
    assert module.size(value) == 24
    assert module.size(value, 1) == 3
    assert module.size(value, axis=-1) == 4
    assert module.result_type(value, np.float32) == np.float64
    assert module.can_cast(value, "float64")
    assert not module.can_cast(value, np.float32)
    assert module.can_cast(value, "float32", casting="same_kind")
    with assert_refused(AxisError, "no axis 3", line="module.size(value, 3)"):
        module.size(value, 3)


def test_facts_of_named_sizes_are_expressions():
    x = sg.input("x", ("n", 3))
    n = sg.dim("n")
    assert np.shape(x) == (n, 3)
    assert np.size(x) == 3 * n
    assert np.size(x, 0) == n
    assert sg.size(A, (0, 2)) == 8
    assert (sg.shape([[1, 2]]), sg.ndim(3.0), sg.size([1, 2])) == ((1, 2), 0, 2)


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations(NUMPY_DTYPES, 2)), ids=str)
def test_result_types_are_those_of_arithmetic(a, b):
    x, y = sg.input("x", (), a), sg.input("y", (), b)
    expected = sg.where(True, x, y).dtype
    assert sg.result_type(x, y) is expected
    assert sg.result_type(a, b.name) is expected
    assert np.result_type(x, b.numpy) is expected
    assert np.zeros(1, sg.result_type(a, b)).dtype == expected
    assert sg.can_cast(a, b) == np.can_cast(a.numpy, b.numpy)


def test_numbers_are_weak_in_result_types():
    x = sg.input("x", (), "float32")
    assert sg.result_type(x, 1.0) == sg.result_type(x, 3) == np.result_type(x, 1.0) == "float32"
    assert sg.result_type(sg.int8, 1.0) == sg.result_type(1.0) == "float64"
    with assert_refused(ArgumentError, "of nothing"):
        sg.result_type()
    with assert_refused(DTypeError, "complex256"):
        sg.result_type(x, "complex256")


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_kinds_and_limits_are_numpys(dtype):
    kinds = ["bool", "signed integer", "unsigned integer", "integral", "real floating", "numeric",
             "complex floating"]  # fmt: skip
    for kind in [*kinds, ("bool", "integral"), np.float32, sg.int8, "numeric"]:
        plain = kind.numpy if isinstance(kind, type(dtype)) else kind
        assert sg.isdtype(dtype, kind) == np.isdtype(dtype.numpy, plain)
    x = sg.input("x", (2,), dtype)
    for limits, accepted, refused in ((sg.finfo, "f", "biu"), (sg.iinfo, "iu", "bf")):
        if dtype.kind in accepted:
            assert limits(dtype).max == limits(x).max == limits(dtype.name).max
            assert limits(dtype).bits == dtype.bits
        elif dtype.kind in refused:
            with assert_refused(DTypeError, "no such limits"):
                limits(dtype)


@pytest.mark.skipif("bf16" not in [d.code for d in ALL_DTYPES], reason="needs ml_dtypes")
def test_kinds_and_limits_of_what_numpy_does_not_know():
    assert sg.isdtype("bfloat16", "real floating")
    assert sg.isdtype("bfloat16", ("bool", "numeric"))
    assert not sg.isdtype("bfloat16", "integral")
    assert not sg.isdtype("bfloat16", sg.float16)
    assert sg.isdtype("bfloat16", sg.bfloat16)
    assert float(sg.finfo("bfloat16").max) == sg.bfloat16.largest
    assert float(sg.finfo("bfloat16").eps) == 2.0 ** (1 - sg.bfloat16.digits)


def test_arrays_from_data_and_from_values(value):
    assert sg.asarray(value) is value
    assert sg.asarray(value, copy=False) is value
    assert sg.asarray(value, dtype="float32", copy=True).dtype == "float32"
    for data in ([1, 2], np.arange(3), 2.5, True):
        array = sg.asarray(data, device="cpu")
        assert array.dtype == np.asarray(data).dtype
        np.testing.assert_array_equal(run(array), data)
    assert sg.asarray([1, 2], dtype=sg.float32).dtype == "float32"
    with assert_refused(ArgumentError, "copy=False", line="copy=False"):
        sg.asarray([1.0], copy=False)
    with assert_refused(ArgumentError, "device='cuda' is not one of", line='device="cuda"'):
        sg.asarray([1.0], device="cuda")
