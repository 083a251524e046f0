"""Inputs, parameters, constants and arrays from shapes."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError, SizeGuardError
from staticgrad.language.ir.graph import Input
from staticgrad.language.ir.op import Op
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused


def test_an_input_says_its_type_and_line():
    batch = sg.dim("batch", min=1)
    for shape, expected in [
        ((), "f32[]"), ((2, 3), "f32[2, 3]"), (4, "f32[4]"), ("n", "f32[n]"),
        (("n", 3), "f32[n, 3]"),
        ((batch, 2 * batch), "f32[batch, 2*batch]"), ([np.int64(5)], "f32[5]"), (0, "f32[0]"),
        (None, "f32[x.0]"), ((2, None, None), "f32[2, x.1, x.2]"), (batch, "f32[batch]"),
    ]:  # fmt: skip
        assert str(sg.input("x", shape).type) == expected
    assert sg.input("y", ("batch",)).shape != sg.input("z", (batch,)).shape
    x = sg.input("x", (2,))  # this line
    assert isinstance(x.node.op, Input)
    assert "this line" in x.node.origin.resolve().text


def test_a_parameter_owns_a_copy():
    array = np.ones((2, 3), np.float32)
    w = sg.parameter("w", array)
    array[:] = 7
    assert (w.value == 1).all()
    assert (w.name, str(w.type)) == ("w", "f32[2, 3]")
    assert "sg.parameter" in w.node.origin.resolve().text
    assert sg.parameter("v", [1, 2], "float32").dtype == "float32"
    assert sg.parameter("s", 2.5).shape == ()
    assert (run(w + 1) == 2).all()


def test_a_constant_is_a_copy():
    array = np.arange(3)
    value = sg.constant(array)
    array[:] = 0
    np.testing.assert_array_equal(run(value), [0, 1, 2])
    assert sg.constant(2.5).dtype == "float64"
    assert sg.constant(2, "float32").dtype == "float32"
    assert sg.constant([[1, 2]], "int8").type.dtype == "int8"
    assert sg.constant(value) is value
    big_endian = sg.constant(np.arange(3, dtype=">i4"))
    np.testing.assert_array_equal(run(big_endian), [0, 1, 2])


def test_refusals():
    assert_each_refused(
        (ArgumentError, "the name comes first", lambda: sg.input((2, 3))),
        (ArgumentError, "the name is empty", lambda: sg.parameter("", [1.0])),
        (ShapeError, "'x', axis 1", "-3", lambda: sg.input("x", (2, -3))),
    )
    for entry in (2.5, "", True, [3]):
        with assert_refused(ArgumentError, "'x'"):
            sg.input("x", (2, entry))
    with assert_refused(
        DTypeError, "input 'x'", "float128", "float32", line='sg.input("x", (), "float128")'
    ):
        sg.input("x", (), "float128")
    for data in ("text", [object()]):
        with assert_refused(DTypeError, "constant"):
            sg.constant(data)
        with assert_refused(DTypeError, "parameter"):
            sg.parameter("p", data)
    with assert_refused(ArgumentError, "step of 0", line="sg.arange(0, 3, 0)"):
        sg.arange(0, 3, 0)
    with assert_refused(ArgumentError, "not an integer"):
        sg.arange("2")
    for ends in ((0.0, np.inf), (0.0, 1.0, 0.0), (0.5, sg.dim("n"))):
        with assert_refused(ArgumentError, "arange", line="sg.arange"):
            sg.arange(*ends)
    assert_each_refused(
        (RankError, "last two axes", lambda: sg.tril([1.0, 2])),
        (ShapeError, "negative", lambda: sg.zeros((2, -1))),
        (DTypeError, "complex256", lambda: sg.ones(2, "complex256")),
        (ShapeError, "does not fit", lambda: sg.full((2, 3), [1.0, 2])),
    )


def test_arange_to_a_named_size():
    x = sg.input("x", ("n",), "float32")
    n = x.shape[0]
    feeds = {"x": np.zeros(5, np.float32)}
    np.testing.assert_array_equal(run(x + sg.arange(n), feeds), np.arange(5))
    np.testing.assert_array_equal(run(x[2:] + sg.arange(2, n), feeds), [2, 3, 4])
    np.testing.assert_array_equal(run(x + sg.arange(n, 2 * n), feeds), np.arange(5, 10))
    assert sg.arange(n, dtype="float32").dtype == "float32"


#: Functions of a size that makes an axis.
SIZED = {
    "iota": lambda n: sg.iota((n,)),
    "zeros": lambda n: sg.zeros((2, n)),
    "full": lambda n: sg.full((n, 2), 3.0),
    "eye": sg.eye,
    "identity": sg.identity,
    "broadcast_to": lambda n: sg.broadcast_to(sg.constant(1.0), (n, 3)),
    "draws": lambda n: sg.random.Generator(0).uniform(shape=(n,)),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", SIZED)
def test_a_size_that_may_be_negative_is_a_condition_of_the_run(name):
    x = sg.input("x", ("n",), "float32")
    graph = sg.Graph(SIZED[name](x.shape[0] - 2), inputs=[x])
    compiled = sg.compile(graph)
    for size in (2, 3, 7):
        feeds = {"x": np.zeros(size, "float32")}
        expected = sg.evaluate(sg.Graph(SIZED[name](size - 2)))["output"]
        for actual in (sg.evaluate(graph, feeds), compiled.run(feeds)):
            assert actual["output"].shape == expected.shape
    for size in (1, 0):
        for runs in (lambda feeds: sg.evaluate(graph, feeds), compiled.run):
            with pytest.raises(SizeGuardError, match="the size n - 2 is negative"):
                runs({"x": np.zeros(size, "float32")})
    with pytest.raises(ShapeError, match="negative"):
        SIZED[name](-x.shape[0] - 1)


def test_an_op_from_outside_has_no_axis_of_a_negative_size():
    class Shorter(Op, name="tests.shorter"):
        by: int

        def infer(self, x):
            return x.with_shape((x.shape[0] - self.by,))

        def reference(self, x):
            return x[self.by :]

    with pytest.raises(ShapeError, match="the size -1 is negative"):
        Shorter(3)(sg.input("x", (2,)))
    value = Shorter(3)(sg.input("x", ("n",)))
    with pytest.raises(SizeGuardError, match="the size n - 3 is negative"):
        sg.evaluate(value, {"x": np.zeros(2)})


def test_asarray_stacks_values_in_nested_lists():
    """Residuals are often nested lists of values, as ``jax.numpy.asarray`` takes them."""
    x = sg.input("x", (2,), "float32")
    feeds = {"x": np.array([3.0, 4.0], "float32")}
    at = feeds["x"]
    cases = [
        ([10 * (x[1] - x[0] ** 2), 1 - x[0]], [10 * (at[1] - at[0] ** 2), 1 - at[0]], "float32"),
        ([[x[0], 1], (2.0, 3.0)], [[3, 1], [2, 3]], "float32"),
        ([x, [1.0, 2.0]], [[3, 4], [1, 2]], "float32"),
        ([x, np.arange(2.0)], [[3, 4], [0, 1]], "float64"),
        ([[[x[1]]]], [[[4]]], "float32"),
    ]
    for asarray in (sg.asarray, sg.xp.asarray):
        for data, expected, dtype in cases:
            actual = sg.evaluate(asarray(data), feeds)
            assert actual.dtype == dtype
            np.testing.assert_array_equal(actual, np.array(expected, dtype))
        assert asarray([x[0], 1], dtype="float64").dtype is sg.float64
    for ragged in ([[x[0], 1.0], [2.0]], [[], [x[0]]], [x, x[0]]):
        with pytest.raises((ShapeError, RankError), match=r"stack: .* differ"):
            sg.asarray(ragged)
    with sg.eager_mode():
        w = Tensor([3.0, 4.0], requires_grad=True)
        (sg.asarray([w[0] * 2.0, w[1]]) * np.array([1.0, 5.0])).sum().backward()
    assert w.grad.tolist() == [2.0, 5.0]
