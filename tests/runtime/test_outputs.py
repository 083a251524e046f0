"""Output arrays and the arena: aligned, grown, never handed out while anybody sees them."""

import tracemalloc

import numpy as np
import pytest

from staticgrad.compiler.runtime.arena import Arena
from staticgrad.compiler.runtime.feeds import OutputPool, check_apart, given_outputs
from staticgrad.errors import OutOfMemory, OutputArrayError
from tests.helpers.cases import set_in_place

F4 = np.dtype(np.float32)
SHAPES = {"y": (3, 4)}


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (5, 7)])
def test_arrays_are_aligned_contiguous_and_of_the_shape(shape):
    array, address = OutputPool("y", F4).take(shape)
    assert (array.shape, array.dtype, array.ctypes.data) == (shape, F4, address)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert address % 64 == 0 or not array.size


def test_a_dropped_array_is_used_again_and_a_held_one_is_not():
    pool = OutputPool("y", F4)
    first, address = pool.take((100,))
    second, second_address = pool.take((100,))
    assert second_address != address
    del first
    third, again = pool.take((100,))
    assert again == address
    assert not np.shares_memory(second, third)


#: Ways to see the memory of an array.
VIEWS = {
    "slice": lambda a: a[3:],
    "memoryview": memoryview,
    "subclass": lambda a: a.view(np.ma.MaskedArray),
    "reshaped transpose": lambda a: a.reshape(10, 10).T[::2],
    "interface": lambda a: np.asarray(memoryview(a)[5:]),
    "dlpack": np.from_dlpack,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_of_a_dropped_array_keeps_its_memory(view):
    pool = OutputPool("y", F4)
    array, address = pool.take((100,))
    seen = view(array)
    del array
    others = [pool.take((100,)) for _ in range(4)]
    assert address not in [a for _, a in others]
    del seen, others
    assert pool.take((100,))[0].shape == (100,)


def test_an_array_changed_in_place_comes_back_as_it_was():
    pool = OutputPool("y", F4)
    array, address = pool.take((6,))
    set_in_place(array, "shape", (2, 3))
    array.flags.writeable = False
    del array
    again, same = pool.take((6,))
    assert same == address
    assert again.shape == (6,)
    assert again.flags.writeable


def _read_only():
    array = np.empty((3, 4), F4)
    array.flags.writeable = False
    return array


def _misaligned_array():
    return np.empty(49, np.uint8)[1:].view(F4).reshape(3, 4)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        ([[0.0] * 4] * 3, "is a list"),
        (np.empty((4, 3), F4), r"has shape \(4, 3\)"),
        (np.empty((3, 4)), "is float64, the result float32"),
        (np.empty((3, 4), ">f4"), "is >f4"),
        (_read_only(), "read-only"),
        (np.empty((4, 3), F4).T, "contiguous"),
        (np.empty((3, 8), F4)[:, ::2], "contiguous"),
        (_misaligned_array(), "aligned"),
    ],
)
def test_an_array_that_the_result_does_not_fit_is_refused(array, says):
    with pytest.raises(OutputArrayError, match=says):
        given_outputs({"y": array}, SHAPES, {"y": F4})


def test_an_unknown_output_and_one_array_for_two_are_refused():
    with pytest.raises(OutputArrayError, match="names 'z'"):
        given_outputs({"z": np.empty((3, 4), F4)}, SHAPES, {"y": F4})
    with pytest.raises(OutputArrayError, match="2 outputs"):
        given_outputs(np.empty(3, F4), {"y": (3,), "z": (3,)}, {"y": F4, "z": F4})
    array = np.empty((3, 4), F4)
    assert given_outputs(array, SHAPES, {"y": F4})["y"] is array


def test_overlaps_are_found_and_neighbours_are_not():
    array = np.zeros(100, F4)
    check_apart({"y": array[:50]}, [("feed 'x'", array[50:])])
    check_apart({"y": array[:50], "z": array[50:]}, [])
    with pytest.raises(OutputArrayError, match="shares memory with feed 'x'"):
        check_apart({"y": array[:50]}, [("feed 'x'", array[49:])])
    with pytest.raises(OutputArrayError, match="output 'y'"):
        check_apart({"y": array[:51], "z": array[50:]}, [])
    grid = np.zeros((10, 10), F4)
    check_apart({"y": grid[1]}, [("feed 'x'", grid[::2])])


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
