"""The parts that all exported files share: the head and the code that calls the steps."""

from __future__ import annotations

import inspect
import zipfile
from pathlib import Path
from typing import Final

import numpy as np


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays into an .npz file, by any name: ``np.savez`` takes none that is ``file``."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array)


HEAD: Final = '''
"""The program {name}, exported by staticgrad: Python that needs NumPy and Numba alone.

``run(feeds)`` gives the results by name and updates ``parameters``, which are read from
{arrays} beside this file; ``save()`` writes them back. {sizes}

From top to bottom: what goes in and out, the functions that kernels call, the kernels (each with
the operations and the lines of the program that it computes), the plan (in which order kernels run,
and where in one block of memory, the arena, their results are), and ``run``. Arrays are flat: the
element [i, j] of an array with n columns is number i * n + j. ``at(...)`` only tells Numba that an
index is not negative, so that LLVM makes vectors of the loop. Every sum is added in the order
that its number of terms fixes, so that results are the same whatever compiles this file; those of
linear algebra and Fourier transforms are NumPy's.
"""

import zipfile
from pathlib import Path
{imports}
'''

#: Parameters of exported files and of modules of libraries.
PARAMETERS: Final = '''\
class Parameters(dict):
    """Parameters by name. Steps read and update the arrays that are here from the first on: setting
    one writes its elements into its array, converted as a step of the program converts them."""

    def _fit(self, name, value):
        if name not in self:
            raise KeyError(f"there is no parameter {name!r}; there are {[*self]}")
        own, array = self[name], np.asarray(value)
        if array.shape != own.shape:
            raise ValueError(f"parameter {name!r} has shape {own.shape}, got {array.shape}")
        if array.dtype.kind not in "biufc" or not np.can_cast(array.dtype, own.dtype, "same_kind"):
            raise TypeError(f"parameter {name!r} is {own.dtype}, got {array.dtype}")
        return array

    def __setitem__(self, name, value):
        array = self._fit(name, value)
        self[name][...] = array

    def update(self, *others, **more):
        """Set several parameters, all of them or none."""
        arrays = {name: self._fit(name, value) for name, value in dict(*others, **more).items()}
        for name, array in arrays.items():
            self[name][...] = array

    def __ior__(self, other):
        self.update(other)
        return self

    def _refuse(self, *_, **__):
        raise TypeError("a step reads all of its parameters: none is added or removed")

    __delitem__ = clear = pop = popitem = setdefault = _refuse

    def __reduce__(self):
        return dict, (dict(self),)


def apart(array, parameters):
    """Return an array, or a copy of one that may be in the memory of parameters: a step writes
    them while it reads its feeds."""
    is_shared = any(np.may_share_memory(array, value) for value in parameters.values())
    return array.copy() if is_shared else array
'''

RUN: Final = '''\
def aligned(array):
    """Return a copy whose address is a multiple of 64: no vector of it crosses a cache line."""
    raw = np.empty(array.nbytes + 64, np.uint8)
    first = -raw.ctypes.data % 64
    copy = raw[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


<parameters>
with np.load(ARRAYS) as _file:
    parameters = _parameters = Parameters({name: aligned(_file[name]) for name in PARAMETERS})
    _constants = [aligned(_file[name]).reshape(-1) for name in CONSTANTS]
_bound = {}  # by the types and shapes of feeds: the sizes, and the memory for them
_results = {}  # arrays of former results, by name


def flat(array):
    """Return the elements of an array: two numbers for a complex one, the bits of a float16."""
    array = array.reshape(-1)
    if array.dtype == np.float16:
        return array.view(np.uint16)
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array


<write>
def current_parameters():
    """Return the parameters; a dict that was set in their place is read into them."""
    global parameters
    if parameters is not _parameters:
        _parameters.update(parameters)
        parameters = _parameters
    return parameters


def save(path=ARRAYS):
    """Write the parameters, and the constants, into a file that this one reads when it starts."""
    write_arrays(path, {**current_parameters(), **dict(zip(CONSTANTS, _constants))})


def place(buffers):
    """Return the offsets of buffers (bytes, first and last step) in the arena, and its size.

    The largest is placed first, each in the lowest gap that is free in all of its steps.
    """
    placed, offsets, peak = [], [0] * len(buffers), 0
    for number in sorted(range(len(buffers)), key=lambda n: (-buffers[n][0], n)):
        nbytes, first, last = buffers[number]
        nbytes, offset = -(-nbytes // 64) * 64, 0
        for begin, end, other_first, other_last in sorted(placed):
            if other_first <= last and first <= other_last and begin < offset + nbytes:
                offset = max(offset, end)
        placed.append((offset, offset + nbytes, first, last))
        offsets[number], peak = offset, max(peak, offset + nbytes)
    return offsets, peak


def check(feeds):
    """Return the values of the sizes.

    Raises ValueError or TypeError for feeds of another dtype, shape or size.
    """
    if set(feeds) != set(INPUTS):
        missing = [name for name in INPUTS if name not in feeds]
        unknown = [name for name in feeds if name not in INPUTS]
        raise ValueError(f"feeds that are missing: {missing}, that no input takes: {unknown}")
    sizes, derived = {}, []
    for name, (dtype, shape, _) in INPUTS.items():
        array = np.asarray(feeds[name])
        kinds = "biufc".find(array.dtype.kind), "biufc".find(np.dtype(dtype).kind)
        weak = not isinstance(feeds[name], np.ndarray | np.generic) and kinds[0] <= kinds[1]
        if array.dtype != dtype and not (weak or np.can_cast(array.dtype, dtype, "same_kind")):
            raise TypeError(f"feed {name!r} is {array.dtype}, the input takes {dtype}")
        if array.ndim != len(shape):
            raise ValueError(f"feed {name!r} has shape {array.shape}, the input {shape}")
        for axis, (size, extent) in enumerate(zip(array.shape, shape)):
            if isinstance(extent, str) and not extent.isidentifier():
                derived.append((name, axis, size, extent))
            elif size != (sizes.setdefault(extent, size) if isinstance(extent, str) else extent):
                wanted = f"{extent} = {sizes[extent]}" if extent in sizes else extent
                raise ValueError(f"feed {name!r}: axis {axis} has {size} elements, not {wanted}")
    for name, axis, size, extent in derived:
        if size != eval(extent, {"max": max}, dict(sizes)):
            raise ValueError(f"feed {name!r}: axis {axis} has {size} elements, not {extent}")
    for test, wrong in GUARDS:
        if not eval(test, {"max": max}, dict(sizes)):
            raise ValueError(f"{wrong}; sizes: {sizes}")
    return sizes


def bind(feeds):
    """Return the feeds as flat arrays, and the sizes, buffer offsets, arena and result shapes.

    All but the feeds depend on types and shapes alone, and are cached for the next run.
    """
    arrays = {name: np.asarray(feed) for name, feed in feeds.items()}
    key = tuple((name, type(feeds[name]), a.shape, a.dtype) for name, a in arrays.items())
    if key not in _bound:
        sizes = check(feeds)
        numbers = [sizes[name] for name in SIZES]
        offsets, peak = place(lives(*numbers)) if SIZES else ([], ARENA)
        shapes = [eval(shape, {"max": max}, dict(sizes)) for _, _, shape in OUTPUTS.values()]
        _bound.clear()
        _bound[key] = numbers, np.array([*offsets, 0]), aligned(np.zeros(peak, np.uint8)), shapes
    bound = [
        flat(apart(np.ascontiguousarray(arrays[name], dtype), _parameters))
        for name, (dtype, _, is_read) in INPUTS.items()
        if is_read
    ]
    return bound, *_bound[key]


def references(arrays):
    """Return how many references each array of a list has, those of this function included."""
    return [sys.getrefcount(array) for array in arrays]


# The count of an array that a list alone holds: interpreters count differently from 3.14 on.
_UNUSED = references([np.empty(0)])[0]


def result_of(name, shape, dtype):
    """Return an array for a result: one of former runs, if it has no other references.

    New memory is slower to write than most kernels are.
    """
    former = _results.setdefault(name, [])
    for array, count in zip(former, references(former)):
        if count == _UNUSED and array.shape == shape:
            return array
    former[2:] = []
    former.insert(0, np.empty(shape, dtype))
    return former[0]


def run(feeds):
    """Run the program: return its results by name, and update the parameters. One run at a time.

    Feeds are read as they are, and copied only to convert them or if they are parameters.
    Raises IndexError where an index is out of range, LinAlgError where a matrix is singular or not
    positive definite, RuntimeError where a solver needs more steps than it may take, before any
    parameter is written.
    """
    arrays, numbers, offsets, arena, shapes = bind(feeds)
    results, places = {}, {}
    for (name, (place, dtype, _)), shape in zip(OUTPUTS.items(), shapes):
        results[name] = result_of(name, shape, dtype)
        places.setdefault(place, name)
    outputs = [flat(results[places[n]]) for n in sorted(places)]
    values = [flat(array) for array in current_parameters().values()]
    checks = np.full(2 * len(CHECKS) + 2, -1)
    if steps(arena, offsets, checks, *arrays, *values, *_constants, *outputs, *numbers):
        number = next(n for n in range(len(CHECKS)) if checks[2 * n] >= 0)
        error, line, what = CHECKS[number]
        at = checks[2 * number : 2 * number + 2]
        if error.startswith("index"):
            raise IndexError(f"{error.format(at[1])} in {what} ({line})")
        if error.startswith("matrix"):
            raise np.linalg.LinAlgError(f"{error.format(at[0])} in {what} ({line})")
        raise RuntimeError(f"{error.format(at.view(np.float64)[1])} ({line})")
    for name, (place, _, _) in OUTPUTS.items():
        if places[place] != name:
            results[name][...] = results[places[place]]
    return results<single>
'''.replace("<write>", inspect.getsource(write_arrays) + "\n").replace(
    "<parameters>", PARAMETERS + "\n"
)
