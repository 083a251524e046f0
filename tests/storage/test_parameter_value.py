"""The value of ``w.value``: a copy that refuses to be written into, and is an array otherwise."""

import copy
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ImmutableError, ParameterValueError


@pytest.fixture
def w():
    return sg.parameter("w", np.arange(6.0).reshape(2, 3))


#: Ways that NumPy refuses by itself, without a word on parameters.
NUMPYS_OWN = [lambda v: v.fill(0), lambda v: v.sort(), lambda v: np.copyto(v, 0.0)]


@pytest.mark.parametrize(
    "write",
    [
        lambda v: v.__setitem__(0, 5.0),
        lambda v: v[0].__setitem__(slice(None), 5.0),
        lambda v: v.T.__setitem__((0, 0), 5.0),
        lambda v: np.exp(v, out=v[::-1]),
        lambda v: np.add.accumulate(v, out=v),
        lambda v: np.modf(np.ones((2, 3)), out=(v, v)),
        *NUMPYS_OWN,
    ],
)
def test_writing_into_it_is_refused(w, write):
    error, says = ValueError, "read-only"
    if write not in NUMPYS_OWN:
        error, says = ImmutableError, r"w\.value = v"
    with pytest.raises(error, match=says):
        write(w.value)
    assert np.array_equal(w.value, np.arange(6.0).reshape(2, 3))


def test_in_place_operators_of_the_parameter_set_it(w):
    w.value -= 0.5 * np.ones(3)
    w.value *= 2
    assert np.array_equal(w.value, 2 * np.arange(6.0).reshape(2, 3) - 1)
    value = w.value
    value += 1.0
    assert np.array_equal(w.value, value - 1)


def test_what_is_computed_of_it_is_an_ordinary_array(w):
    v = w.value
    for actual in (v + 1, -v, v @ v.T, v.sum(axis=0), np.exp(v), np.maximum(v, 1), v.mean(axis=1)):
        assert type(actual) is np.ndarray
    target = np.empty((2, 3))
    assert np.add(v, 1, out=target) is target
    assert repr(v) == repr(np.array(v))
    assert str(v) == str(np.array(v))
    for again in (v.copy(), copy.deepcopy(v), np.array(v), v.astype("float32"), np.sort(v)):
        again[0] = 7
        again += 1
        assert (again[0] == 8).all()
    assert type(pickle.loads(pickle.dumps(v))) is np.ndarray


def test_it_meets_values_of_graphs_and_parameters(w):
    x = sg.input("x", (2, 3), "float64")
    f = sg.compile({"y": w.value * x, "z": x + w.value})
    actual = f.run({"x": w.value})
    assert np.array_equal(actual["y"], w.value**2)
    assert np.array_equal(actual["z"], 2 * w.value)
    w.value = w.value
    again = sg.parameter("again", w.value)
    again.value = w.value + 1
    assert np.array_equal(again.value, w.value + 1)


@pytest.mark.parametrize("value", [[0.5, 1.5], [1 + 1j, 2]])
def test_an_integer_parameter_takes_no_value_that_would_lose_information(value):
    w = sg.parameter("w", np.array([3, 4], "int32"))
    with pytest.raises(ParameterValueError, match="parameter 'w' is int32"):
        w.value = value
    assert w.value.tolist() == [3, 4]
    w.value = np.array([5, 6], "int64")
    assert w.value.tolist() == [5, 6]
