"""A named size among the operands: the number that a literal size would be, weak like it."""

import operator

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import SymbolicValueError
from staticgrad.language.types.dim import Dim

BATCH = sg.dim("batch")
X = np.arange(1.0, 13.0, dtype="float32").reshape(4, 3)
OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_on_either_side_it_acts_as_the_literal_would(function, dtype):
    x = sg.input("x", (BATCH, 3), dtype)
    feeds = {"x": X.astype(dtype)}
    for with_name, with_number in (
        (function(x, x.shape[0]), function(x, 4)),
        (function(x.shape[0], x), function(4, x)),
    ):
        assert with_name.type == with_number.type
        actual, expected = sg.evaluate([with_name, with_number], feeds)
        np.testing.assert_array_equal(actual, expected)


def test_functions_and_numpys_integers_take_it():
    x = sg.input("x", (BATCH, 3))
    batch = x.shape[0]
    values = [sg.where(x > batch, batch, x), sg.maximum(x, 2 * batch - 1), sg.sqrt(batch) * x]
    expected = [np.where(X > 4, 4, X), np.maximum(X, 7), 2 * X]
    for actual, array in zip(sg.evaluate(values, {"x": X}), expected, strict=True):
        np.testing.assert_allclose(actual, array)
    for number in (np.int64(2), np.uint8(2)):
        assert number * BATCH == BATCH * number == 2 * BATCH
        assert number + BATCH == BATCH + number == BATCH + 2
        assert isinstance(number - BATCH, Dim)
        assert BATCH // number == BATCH // 2


@pytest.mark.parametrize(
    ("refused", "word"),
    [
        (lambda: BATCH / 2, "divides with //"),
        (lambda: 2 / BATCH, "size_value"),
        (lambda: BATCH * 0.5, "0.5 is not a size"),
        (lambda: np.float64(0.5) * BATCH, "0.5) is not a size"),
        (lambda: np.arange(3) * BATCH, "is not a size"),
        (lambda: BATCH**2, "size_value"),
        (lambda: BATCH < 3, "sg.dim"),
        (lambda: BATCH >= 3, "sg.dim"),
        (lambda: float(BATCH), "size_value"),
        (lambda: np.sqrt(BATCH), "np.sqrt"),
        (lambda: np.add.reduce(BATCH), "np.add"),
        (lambda: np.zeros((BATCH,)), "whole number"),
        (lambda: [0] * BATCH, "is not a size"),
    ],
)
def test_as_a_number_of_python_it_is_refused(refused, word):
    with pytest.raises(SymbolicValueError, match="has no value before feeds are bound") as caught:
        refused()
    assert word in str(caught.value)
