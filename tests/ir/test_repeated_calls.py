"""Calls with operands of the same types as earlier ones build nodes of their own."""

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.extend import Op, TensorType


@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, 1, True])
def test_a_number_is_a_constant_of_its_own_bits(number):
    x = sg.input("x", (2,), "float64")
    for equal_number in (0.0, 1.0, 1, True, -0.0):  # of other signs and classes
        sg.copysign(x, equal_number)
    value = sg.evaluate(sg.copysign(x, number), {"x": np.ones(2)})
    np.testing.assert_array_equal(value, np.copysign(np.ones(2), number))
    integers = sg.input("n", (2,), "int32")
    dtype = (integers + number).dtype
    expected = np.ones(2, "int32") + number
    assert dtype == expected.dtype or (isinstance(number, float) and dtype.is_float)


def test_each_call_has_a_node_and_a_line_of_its_own():
    x = sg.input("x", (2, 3), "float32")
    first = sg.sum(x * 2.0, axis=1)
    second = sg.sum(x * 2.0, axis=1)
    assert first.node is not second.node
    lines = [value.node.origin.resolve().line for value in (first, second)]
    assert lines[1] == lines[0] + 1
    constants = [value.node.args[0].node.args[1].node for value in (first, second)]
    assert constants[0] is not constants[1]


def test_a_guard_on_named_sizes_is_noted_by_each_call():
    n, m = sg.dim("n"), sg.dim("m")
    x, y = sg.input("x", (n,), "float64"), sg.input("y", (m,), "float64")
    for _ in range(3):
        f = sg.compile(sg.Graph({"z": x + y}))
        f.run({"x": np.ones(2), "y": np.ones(2)})
        with pytest.raises(sg.errors.StaticgradError):
            f.run({"x": np.ones(2), "y": np.ones(3)})


def test_keys_of_equal_hash_are_read_apart():
    x = sg.input("x", (2, 3), "float64")
    array = np.arange(6.0).reshape(2, 3)
    for key in (1, slice(1, None), np.int64(1), [1], (1, 1), (slice(None), 1), -1, ..., None):
        for _ in range(2):
            result = sg.evaluate(x[key], {"x": array})
            np.testing.assert_array_equal(result, array[key])
    for _ in range(2):
        with pytest.raises(sg.errors.IndexOutOfRange):
            x[2]
    assert x[1].shape == (3,)
    longer = sg.input("longer", (3, 3), "float64")
    assert longer[2].shape == (3,)


def test_an_error_is_raised_by_each_call():
    x, y = sg.input("x", (2, 3), "float64"), sg.input("y", (2, 4), "float64")
    for _ in range(2):
        with pytest.raises(sg.errors.ShapeError):
            x + y
        with pytest.raises(sg.errors.AxisError):
            sg.sum(x, axis=2)


class _Tagged(Op, name="repeated.tagged"):
    """An op from outside whose attribute cannot be hashed."""

    tags: list[str]

    def infer(self, x: TensorType) -> TensorType:
        return x.with_shape((len(self.tags), *x.shape))


class _Doubled(Op, name="repeated.doubled"):
    """An op from outside that reads more than the types of its operands."""

    def prepare(self, *args: Any) -> Any:
        (x,) = args
        return (x,) if isinstance(x.node.op, sg.extend.Constant) else (x + x,)

    def infer(self, x: TensorType) -> TensorType:
        return x


def test_ops_from_outside_are_read_at_each_call():
    x = sg.input("x", (3,), "float64")
    assert [_Tagged(["a"] * k)(x).shape for k in (1, 2, 1)] == [(1, 3), (2, 3), (1, 3)]
    constant = sg.constant(np.ones(3))
    op = _Doubled()
    for _ in range(2):
        assert op(constant).node.args[0] is constant
        assert op(x).node.args[0] is not x
