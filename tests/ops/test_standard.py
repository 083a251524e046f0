"""The array API standard's names: attributes of values, dtypes, constants; facts without a run."""

import itertools

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, AxisError, DTypeError, RankError
from staticgrad.language.types.dtype import ALL_DTYPES, COMPLEX_DTYPES
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
    namespace = sg.xp
    assert value.__array_namespace__() is namespace
    assert value.__array_namespace__(api_version="2025.12") is namespace
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


def test_questions_of_numpy_that_other_libraries_ask_are_answered(value):
    assert (np.iscomplexobj(value), np.isrealobj(value)) == (False, True)
    assert np.iscomplexobj(value.astype("complex64"))
    assert not np.may_share_memory(value, A)
    assert not np.shares_memory(A, value)
    assert np.iterable(value)
    assert not np.iterable(value[0, 0, 0])


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


@pytest.mark.parametrize("casting", ["no", "equiv", "safe", "same_kind", "unsafe"])
def test_complex_numbers_are_cast_where_numpy_casts_them(casting):
    dtypes = (*NUMPY_DTYPES, *COMPLEX_DTYPES)
    pairs = [pair for pair in itertools.product(dtypes, dtypes) if {*pair} & {*COMPLEX_DTYPES}]
    for source, target in pairs:
        expected = np.can_cast(source.numpy, target.numpy, casting)
        assert sg.can_cast(source, target, casting) == expected
        assert sg.can_cast(sg.input("x", (), source), target, casting) == expected


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


IN_NAMESPACE = {
    "bool": lambda x, xp: xp.astype(x > 2, xp.bool),
    "made of nothing": lambda x, xp: xp.zeros(3) + x @ xp.eye(3) + xp.linspace(0.0, 1.0, 3),
    "lists": lambda x, xp: xp.asarray([1.0, 2.0, 3.0]) * x + xp.stack([xp.ones(3), x[0]]),
    "indices": lambda x, xp: xp.take(x, xp.asarray([0, 2]), axis=1),
    "where": lambda x, xp: xp.where(x > 2, x, xp.asarray(0.0)),
    "nextafter": lambda x, xp: xp.nextafter(x, x + 1),
    "limits": lambda x, xp: x + xp.finfo(x.dtype).eps,
    "linalg": lambda x, xp: xp.linalg.matrix_norm(x),
    "fft": lambda x, xp: xp.real(xp.fft.ifft(xp.fft.fft(x) * xp.fft.fftfreq(3))),
    "hfft": lambda x, xp: xp.fft.hfft(xp.fft.ihfft(x, norm="ortho"), n=3, norm="forward"),
    "complex": lambda x, xp: xp.abs(xp.astype(x, xp.complex128) * 1j),
    "dlpack": lambda x, xp: xp.from_dlpack(np.ones(3)) + x,
}


@pytest.mark.parametrize("name", IN_NAMESPACE)
def test_the_namespace_of_tensors_and_of_values_in_a_function_is_one(name):
    """Results are those of NumPy, whose namespace is of the standard, too; made in float64."""
    f, array = IN_NAMESPACE[name], np.arange(6.0).reshape(2, 3) + 0.5
    expected = f(array, np)

    def compute(x):
        assert x.__array_namespace__() is sg.xp
        return f(x, x.__array_namespace__())

    computed = compute(sg.xp.asarray(array))
    traced = sg.function(compute)(array)
    assert isinstance(computed, Tensor)
    for result in (np.asarray(computed), traced):
        np.testing.assert_allclose(result, expected, rtol=1e-14, atol=1e-14)
        assert result.dtype == expected.dtype


def test_what_values_decide_is_refused_in_a_function_and_the_namespace_says_so():
    shapes = []

    def look(x):
        shapes.append(sg.xp.__array_namespace_info__().capabilities()["data-dependent shapes"])
        return sg.xp.unique_values(x)

    assert look(sg.xp.asarray([2.0, 1.0, 2.0])).tolist() == [1.0, 2.0]
    with pytest.raises(ArgumentError, match="unique_values: only a run computes it"):
        sg.function(look)(np.ones(3))
    assert shapes == [True, False]
    info = sg.xp.__array_namespace_info__()
    assert info.default_dtypes()["complex floating"] is sg.complex128
    assert set(info.dtypes(kind="complex floating")) == {"complex64", "complex128"}
