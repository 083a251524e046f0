"""The native entry of a run as Python callables; ``text`` describes it.

It reads fields of arrays and reference counts at the offsets of CPython and NumPy. The offsets are
checked once; if they differ (another interpreter, one without its lock), there is no native entry,
and every run takes the path in Python.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.native.entry.words import WRITABLE, CallWord, ObjectField
from staticgrad.native.lock import LOCK

Words = npt.NDArray[np.int64]
_METHOD_NO_ARGUMENTS, _METHOD_ONE_ARGUMENT = 0x0004, 0x0008
#: Places of functions and types in NumPy's C interface, which are the same in all of its versions.
_ARRAY_TYPE, _NEW_FROM_DESCR, _VIEW = 2, 94, 137


class _Method(ctypes.Structure):
    """CPython's PyMethodDef; it lives as long as the builtins that are made of it."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@functools.cache
def calls() -> Words:
    """Return the addresses that the entry uses, in the order of ``CallWord``."""
    api = ctypes.pythonapi
    table = _numpy_interface()
    addresses = {
        CallWord.PyArray_NewFromDescr: table[_NEW_FROM_DESCR],
        CallWord.PyArray_View: table[_VIEW],
        CallWord.none: id(None),
        CallWord.dict_type: id(dict),
        CallWord.list_type: id(list),
        CallWord.array_type: id(np.ndarray),
        CallWord.float_type: id(float),
        CallWord.int_type: id(int),
        CallWord.float32_type: id(np.float32),
        CallWord.float64_type: id(np.float64),
        CallWord.int32_type: id(np.int32),
        CallWord.int64_type: id(np.int64),
        CallWord.bool_type: id(bool),
        CallWord.true: id(True),
        CallWord.numpy_bool_type: id(np.bool_),
    }
    return np.array([addresses.get(call) or _address(getattr(api, call.name)) for call in CallWord])


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _numpy_interface() -> Any:
    """The table of NumPy's C functions, as ``import_array`` finds it."""
    from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    address = get(_multiarray_umath._ARRAY_API, None)
    return (ctypes.c_size_t * (_VIEW + 1)).from_address(address)


@functools.cache
def unused_references() -> int | None:
    """Return the count that the entry reads for an array to which two objects refer.

    None if it would read at wrong offsets, and must not be used.
    """
    if sys.implementation.name != "cpython" or object.__basicsize__ != ObjectField.DATA:
        return None
    try:
        layout_matches = _fields_are_known() and _numbers_are_known() and _interface_is_known()
        return _two_references() if layout_matches else None
    except (AttributeError, ImportError, OSError):
        return None


def _read(thing: object, field: ObjectField, kind: Any) -> int:
    return int(kind.from_address(id(thing) + field).value)


def _fields_are_known() -> bool:
    block = np.empty((4, 6), np.float32)
    read_only = block[1:, 2:]
    read_only.flags.writeable = False
    for array in (block, read_only, block.T, block[:0], block[0, 0, ...]):
        shape = _read(array, ObjectField.SHAPE, ctypes.c_size_t)
        extents = [ctypes.c_int64.from_address(shape + 8 * k).value for k in range(array.ndim)]
        matches = (
            _read(array, ObjectField.TYPE, ctypes.c_size_t) == id(np.ndarray),
            _read(array, ObjectField.DATA, ctypes.c_size_t) == array.__array_interface__["data"][0],
            _read(array, ObjectField.RANK, ctypes.c_int) == array.ndim,
            tuple(extents) == array.shape,
            array.base is None or _read(array, ObjectField.BASE, ctypes.c_size_t) == id(array.base),
            _read(array, ObjectField.DTYPE, ctypes.c_size_t) == id(array.dtype),
            _read(array, ObjectField.FLAGS, ctypes.c_int) & WRITABLE == array.flags.num & WRITABLE,
        )
        if not all(matches):
            return False
    return True


def _numbers_are_known() -> bool:
    """Return whether the bytes of numbers are at the offsets that are read."""
    single, double = np.float32(0.1), np.float64(0.1)
    kinds = {np.int32: ctypes.c_int32, np.int64: ctypes.c_int64, np.bool_: ctypes.c_uint8}
    numbers = ((kind, scalar(1)) for scalar, kind in kinds.items())
    if any(kind.from_address(id(n) + ObjectField.VALUE).value != 1 for kind, n in numbers):
        return False
    return (
        ctypes.c_float.from_address(id(single) + ObjectField.VALUE).value == single
        and ctypes.c_double.from_address(id(double) + ObjectField.VALUE).value == double
        and ctypes.c_double.from_address(id(0.1) + ObjectField.VALUE).value == 0.1
    )


def _interface_is_known() -> bool:
    """Return whether NumPy's functions are in the slots that are called, and work."""
    table = _numpy_interface()
    if table[_ARRAY_TYPE] != id(np.ndarray):
        return False
    pointer, array = ctypes.c_void_p, np.arange(6, dtype=np.float32)
    view = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, pointer, pointer)
    seen = view(table[_VIEW])(array, None, None)
    return type(seen) is np.ndarray and seen.base is array and bool(np.array_equal(seen, array))


def _two_references() -> int | None:
    """The references to an array that a name and another array refer to.

    None where they do not count one by one.
    """
    owner = np.empty(64, np.uint8)
    count = ctypes.c_uint32.from_address(id(owner) + ObjectField.REFERENCES)
    count_alone = count.value
    view = owner.view(np.int64)
    count_with_view = count.value
    more = [view.view() for _ in range(5)]
    counts = count_with_view == count_alone + 1 and count.value == count_with_view + len(more)
    del more
    return count_with_view if counts and count.value == count_with_view else None


#: Those made, once per process, by name.
_cached_methods: Final[dict[str, _Method]] = {}


def _method(name: str) -> _Method:
    with LOCK:
        if name not in _cached_methods:
            _cached_methods[name] = _make_method(name)
    return _cached_methods[name]


def _make_method(name: str) -> _Method:
    from staticgrad import native
    from staticgrad.native.entry import tensors, text

    code = tensors.code() if name == "run_tensors" else text.code()
    flags = _METHOD_NO_ARGUMENTS if name == "run_bound" else _METHOD_ONE_ARGUMENT
    return _Method(name.encode(), native.address_of(code), flags, None)


def with_feeds(head: Words) -> Callable[[object], Any]:
    """``entry(feeds)`` of a program: results, or None where the checked path has to run.

    ``head``: the words of ``HeadWord``; whoever changes them keeps what they point to alive.
    """
    return _builtin(_method("run"), head)


def with_bound(words: Words) -> Callable[[], Any]:
    """``entry()`` of feeds that are bound; ``words`` are those of ``BoundWord``."""
    return _builtin(_method("run_bound"), words)


def with_tensors(words: Words) -> Callable[[object], Any]:
    """``entry(arguments)`` of a list of tensors: a list of results, or None as ``with_feeds``.

    ``words``: those of ``TensorCallWord``.
    """
    return _builtin(_method("run_tensors"), words)


def _builtin(method: _Method, words: Words) -> Any:
    kinds = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    make = ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(("PyCFunction_NewEx", ctypes.pythonapi))
    return make(ctypes.addressof(method), words, None)
