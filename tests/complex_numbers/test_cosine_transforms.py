"""Cosine and sine transforms against SciPy: types, lengths, axes, norms, derivatives."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings, strategies as st

import staticgrad as sg

RNG = np.random.default_rng(11)
NAMES = ("dct", "idct", "dst", "idst")
TYPES = (1, 2, 3, 4)
NORMS = (None, "backward", "ortho", "forward")


def compare_with_scipy(name, x, *args, tolerance=1e-12, **kwargs):
    expected = getattr(scipy.fft, name)(x, *args, **kwargs)
    values = sg.input("x", x.shape, x.dtype.name)
    actual = getattr(sg.fft, name)(values, *args, **kwargs)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(
        sg.evaluate(actual, {"x": x}), expected, rtol=tolerance, atol=10 * tolerance
    )


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(TYPES),
    st.lists(st.integers(2, 7), min_size=1, max_size=3),
    st.integers(-3, 2),
    st.none() | st.integers(2, 11),
    st.sampled_from(NORMS),
    st.sampled_from([None, True, False]),
)
def test_one_axis(name, type, shape, axis, n, norm, orthogonalize):
    axis = axis % len(shape) - (axis < 0) * len(shape)
    x = RNG.normal(size=shape)
    compare_with_scipy(name, x, type, n, axis, norm, orthogonalize=orthogonalize)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["dctn", "idctn", "dstn", "idstn"]),
    st.sampled_from(TYPES),
    st.none() | st.permutations([0, 1, 2]).map(lambda axes: axes[:2]),
    st.booleans(),
    st.sampled_from(NORMS),
)
def test_several_axes(name, type, axes, resized, norm):
    s = (6, 2) if resized else None
    compare_with_scipy(name, RNG.normal(size=(3, 4, 5)), type, s=s, axes=axes, norm=norm)


@pytest.mark.parametrize("name", NAMES)
def test_other_elements(name):
    x = RNG.normal(size=(2, 9))
    compare_with_scipy(name, x + 1j * RNG.normal(size=x.shape))
    compare_with_scipy(name, x.astype(np.float32), tolerance=1e-5)
    compare_with_scipy(name, np.arange(6))


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_size_of_the_run(name, type):
    x = sg.input("x", ("n",), "float64")
    f = sg.compile(sg.Graph({"y": getattr(sg.fft, name)(x, type, norm="ortho")}))
    for n in (2, 5, 8, 13):
        data = RNG.normal(size=n)
        expected = getattr(scipy.fft, name)(data, type, norm="ortho")
        np.testing.assert_allclose(f.run({"x": data})["y"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("kind", ["dct", "dst"])
def test_the_gradient_is_the_transposed_matrix(kind, type):
    transform, numpy_transform = getattr(sg.fft, kind), getattr(scipy.fft, kind)
    matrix = numpy_transform(np.eye(7), type, axis=0)
    weights = RNG.normal(size=7)
    gradient = sg.function(sg.grad(lambda x: (transform(x, type) * weights).sum()))
    np.testing.assert_allclose(gradient(RNG.normal(size=7)), matrix.T @ weights, rtol=1e-12)


@pytest.mark.parametrize("kind", ["dct", "dst"])
def test_what_is_refused(kind):
    transform = getattr(sg.fft, kind)
    with pytest.raises(sg.errors.ShapeError, match="type 2 of 0 elements"):
        transform(np.zeros((3, 0)))
    with pytest.raises(sg.errors.ArgumentError, match="type=5 is not one of 1, 2, 3, 4"):
        transform(np.ones(3), 5)
    with pytest.raises(sg.errors.ArgumentError, match="1 sizes for 2 axes"):
        getattr(sg.fft, f"{kind}n")(np.ones((3, 3)), s=(3,), axes=(0, 1))


def test_one_element_has_no_cosine_transform_of_type_1():
    with pytest.raises(sg.errors.ShapeError, match="type 1 of 1 elements"):
        sg.fft.dct([1.0], 1)
