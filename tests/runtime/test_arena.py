"""The arena: alignment, growth, and what is left when the system gives nothing."""

import tracemalloc

import numpy as np
import pytest

from staticgrad.errors import OutOfMemory
from staticgrad.runtime.arena import Arena, address_as_asked, address_of


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 4096, 1_000_000])
def test_the_arena_is_aligned_and_large_enough(nbytes):
    arena = Arena()
    arena.reserve(nbytes)
    assert arena.base % 64 == 0
    assert arena.words.nbytes >= nbytes
    assert arena.array(0, np.dtype(np.uint8), (nbytes,)).ctypes.data == arena.base


def test_what_suffices_is_kept():
    arena = Arena()
    arena.reserve(10_000)
    base = arena.base
    arena.reserve(10_000)
    arena.reserve(5)
    assert (arena.base, arena.capacity) == (base, 10_000)


def test_the_old_block_goes_before_the_new_one_comes():
    arena = Arena()
    arena.reserve(8_000_000)
    tracemalloc.start()
    try:
        arena.reserve(9_000_000)
        arena.reserve(10_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 10_000_000 <= peak < 10_100_000  # 19 MB where both stood side by side


@pytest.mark.parametrize("nbytes", [2**62, 2**63, 2**70])
def test_too_much_is_one_clear_error_and_the_arena_recovers(nbytes):
    arena = Arena()
    arena.reserve(100)
    with pytest.raises(OutOfMemory, match=f"arena of {nbytes} bytes"):
        arena.reserve(nbytes)
    with pytest.raises(MemoryError):
        arena.reserve(nbytes)
    arena.reserve(1000)
    arena.array(0, np.dtype(np.float64), (125,))[:] = 1.0


def test_words_and_arrays_are_the_same_bytes():
    arena = Arena()
    arena.reserve(128)
    arena.array(64, np.dtype(np.int64), (2,))[:] = (7, -1)
    assert (arena.words[8], arena.words[9]) == (7, -1)


def test_the_address_read_from_an_array_is_the_one_that_numpy_tells():
    block = np.zeros((6, 5), np.float32)
    views = [block, block[2:, 1:], block[::-1, ::2], block.T, block[:0], block[3, 2:3], block.real]
    for view in [*views, np.zeros(()), np.frombuffer(b"12345678", np.int64)]:
        assert address_of(view) == address_as_asked(view)
