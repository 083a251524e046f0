"""Lanes that are off touch no memory: arrays that end at an inaccessible page."""

import ctypes
import itertools
import mmap
from contextlib import contextmanager

import numpy as np
import pytest

from staticgrad.native.language.kinds import ELEMENTS, EVERY_COUNT, LANES
from staticgrad.native.target import ladder
from staticgrad.support.options import options
from tests.helpers.diagonals import diagonals
from tests.native.support import SOURCES, assembly, call

PAGE = mmap.PAGESIZE


class Guarded:
    """Bytes between two inaccessible pages."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 3 * PAGE)
        self.view = (ctypes.c_char * (3 * PAGE)).from_buffer(self.memory)
        self.start = ctypes.addressof(self.view) + PAGE
        self.library = ctypes.CDLL(None, use_errno=True)
        self._protect(0)

    def _protect(self, access):
        for page in (self.start - PAGE, self.start + PAGE):
            if self.library.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), access):
                raise OSError(ctypes.get_errno(), "mprotect")

    def close(self):
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)

    def at_end(self, dtype, count):
        """An array whose last byte is the last before the inaccessible page."""
        bytes_ = dtype.itemsize * count
        raw = (ctypes.c_char * bytes_).from_address(self.start + PAGE - bytes_)
        return np.frombuffer(raw, dtype)

    def at_start(self, dtype, count):
        raw = (ctypes.c_char * (dtype.itemsize * count)).from_address(self.start)
        return np.frombuffer(raw, dtype)


@pytest.fixture
def fence():
    guarded = Guarded()
    yield guarded
    guarded.close()


def edge_source(name, lanes):
    """Reads and writes back, contiguous, strided and by index, elements [begin, end)."""
    return f"""
def kernel(t, own, begin, end):
    p = ptr_{name}(t[0]); far = t[1]
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        v = load(p, i, m)
        w = load_strided(p, i, 1, m)
        u = load_at(p, select_mask(m, iota{lanes}(i), i64x{lanes}(far)), m)
        x = select((v == w) & (w == u), v, like(v, 0))
        store(p, i, x, m)
        store_strided(p, i, 1, x, m)
        store_at(p, select_mask(m, iota{lanes}(i), i64x{lanes}(far)), x, m)
    off = mask{lanes}(-3)
    store(p, far, load(p, far, off), off)
"""


EDGES = [(name, mode) for name in ("b8", "i16", "f32", "f64") for mode in SOURCES]


def test_registers_of_words_take_no_bits_apart():
    source = edge_source("f32", 16)
    with target_of("x86-64-v3"):
        assert "pinsr" not in assembly(source)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), EDGES)
def test_masked_lanes_touch_nothing(name, mode, fence):
    dtype = ELEMENTS[name].numpy
    far = 1 << 40
    for lanes in LANES:
        for count in sorted({1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3} - {0}):
            for array in (fence.at_end(dtype, count), fence.at_start(dtype, count)):
                original = np.arange(1, count + 1).astype(dtype) % 2 + (name != "b8") * 3
                original = original.astype(dtype)
                array[:] = original
                call(edge_source(name, lanes), [array], [far], 0, count, mode=mode)
                np.testing.assert_array_equal(array, original)


@pytest.mark.slow
@diagonals(2, ("name", ["b8", "i16"]), ("target", ["host", "x86-64-v3"]))
def test_narrow_lanes_in_any_stretch_of_a_vector(name, target, fence):
    """Lanes from ``first`` to ``last`` are copied; nothing else is read or written."""
    dtype = ELEMENTS[name].numpy
    source = """
def kernel(t, own, begin, end):
    p = ptr_NAME(t[0]); q = ptr_NAME(t[1])
    m = maskLANES(t[5]) & (maskLANES(LANES) ^ maskLANES(t[4]))
    store(q, t[3], load(p, t[2], m), m)
"""
    with target_of(target):
        for lanes in [n for n in EVERY_COUNT if n * dtype.itemsize <= 64]:
            text = source.replace("NAME", name).replace("LANES", str(lanes))
            ends = range(lanes + 1) if lanes <= 16 else (0, 1, 15, 16, 17, lanes - 1, lanes)
            for first, last in itertools.combinations(ends, 2):
                at_end, at_start = fence.at_end(dtype, last), fence.at_start(dtype, last - first)
                for fenced, at in ((at_end, 0), (at_start, -first)):
                    inside, copied = np.zeros((2, 3 * lanes), dtype)
                    inside[lanes + first : lanes + last] = 1
                    fenced[:] = 1
                    call(text, [fenced, copied], [at, lanes, first, last], 0, 1)
                    np.testing.assert_array_equal(copied, inside)
                    fenced[:] = 0
                    call(text, [inside, fenced], [lanes, at, first, last], 0, 1)
                    assert (fenced[at + first :] == 1).all()
                    assert fenced.sum() == last - first


@pytest.mark.thinned(4)
@diagonals(2, ("lanes", LANES), ("name", ["host", "x86-64-v3"]))
def test_off_lanes_read_as_zero(lanes, name):
    with target_of(name):
        check_off_lanes(lanes)


@contextmanager
def target_of(name):
    """Kernels are for that target meanwhile, if this machine has it."""
    if name != "host" and ladder()[-1].cpu != name:
        pytest.skip("no such processor")
    with options(target=name):
        yield


def check_off_lanes(lanes):
    source = f"""
def kernel(t, own, begin, end):
    p = ptr_i32(t[0]); out = ptr_i32(t[1])
    for k in range(-1, {lanes} + 2):
        m = mask{lanes}(k)
        store{lanes}(out, (k + 1) * {lanes}, load(p, 0, m) + load_strided(p, 0, 2, m))
"""
    values = np.arange(1, 2 * lanes + 1, dtype=np.int32)
    expected = np.zeros((lanes + 3, lanes), np.int32)
    for row, k in enumerate(range(-1, lanes + 2)):
        on = np.arange(lanes) < k
        expected[row] = np.where(on, values[:lanes] + values[::2][:lanes], 0)
    for mode in SOURCES:
        out = np.full_like(expected, -1)
        call(source, [values, out], [], 0, 1, mode=mode)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.thinned
@pytest.mark.parametrize("lanes", [lanes for lanes in LANES if lanes > 1])
@pytest.mark.parametrize("name", ["f32", "i16", "f64"])
def test_squares_are_transposed_and_read_nothing_beyond(name, lanes, fence):
    """Rows of ``columns`` elements, ``stride`` apart, that end at an inaccessible page."""
    stride, step, dtype = lanes + 2, lanes + 3, ELEMENTS[name].numpy

    def source(columns):
        return f"""
def kernel(t, own, begin, end):
    p = ptr_{name}(t[0]); q = ptr_{name}(t[1])
    transpose{lanes}(p, t[2], {stride}, t[3], {columns}, q, 1, {step})
"""

    for rows, columns in ((lanes, lanes), (1, lanes), (lanes - 1, 1), (0, 2), (lanes + 5, 2)):
        row_count, far = min(rows, lanes), 1 << 40
        square = fence.at_end(dtype, max((row_count - 1) * stride + columns, 1))
        square[:] = np.arange(1, len(square) + 1)
        expected = np.full(2 + lanes * step, 77, dtype)
        for column in range(lanes):
            expected[1 + column * step :][:lanes] = 0
            if column < columns:
                expected[1 + column * step :][:row_count] = square[column::stride][:row_count]
        for mode, read in itertools.product(SOURCES, ("t[4]", columns)):
            out, words = np.full_like(expected, 77), [0 if rows else far, rows, columns]
            call(source(read), [square, out], words, 0, 1, mode=mode)
            np.testing.assert_array_equal(out, expected)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("lanes", [lanes for lanes in LANES if lanes > 1])
@pytest.mark.parametrize("name", ["b8", "i8", "u16", "f32"])
def test_masks_that_a_call_put_on_the_stack_are_those_of_their_lanes(name, lanes):
    source = f"""
def kernel(t, own, begin, end):
    p = ptr_{name}(t[0]); q = ptr_f64(t[1]); n = t[2]
    for o in range(begin, end):
        m = mask{lanes}(n - 16)
        v = load(q, 16, m)
        w = fmod(v, v)
        store(p, 16, cast_{name}(w != v), m)
"""
    dtype = np.dtype({"b8": "?", "i8": "i1", "u16": "u2", "f32": "f4"}[name])
    stored = np.full(64, 2, "u1").astype(dtype)
    call(source, [stored, np.arange(64.0)], [17], 0, 1)
    assert stored[16] == 1
    assert (np.delete(stored, 16) == np.full(63, 2, "u1").astype(dtype)).all()
