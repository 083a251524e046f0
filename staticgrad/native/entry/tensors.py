"""The native entry of a run whose feeds are tensors of another library, in a list.

A tensor is read by the library's function of DLPack's C interface (``__dlpack_c_exchange_api__``),
which fills in a ``DLTensor``: no array is made of it. It is a feed if it is on the CPU, of the
input's element type, aligned, and contiguous in the order of axes that the input has in memory.

``entry(self, arguments)`` returns the arrays of all results in a list, or None where it does not
apply, as the entry of arrays does (``native.entry.text``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from staticgrad.native.entry.text import get, half, is_ready, release, run_feeds, store_word
from staticgrad.native.entry.words import (
    CallWord,
    HeadWord,
    ObjectField,
    TensorCallWord,
    TensorFeedWord,
    TensorWord,
)
from staticgrad.native.source import PythonSource, RuntimeCode

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        address,
        call,
        called1,
        called2,
        i64x1,
        local_words,
        status2,
        word,
    )

#: Words of a feed and of a ``DLTensor``.
FEED_WORDS: Final = len(TensorFeedWord)
TENSOR_WORDS: Final = len(TensorWord)
#: DLPack's number of the memory of the CPU.
CPU: Final = 1


def is_contiguous(tensor: int, order: int, rank: int, extents: int) -> bool:
    """Note the extents of a tensor in the order of memory; return whether it is contiguous in it.

    A tensor without elements is not: it has no address.
    """
    shape = get(tensor, TensorWord.SHAPE_AT)
    strides = get(tensor, TensorWord.STRIDES_AT)
    step = 1
    for k in range(rank):
        axis = get(order, rank - 1 - k)
        extent = get(shape, axis)
        if extent != 1 and get(strides, axis) != step:
            return False
        step = step * extent
        store_word(extents, rank - 1 - k, extent)
    return step != 0


def tensor_fits(words: int, feed: int, object_: int, tensor: int, rank: int, extents: int) -> bool:
    """Describe an object as a ``DLTensor``, and return whether it is the tensor of a feed."""
    kind = get(object_ + ObjectField.TYPE, 0)
    if kind != get(words, TensorCallWord.TYPE) and kind != get(words, TensorCallWord.OTHER_TYPE):
        return False
    if status2(get(words, TensorCallWord.READ), object_, tensor) != 0:
        return False
    if half(tensor + 8 * TensorWord.DEVICE) != CPU:
        return False
    if get(tensor, TensorWord.KIND) != get(feed, TensorFeedWord.KIND):
        return False
    if not is_contiguous(tensor, get(feed, TensorFeedWord.ORDER_AT), rank, extents):
        return False
    begin = get(tensor, TensorWord.DATA) + get(tensor, TensorWord.OFFSET)
    misaligned = word(i64x1(begin) & i64x1(get(feed, TensorFeedWord.ALIGNED)))
    return begin != 0 and misaligned == 0


def tensors_fit(
    calls: int, words: int, arguments: int, room: int, addresses: int, shapes: int, extents: int
) -> int:
    """Note the addresses and extents of all feeds, and the objects, with a reference to each.

    Returns:
        The number of feeds; below 0 how many fit, less 1, as no further one does.
    """
    head = get(words, TensorCallWord.HEAD)
    ranks = get(head, HeadWord.RANKS_AT)
    tensor = address(local_words(TENSOR_WORDS))
    count = get(head, HeadWord.FEEDS)
    size = called1(get(calls, CallWord.PyList_Size), arguments)
    for i in range(count):
        feed = get(words, TensorCallWord.FEEDS_AT) + 8 * FEED_WORDS * i
        place = get(feed, TensorFeedWord.PLACE)
        if place >= size:
            return -1 - i
        object_ = called2(get(calls, CallWord.PyList_GetItem), arguments, place)
        rank = get(ranks, i)
        if not tensor_fits(words, feed, object_, tensor, rank, extents):
            return -1 - i
        call(get(calls, CallWord.Py_IncRef), object_)
        store_word(room, i, object_)
        begin = get(tensor, TensorWord.DATA) + get(tensor, TensorWord.OFFSET)
        store_word(addresses, i, begin)
        store_word(shapes, i, extents)
        extents = extents + 8 * rank
    return count


def run_tensors(calls: int, words: int, arguments: int, room: int) -> int:
    """Return a list of results, None, or 0 where an exception is set; drop what ``room`` has."""
    head = get(words, TensorCallWord.HEAD)
    none = get(calls, CallWord.none)
    count = get(head, HeadWord.FEEDS)
    addresses = address(local_words(count + 1))
    shapes = address(local_words(count + 1))
    extents = address(local_words(get(words, TensorCallWord.AXES) + 1))
    converted = address(local_words(count + 1))
    results = address(local_words(get(head, HeadWord.RESULTS) + 1))
    for i in range(count):
        store_word(converted, i, 0)
    fits = tensors_fit(calls, words, arguments, room, addresses, shapes, extents)
    ran = -1
    if fits >= 0 and is_ready(calls, head, get(head, HeadWord.HOLD_AT)):
        ran = run_feeds(calls, head, 0, 0, addresses, shapes, converted, converted, results)
    release(calls, room, fits if fits >= 0 else -1 - fits)
    if ran < 0:
        return none if ran == -1 else 0
    listed = called1(get(calls, CallWord.PyList_New), ran)
    if listed == 0:
        release(calls, results, ran)
        return 0
    for i in range(ran):
        call(get(calls, CallWord.PyList_SetItem), listed, i, get(results, i))
    return listed


def enter_tensors(self: int, arguments: int) -> int:
    """Run a program as a builtin of CPython: ``entry(self, arguments)``."""
    words = get(self + ObjectField.DATA, 0)
    head = get(words, TensorCallWord.HEAD)
    calls = get(head, HeadWord.CALLS_AT)
    none = get(calls, CallWord.none)
    room = address(local_words(get(head, HeadWord.FEEDS) + 1))
    result = none
    if get(arguments + ObjectField.TYPE, 0) == get(calls, CallWord.list_type):
        result = run_tensors(calls, words, arguments, room)
    if result == none:
        call(get(calls, CallWord.PyErr_Clear))
        call(get(calls, CallWord.Py_IncRef), none)
    return result


@functools.cache
def code() -> RuntimeCode:
    """The function that Python calls."""
    return RuntimeCode("sg_enter_tensors", PythonSource(enter_tensors))
