"""Tensor types: sizes in elements and bytes, broadcasting, strides."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.types.arrays import (
    BroadcastError,
    TensorType,
    broadcast_shapes,
    c_strides,
)
from staticgrad.types.dim import collecting_guards, dim
from staticgrad.types.dtype import F32, F64, I64

BATCH, OTHER = dim("batch"), dim("other")
SHAPES = st.lists(st.sampled_from([0, 1, 1, 2, 3]), max_size=4).map(tuple)


@given(st.lists(SHAPES, min_size=1, max_size=4))
def test_literal_shapes_broadcast_as_in_numpy(shapes):
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(BroadcastError):
            broadcast_shapes(shapes)
    else:
        assert broadcast_shapes(shapes) == expected


def test_only_a_literal_one_stretches_to_a_named_size():
    with collecting_guards() as guards:
        assert broadcast_shapes([(BATCH, 1), (1, 3), (3,)]) == (BATCH, 3)
        assert broadcast_shapes([(BATCH, 4), (BATCH, 1)]) == (BATCH, 4)
        assert guards == []
        assert broadcast_shapes([(BATCH,), (OTHER,)]) == (BATCH,)
        assert broadcast_shapes([(BATCH,), (7,)]) == (7,)
    assert [guard.text for guard in guards] == [
        "sizes batch and other must agree",
        "sizes 7 and batch must agree",
    ]


def test_a_mismatch_says_which_axis():
    with pytest.raises(BroadcastError) as caught:
        broadcast_shapes([(2, 3, 5), (4, 5)])
    assert (caught.value.axis_from_end, caught.value.left, caught.value.right) == (2, 3, 4)
    with pytest.raises(BroadcastError):
        broadcast_shapes([(dim("many", min=5),), (3,)])


@given(SHAPES)
def test_strides_are_those_of_numpy(shape):
    if 0 not in shape:  # NumPy leaves strides of empty arrays to chance
        bytes_ = np.empty(shape, np.float64).strides
        assert c_strides(shape) == tuple(b // 8 for b in bytes_)


def test_strides_of_named_sizes():
    assert c_strides((BATCH, 3, OTHER)) == (3 * OTHER, OTHER, 1)


def test_counts_and_text():
    t = TensorType(F32, (BATCH, 784))
    assert (t.rank, t.size, t.nbytes) == (2, 784 * BATCH, 3136 * BATCH)
    assert str(t) == repr(t) == "f32[batch, 784]"
    assert t.with_dtype(F64) == TensorType(F64, (BATCH, 784))
    assert t.with_shape(()) == TensorType(F32)
    scalar = TensorType(I64)
    assert (scalar.rank, scalar.size, scalar.nbytes, str(scalar)) == (0, 1, 8, "i64[]")
    assert len({t, TensorType(F32, (dim("batch", hint=9), 784))}) == 1
