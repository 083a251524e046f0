"""Feeds: what is read in place, what is copied first, what is refused and how."""

import array as arrays

import numpy as np
import pytest

from staticgrad.compiler.runtime.feeds import FeedBinder
from staticgrad.errors import FeedDTypeError, MissingFeedError, UnknownFeedError
from staticgrad.language.ir.graph import Graph, Input, Symbolic
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import dim
from staticgrad.language.types.dtype import F32, I64, U8

N = dim("n")


def symbolic(label, dtype, *shape):
    return Symbolic.bind(Input(label, TensorType(dtype, shape)), ())


X = symbolic("x", F32, N, 3)
Y = symbolic("y", I64, N)
GRAPH = Graph({"a": X, "b": Y})
LABELS = np.arange(4)
DATA = np.arange(12, dtype=np.float32).reshape(4, 3)


def bind_x(data):
    return FeedBinder(GRAPH).bind({"x": data, "y": LABELS})


def test_a_plain_array_is_read_where_it_lies():
    bound = bind_x(DATA)
    assert bound.arrays[0] is DATA
    assert bound.arrays[1] is LABELS
    assert bound.key == (((4, 3), (4,)), frozenset())


def _read_only():
    data = DATA.copy()
    data.flags.writeable = False
    return data


class _HasArray:
    def __array__(self, dtype=None, copy=None):
        return DATA


class _HasDlpack:
    def __dlpack__(self, **options):
        return DATA.__dlpack__(**options)

    def __dlpack_device__(self):
        return DATA.__dlpack_device__()


@pytest.mark.parametrize("data", [_read_only(), _HasArray(), _HasDlpack(), memoryview(DATA)])
def test_what_is_an_array_in_disguise_is_not_copied(data):
    bound = bind_x(data)
    assert not bound.staged_names
    assert np.array_equal(bound.arrays[0], DATA)
    if not isinstance(data, np.ndarray):
        assert np.shares_memory(bound.arrays[0], DATA)


def _misaligned_array():
    raw = np.empty(DATA.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(DATA.shape)
    raw[...] = DATA
    return raw


@pytest.mark.parametrize(
    "data",
    [
        np.asfortranarray(DATA),
        DATA[::-1],
        np.repeat(DATA, 2, axis=1)[:, ::2],
        np.broadcast_to(DATA[:1], (4, 3)),
        DATA.astype(">f4"),
        _misaligned_array(),
        DATA.astype(np.float64),
        DATA.astype(np.int64),
        DATA.astype(np.uint8),
        DATA > 3,
        DATA.astype(np.float16),
        DATA.tolist(),
        DATA.astype(int).tolist(),
    ],
)
def test_any_other_array_is_staged_and_not_converted_yet(data):
    bound = bind_x(data)
    assert bound.staged_names == {"x"}
    assert bound.arrays[0].shape == (4, 3)
    assert np.array_equal(bound.arrays[0], np.asarray(data))


def test_numbers_are_weak():
    small = symbolic("s", U8)
    binder = FeedBinder(Graph({"s": small}))
    assert binder.bind({"s": 255}).arrays[0] == 255
    assert binder.bind({"s": True}).arrays[0] == 1
    for wrong in (256, -1, 2.5, [1.0]):
        with pytest.raises(FeedDTypeError):
            binder.bind({"s": wrong})
    with pytest.raises(FeedDTypeError, match="feed 'y' is float64, the input takes int64"):
        FeedBinder(GRAPH).bind({"x": DATA, "y": LABELS * 1.0})
    narrow = symbolic("s", U8, N)
    with pytest.raises(FeedDTypeError):
        FeedBinder(Graph({"s": narrow})).bind({"s": arrays.array("q", [300])})


@pytest.mark.parametrize(
    "data",
    [
        DATA.astype(complex),
        np.full((4, 3), "a"),
        np.full((4, 3), None),
        DATA.astype("M8[s]"),
        "text",
        object(),
        [[1.0], [2.0, 3.0]],
    ],
)
def test_what_does_not_convert_is_refused(data):
    with pytest.raises(FeedDTypeError, match="feed 'x' is"):
        bind_x(data)


def test_missing_and_unknown_feeds_name_what_there_is():
    binder = FeedBinder(GRAPH)
    with pytest.raises(MissingFeedError, match="'y'"):
        binder.bind({"x": DATA})
    with pytest.raises(UnknownFeedError, match="'labels'"):
        binder.bind({"x": DATA, "y": LABELS, "labels": LABELS})
    with pytest.raises(UnknownFeedError, match="twice"):
        binder.bind({"x": DATA, X: DATA, "y": LABELS})
    with pytest.raises(UnknownFeedError, match="does not read input 'z'"):
        binder.bind({"x": DATA, "y": LABELS, symbolic("z", F32): 1.0})
    with pytest.raises(UnknownFeedError):
        binder.bind({"x": DATA, "y": LABELS, 3: 1.0})
