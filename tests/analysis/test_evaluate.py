"""The oracle: its structures, its precision, what it refuses, and that it changes nothing."""

from typing import ClassVar

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import IndexOutOfRange, OpDefinitionError, OutOfMemory
from staticgrad.ir.op import Op
from staticgrad.types.arrays import TensorType
from staticgrad.types.dtype import F32, F64
from tests.chains import sum_chain


def scalar(name, dtype="float64"):
    return sg.input(name, (), dtype)


def test_feeds_by_name_and_by_value():
    x, y = scalar("x"), scalar("y")
    assert sg.evaluate(x - y, {x: 5.0, "y": 3.0}) == 2.0
    x = sg.input("x", (3,), "float64")
    found = sg.evaluate(np.log(x) / x, {"x": [-1.0, 0.0, np.inf]})
    assert np.isnan(found).tolist() == [True, False, True]


def test_parameters_keep_their_value_and_updates_read_the_old_ones():
    a, b = sg.parameter("a", np.array(1.0)), sg.parameter("b", np.array(2.0))
    graph = sg.Graph({"sum": a + b}, updates={a: b, b: a})
    outputs, updates = sg.evaluate(graph, updates=True)
    assert outputs == {"sum": 3.0}
    assert updates == {"a": 2.0, "b": 1.0}
    assert (a.value, b.value) == (1.0, 2.0)


def test_symbolic_sizes_take_the_size_of_the_feeds():
    x = sg.input("x", ("n",), "float64")
    mean = x.sum() / x.mean()
    for n in (1, 2, 7):
        assert sg.evaluate(mean, {"x": np.full(n, 2.0)}) == n


@pytest.mark.slow
def test_30_000_nodes_and_values_are_dropped_after_their_last_use():
    x = sg.input("x", (1000,), "float64")
    y = sum_chain(x, sg.constant(np.ones(1000)), 30_000)
    assert sg.evaluate(y, {"x": np.zeros(1000)})[0] == 30_000.0  # all at once are 240 MB


# In higher precision


def test_float64_runs_a_float32_program_in_float64():
    x = scalar("x", "float32")
    w = sg.parameter("w", np.array(0.1, "float32"))
    y = (x + w).astype("float32") * np.float32(0.3) - 1e-3
    found = sg.evaluate(y, {"x": np.float32(1.0)}, dtype="float64")
    assert found.dtype == np.float64
    exact = (1.0 + float(np.float32(0.1))) * float(np.float32(0.3)) - float(np.float32(1e-3))
    assert found == exact
    assert sg.evaluate(y, {"x": 1.0}).dtype == np.float32


def test_float64_feeds_are_not_rounded_to_the_declared_dtype():
    x = scalar("x", "float32")
    third = np.float64(1) / 3
    assert sg.evaluate(x, {"x": third}, dtype="float64") == third
    assert sg.evaluate(x, {"x": third}) == np.float32(third)
    n, x = scalar("n", "int32"), scalar("x", "float32")
    found = sg.evaluate([n * 2, x > 0.5, n.astype("float32") + x], {"n": 3, "x": 1.0},
                        dtype="float64")  # fmt: skip
    assert [f.dtype for f in found] == [np.int32, np.bool_, np.float64]


class Bits(Op):
    """The low byte of each float, as a float of the same dtype."""

    name: ClassVar[str] = "test.bits"
    keeps_dtype: ClassVar[bool] = True

    def infer(self, x):
        return x

    def reference(self, x):
        assert x.dtype == np.float32
        return (x.view(np.uint32) & 255).astype(np.float32)


def test_float64_runs_an_op_whose_bits_depend_on_the_dtype_as_declared():
    x = sg.input("x", (2,), "float32")
    feeds = {"x": np.array([0.1, 0.7], "float32")}
    wide = sg.evaluate(Bits()(x), feeds, dtype="float64")
    assert wide.dtype == np.float64
    assert wide.tolist() == sg.evaluate(Bits()(x), feeds).tolist()


# What it refuses


class Liar(Op):
    """Infers what its fields say; its reference is the operand."""

    name: ClassVar[str] = "test.liar"
    types: tuple[TensorType, ...]

    def infer(self, x):
        return self.types if len(self.types) > 1 else self.types[0]

    def reference(self, x):
        return x


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ((TensorType(F32, (2,)),), r"float64\[2\], infer float32\[2\]"),
        ((TensorType(F64, (3,)),), r"float64\[2\], infer float64\[3\]"),
        ((TensorType(F64, (2,)), TensorType(F64, ())), "1 results, infer 2"),
    ],
)
def test_a_reference_that_contradicts_infer(types, says):
    x = sg.input("x", (2,), "float64")
    y = Liar(types)(x)  # the liar's line
    y = y[0] if isinstance(y, tuple) else y
    with pytest.raises(OpDefinitionError, match=says) as caught:
        sg.evaluate(y, {"x": np.ones(2)})
    assert "the liar's line" in caught.value.at.resolve().text


class Raises(Op):
    name: ClassVar[str] = "test.raises"

    def infer(self, x):
        return x

    def reference(self, x):
        raise IndexOutOfRange("index 7 is out of range")


def test_an_error_while_running_names_the_line_of_the_node():
    x = scalar("x")
    y = Raises()(x)  # the raising op
    with pytest.raises(IndexOutOfRange) as caught:
        sg.evaluate(y + 1.0, {"x": 1.0})
    assert "the raising op" in caught.value.at.resolve().text


@pytest.mark.parametrize("size", [10**14, 2**60])
@pytest.mark.parametrize("op", ["broadcast", "tanh", "reshape"])
def test_what_no_memory_can_hold_is_one_error(size, op):
    x = sg.input("x", (1,), "float32")
    wide = sg.broadcast_to(x, (size, 2, 2))
    y = {"broadcast": lambda: wide, "tanh": lambda: sg.tanh(wide), "reshape": wide.ravel}[op]()
    with pytest.raises(OutOfMemory, match=r".*: f32\[.*\] does not fit into memory") as caught:
        sg.evaluate(y, {"x": [1.0]})
    assert "wide" in str(caught.value)
