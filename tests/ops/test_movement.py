"""Reshape, transpose, broadcast and their spellings, against NumPy; sizes 0, 1 and named."""

from math import prod

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    RankError,
    ShapeError,
    SizeGuardError,
    SymbolicValueError,
)
from staticgrad.language.ops.movement import Broadcast, Transpose
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused


def count_up(*shape):
    return np.arange(prod(shape), dtype=np.float64).reshape(shape)


def test_reshape_with_named_sizes():
    x = sg.input("x", ("batch", 4, 6), "float64")
    batch = sg.dim("batch")
    for target, expected in [
        ((batch, 24), (5, 24)), ((-1, 24), (5, 24)), ((batch, -1), (5, 24)), (-1, (120,)),
        ((4 * batch, 6), (20, 6)), ((batch * 2, -1), (10, 12)), ((2, -1), (2, 60)),
    ]:  # fmt: skip
        y = x.reshape(target)
        array = count_up(5, 4, 6)
        np.testing.assert_array_equal(run(y, {"x": array}), array.reshape(expected))
    assert sg.Graph(x.reshape(-1, 24)).guards == ()
    assert x.reshape(batch, -1).shape == (batch, 24)


def test_reshapes_that_are_nothing_or_cannot_be():
    x = sg.input("x", ("n",), "float64")
    y = x.reshape(3, -1)
    np.testing.assert_array_equal(run(y, {"x": count_up(6)}), count_up(3, 2))
    with assert_refused(SizeGuardError, "reshape", "n = 7", line="x.reshape(3, -1)"):
        run(y, {"x": count_up(7)})
    x = sg.input("x", ("n", 3))
    assert x.reshape(-1, 3) is x
    assert sg.ravel(sg.ravel(x)) is not x
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (ShapeError, "12 elements", "[5, 2]", "x f32[3, 4]", lambda: x.reshape(5, 2)),
        (ShapeError, "12 elements", "[5, 2]", lambda: x.reshape(5, -1)),
        (ShapeError, "only one size can be -1", lambda: x.reshape(-1, -1)),
        (ShapeError, "negative", lambda: x.reshape(-2, 6)),
        (ShapeError, "any size fits", lambda: sg.input("e", (0,)).reshape(0, -1)),
        (ArgumentError, "2.5", lambda: x.reshape(2.5, 2)),
    )
    n = sg.input("n", (sg.dim("n", min=1), 2))
    with assert_refused(ShapeError, "elements do not fill"):
        n.reshape(sg.dim("n", min=1), 3)


def test_permutations_that_are_nothing_or_none():
    x = sg.input("x", (3, "n"))
    assert x.transpose(0, 1) is x
    assert sg.swapaxes(x, 1, -1) is x
    assert sg.input("v", ("n",)).T.ndim == 1
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (AxisError, "names 1 of the 2 axes", lambda: x.transpose(0)),
        (AxisError, "axis 0 is named twice", lambda: x.transpose(0, 0)),
        (AxisError, "no axis 2", lambda: sg.swapaxes(x, 0, 2)),
        (AxisError, "no axis 4", lambda: sg.expand_dims(x, (0, 4))),
        (ArgumentError, "2 axes cannot move to 1", lambda: sg.moveaxis(x, (0, 1), 0)),
        (AxisError, "not a permutation", lambda: Transpose((0, 0))(x)),
        (ShapeError, "axis 0 has size 3, not 1", lambda: sg.squeeze(x, 0)),
        (ShapeError, "axis 0 has size n, not 1", "x[..., 0]",
         lambda: sg.squeeze(sg.input("n", ("n", 1)), 0)),
    )  # fmt: skip


def test_numbers_have_no_rows_and_broadcasts_that_do_not_fit():
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (ShapeError, "[3, 4]", "[5, 4]", "axis 0", lambda: sg.broadcast_to(x, (5, 4))),
        (ShapeError, "more axes", lambda: sg.broadcast_to(x, (4,))),
        (AxisError, "does not place", lambda: Broadcast((4, 3), (1, 0))(x)),
        (AxisError, "does not place", lambda: Broadcast((3, 4), (0,))(x)),
    )
    named = sg.broadcast_to(sg.input("n", ("n",), "float64"), (2, 3))
    np.testing.assert_array_equal(run(named, {"n": [1.0, 2, 3]}), [[1, 2, 3]] * 2)
    with assert_refused(SizeGuardError, "broadcast", "n = 1"):
        run(named, {"n": [1.0]})
    with assert_refused(RankError, "no axes", line="list(sg.input"):
        list(sg.input("x", ()))
    with assert_refused(RankError, "no axes"):
        len(sg.input("x", ()))


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [((), (120,)), ((1,), (2, 60)), ((1, 2), (2, 12, 5)), ((-2,), (2, 3, 20)), ((0, 1), (6, 4, 5))],
)
def test_flatten_joins_axes_as_pytorch_has_it(arguments, shape):
    array = np.arange(120.0).reshape(2, 3, 4, 5)
    for sizes in (array.shape, ("n", 3, "h", 5)):
        x = sg.input("x", sizes, "float64")
        f = sg.compile(x.flatten(*arguments))
        np.testing.assert_array_equal(f.run({"x": array}), array.reshape(shape))
    assert x.flatten(start_dim=1).shape == x.flatten(1).shape
    with assert_refused(sg.errors.AxisError, "flatten: no axes from 4 to -1", line="flatten(4)"):
        x.flatten(4)
    with assert_refused(sg.errors.AxisError, "axis 2 is behind axis 1", line="flatten(2, 1)"):
        x.flatten(2, 1)


def test_copies_of_values_and_tensors():
    """A value never changes, so that it is its own copy; a tensor's copy shares no memory."""
    x = sg.input("x", (3,))
    assert x.copy() is x
    t = Tensor([1.0, 2.0], requires_grad=True)
    copy = t.copy()
    assert not np.shares_memory(copy.numpy(), t.numpy())
    (copy * copy).sum().backward()
    np.testing.assert_array_equal(t.grad, [2.0, 4.0])


A = np.arange(12.0).reshape(3, 4)


def test_length_iteration_and_unpacking():
    x = sg.input("x", A.shape, "float64")
    assert len(x) == 3
    assert [row.shape for row in x] == [(4,)] * 3
    first, *others = x
    feeds = {"x": A}
    np.testing.assert_array_equal(run(first, feeds), A[0])
    assert len(others) == 2
    np.testing.assert_array_equal(run(sum(x), feeds), A.sum(0))
    np.testing.assert_array_equal(run(sg.stack(list(reversed(list(x)))), feeds), A[::-1])
    pairs = [a * b for a, b in zip(x, A, strict=True)]
    np.testing.assert_array_equal(run(sg.stack(pairs), feeds), A * A)
    assert list(sg.input("none", (0, 2))) == []
    with pytest.raises(ValueError, match="too many values"):
        _, _ = x


@pytest.mark.parametrize("use", [len, iter, list, np.vstack, sg.stack, sg.concatenate, sg.hstack])
def test_a_named_first_axis_refuses(use):
    x = sg.input("x", ("n", 2))
    with assert_refused(
        SymbolicValueError, "the size n of its first axis", "literal size", line="use(x)"
    ):
        use(x)
