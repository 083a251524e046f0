"""Layouts against NumPy's strides: views, reshapes, regions, collapsing."""

from itertools import product
from math import prod

import numpy as np
from hypothesis import given, strategies as st

from staticgrad.analysis.layout import Strided, collapse
from staticgrad.ir.forms import AxisMap, Region, View
from staticgrad.types.dim import dim

shapes = st.lists(st.integers(1, 4), min_size=0, max_size=4).map(tuple)


def elements(layout, shape, buffer):
    """The elements that a layout with literal strides sees, one by one."""
    out = np.empty(shape, buffer.dtype)
    for index in product(*map(range, shape)):
        out[index] = buffer[
            layout.offset + sum(i * s for i, s in zip(index, layout.strides, strict=True))
        ]
    return out


@given(shapes, st.randoms())
def test_a_transposed_view_sees_the_transposed_elements(shape, random):
    perm = list(range(len(shape)))
    random.shuffle(perm)
    data = np.arange(prod(shape))
    view = View(tuple(AxisMap(perm.index(axis)) for axis in range(len(shape))))
    layout = Strided.contiguous(shape).viewed(view, len(shape))
    expected = data.reshape(shape).transpose(perm)
    assert (elements(layout, expected.shape, data) == expected).all()


def test_a_reversed_slice_with_a_step_starts_at_the_right_element():
    data = np.arange(30)
    view = View((AxisMap(0, 1, 1), AxisMap(1, 5, -2)))
    layout = Strided.contiguous((5, 6)).viewed(view, 2)
    assert (elements(layout, (3, 3), data) == data.reshape(5, 6)[1:4, 5::-2]).all()


def test_a_broadcast_axis_has_stride_zero():
    layout = Strided.contiguous((3,)).viewed(View((AxisMap(1),)), 2)
    assert layout.strides == (0, 1)
    assert Strided.contiguous((3, 1)).broadcast((3, 1), (2, 3, 4)) == (0, 1, 0)


@given(shapes, st.randoms())
def test_reshaping_gives_the_right_elements_or_asks_for_a_copy(shape, random):
    perm = list(range(len(shape)))
    random.shuffle(perm)
    old = tuple(shape[p] for p in perm)
    strides = Strided.contiguous(shape).strides
    layout = Strided(0, tuple(strides[p] for p in perm))
    data = np.arange(prod(shape))
    flat = prod(shape)
    divisor = random.choice([d for d in range(1, flat + 1) if flat % d == 0])
    new = (divisor, flat // divisor)
    got = layout.reshaped(old, new)
    expected = data.reshape(shape).transpose(perm).reshape(new)
    if got is None:
        contiguous = perm == sorted(perm)
        assert not contiguous
    else:
        assert (elements(got, new, data) == expected).all()


def test_symbolic_reshapes_that_can_be_views_are():
    batch = dim("batch")
    layout = Strided.contiguous((batch, 784))
    split = layout.reshaped((batch, 784), (batch, 28, 28))
    assert split is not None
    assert split.strides == (784, 28, 1)
    assert split.reshaped((batch, 28, 28), (batch * 784,)) == Strided(0, (1,))
    assert Strided.contiguous((batch * 784,)).reshaped((batch * 784,), (batch, 784)) == layout
    rows = Strided.contiguous((32, batch, 64)).reshaped((32, batch, 64), (32 * batch, 64))
    assert rows == Strided(0, (64, 1))


def test_a_region_offsets_and_steps():
    layout = Strided.contiguous((7, 5)).region(Region((2, 1), (2, 1)))
    assert (layout.offset, layout.strides) == (11, (10, 1))


def test_collapse_merges_what_all_operands_walk_as_one():
    batch = dim("batch")
    assert collapse((batch, 4, 3), [(12, 3, 1), (12, 3, 1)]) == ([batch * 12], [[1], [1]])
    assert collapse((batch, 4, 3), [(12, 3, 1), (0, 3, 1)]) == ([batch, 12], [[12, 1], [0, 1]])
    assert collapse((batch, 1, 3), [(3, 3, 1), (0, 0, 1)]) == ([batch, 3], [[3, 1], [0, 1]])
    assert collapse((1, 1), [(1, 1)]) == ([], [[]])
    assert collapse((5, 0, 0), [(1, 1, 1), (0, 0, 0)]) == ([0], [[1], [0]])


@given(shapes)
def test_collapse_of_contiguous_operands_leaves_one_axis(shape):
    strides = Strided.contiguous(shape).strides
    extents, walks = collapse(shape, [strides])
    assert len(extents) == (prod(shape) > 1)
    assert all(walk == [1] * len(extents) for walk in walks)
