"""``sg.xp``: the array API's namespace computes at once, and traces what is of a graph."""

import inspect

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.messages import assert_refused

xp = sg.xp


def standardize(x):
    """Code for the standard: of whatever namespace the array has."""
    namespace = x.__array_namespace__()
    centred = x - namespace.mean(x, axis=0)
    return centred / namespace.sqrt(
        namespace.mean(namespace.square(centred), axis=0)
    ) + namespace.zeros(x.shape[1])


def test_code_for_the_standard_runs_on_tensors_and_is_traced():
    data = np.random.default_rng(0).normal(size=(5, 3))
    expected = (data - data.mean(0)) / data.std(0)
    x = xp.asarray(data)
    np.testing.assert_allclose(standardize(x).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(sg.function(standardize)(data), expected, rtol=1e-12)
    assert isinstance(xp.sin(sg.input("x", (3,))), sg.Value)
    assert not isinstance(xp.sin(sg.input("x", (3,))), Tensor)
    x.requires_grad = True
    (xp.sum(xp.square(x))).backward()
    np.testing.assert_array_equal(x.grad, 2 * data)


def test_what_it_makes_has_the_defaults_of_the_standard():
    for array in (xp.zeros(2), xp.ones((2,)), xp.eye(2), xp.linspace(0, 1, 3), xp.asarray(1.5)):
        assert isinstance(array, Tensor)
        assert array.dtype == xp.float64
    assert xp.arange(3).dtype == xp.asarray([1, 2]).dtype == xp.int64
    assert xp.zeros(2, dtype=xp.float32, device="cpu").dtype == "float32"
    assert {"device", "copy"} <= {*inspect.signature(xp.astype).parameters}
    info = xp.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] == xp.zeros(1).dtype
    assert [*info.dtypes(kind="bool")] == ["bool"]
    assert (info.default_device(), info.devices()) == ("cpu", ("cpu",))
    assert len(info.dtypes(kind=("bool", "numeric"))) == 13
    assert {"boolean indexing", "data-dependent shapes", "max dimensions"} == {*info.capabilities()}


def test_functions_whose_size_depends_on_values_take_tensors_only():
    data = np.array([[3.0, 0.0], [3.0, 1.0]])
    x = xp.asarray(data)
    for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values", "nonzero"):
        actual, expected = getattr(xp, name)(x), getattr(np, name)(data)
        expected_arrays = expected if isinstance(expected, tuple) else (expected,)
        for left, right in zip(
            actual if isinstance(actual, tuple) else (actual,), expected_arrays, strict=True
        ):
            np.testing.assert_array_equal(left.numpy(), right)
        with assert_refused(ArgumentError, f"{name}: only a run computes it"):
            getattr(xp, name)(sg.input("x", (3,)))
    numbers = np.random.default_rng(0).integers(-50, 50, 90)
    assert xp.unique_values(xp.asarray(numbers)).tolist() == sorted({*numbers.tolist()})
    assert np.isnan(xp.unique_values(xp.asarray([np.nan, 1.0, np.nan])).numpy()).sum() == 2
    with assert_refused(ArgumentError, "without axes"):
        xp.nonzero(xp.asarray(1.0))
    np.testing.assert_array_equal(x[x > 0].numpy(), data[data > 0])
    np.testing.assert_array_equal(x[x[:, 1] > 0].numpy(), data[data[:, 1] > 0])
    np.testing.assert_array_equal(xp.repeat(x, xp.asarray([2, 0]), axis=0), data[[0, 0]])
    chosen = Tensor(data, requires_grad=True)
    chosen[xp.asarray(data) > 2].sum().backward()
    np.testing.assert_array_equal(chosen.grad, data > 2)
    with assert_refused(ArgumentError, "bool mask", line="y[y > 0]"):
        y = sg.input("y", (3,))
        y[y > 0]


def test_parts_exchange_limits_and_names_of_the_standard():
    x = xp.asarray([1.0, -2.0])
    assert xp.conj(x) is xp.real(x) is x
    assert xp.imag(x).tolist() == [0.0, 0.0]
    assert xp.conj(2).tolist() == 2
    assert xp.nextafter(x, 9.0).tolist() == np.nextafter([1.0, -2.0], 9.0).tolist()
    assert complex(x[0]) == 1.0
    x = xp.asarray([1.0, 2.0])
    shared = np.from_dlpack(x)
    assert shared.tolist() == xp.from_dlpack(shared).tolist() == [1.0, 2.0]
    assert x.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="copy"):
        x.__dlpack__(copy=False)
    with assert_refused(ArgumentError, "copy=False"):
        xp.from_dlpack(shared, copy=False)
    with assert_refused(ArgumentError, "no device"):
        xp.from_dlpack(shared, device="cuda")
    assert isinstance(xp.finfo("float32").eps, float)
    assert xp.finfo(xp.zeros(1)).dtype == "float64"
    with assert_refused(DTypeError, "no such limits"):
        xp.finfo("int8")
    assert xp.linalg.det(xp.eye(2)).item() == 1.0
    assert xp.unstack(xp.zeros((0, 2))) == ()
    assert xp.finfo("complex64").dtype == "float32"
    assert xp.asarray([1j]).__dlpack_device__() == (1, 0)
    assert np.from_dlpack(xp.asarray([1j])).tolist() == [1j]
    assert xp.broadcast_shapes((2, 1), (3,)) == (2, 3)
    with assert_refused(ShapeError, "broadcast_shapes"):
        xp.broadcast_shapes((2,), (3,))
    np.testing.assert_array_equal(xp.repeat(x, xp.asarray([2])).numpy(), [1.0, 1.0, 2.0, 2.0])
    assert np.signbit(xp.full(1, complex(1.0, -0.0)).numpy().imag)
    assert repr(xp.fft) == "sg.xp.fft"
    with assert_refused(ArgumentError, "no device"):
        xp.fft.rfftfreq(3, device="cuda")


@pytest.mark.parametrize("text", ["b, c", "f4,f4", "{", "(2,)f4", ""])
def test_a_text_that_is_no_dtype_is_neither_equal_nor_taken(text):
    assert sg.float32 != text
    with assert_refused(DTypeError, "is not a dtype"):
        sg.zeros(3, text)
