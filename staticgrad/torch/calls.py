"""Calls of compiled programs with tensors of PyTorch, in native code.

A run reads tensors by PyTorch's functions of DLPack's C interface (``native.entry.tensors``). The
first runs of a program, and those of tensors that native code does not read, are Python's, with
arrays over the memory of the tensors.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from staticgrad.extend.entries import TensorCallWord, address_of, unused_references, with_tensors
from staticgrad.extend.optional import torch
from staticgrad.torch.arrays import array_of

#: DLPack's codes of element types, by NumPy's kinds.
_CODES: Final = {"i": 0, "u": 1, "f": 2, "b": 6}
#: Runs in Python that look for a native entry, which a program has after some runs.
_TRIES: Final = 8
#: The version of ``DLPackExchangeAPI`` whose fields are read.
_MAJOR: Final = 1


class _ExchangeApi(ctypes.Structure):
    """DLPack's ``DLPackExchangeAPI``."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("managed_tensor_allocator", ctypes.c_void_p),
        ("managed_tensor_from_py_object_no_sync", ctypes.c_void_p),
        ("managed_tensor_to_py_object_no_sync", ctypes.c_void_p),
        ("dltensor_from_py_object_no_sync", ctypes.c_void_p),
    )


@functools.cache
def _find_reader() -> int:
    """Return the address of PyTorch's function that describes a tensor; 0 if there is none."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None or unused_references() is None:
        return 0
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    api = _ExchangeApi.from_address(get(capsule, b"dlpack_exchange_api"))
    return (api.dltensor_from_py_object_no_sync or 0) if api.major == _MAJOR else 0


class TensorFeed(NamedTuple):
    """An argument in a list that a program reads: a tensor, or an integer of Python.

    Attributes:
        place: in the list.
        name: that of the input.
        order: the axes in the order of memory; None in C order.
        is_number: whether it is an integer.
    """

    place: int
    name: str
    order: tuple[int, ...] | None
    is_number: bool = False


class TensorCall:
    """A program as it is called with a list of arguments."""

    def __init__(self, program: Any, feeds: Sequence[TensorFeed], are_guarded: bool) -> None:
        """``are_guarded``: no argument is ever the negative of what is in its memory.

        DLPack does not say that of a tensor. ``torch.compile`` checks it of its arguments, but not
        of cotangents.
        """
        self._program, self._feeds = program, feeds
        self._tries = 0 if any(feed.is_number for feed in feeds) else _TRIES
        self._enter: Callable[[list[Any]], list[Any] | None] = _no_entry
        self._referenced: tuple[Any, ...] = ()  # what the words of the native entry point to
        self._are_guarded = are_guarded
        #: Places of arguments that may be negatives, and of those that have been strided.
        self._floats: list[int] = []
        self._strided: list[int] = []

    def __call__(self, arguments: list[Any]) -> list[Any]:
        """Return the arrays of all results."""
        return self.run_native(arguments) or self._run_in_python(arguments)

    def run_native(self, arguments: list[Any]) -> list[Any] | None:
        """Return the arrays of all results; None if native code does not read the arguments."""
        for place in self._floats:
            if arguments[place].is_neg():
                return None
        if self._strided:
            arguments = [*arguments]
            for place in self._strided:
                arguments[place] = arguments[place].contiguous()
        return self._enter(arguments)

    def _run_in_python(self, arguments: list[Any]) -> list[Any]:
        arrays = {}
        for place, name, order, is_number in self._feeds:
            argument = arguments[place]
            if is_number:
                arrays[name] = np.int64(argument)
                continue
            if order is not None:
                arrays[name] = array_of(argument).transpose(order)
                continue
            if argument.layout is torch.strided and not argument.is_contiguous():
                # by PyTorch, since the native entry takes no feed that has to be copied
                argument = argument.contiguous()
                if place not in self._strided:
                    self._strided.append(place)
            arrays[name] = array_of(argument)
        results = self._program.run(arrays)
        if self._tries:
            self._tries -= 1
            self._find_entry()
        return list(results.values())

    def _find_entry(self) -> None:
        """Bind the program's native entry to the places of tensors, if there is one by now."""
        entry = self._program._executor.native_entry
        if entry is None:
            return
        self._tries = 0
        reader = _find_reader()
        kinds = {port.name: (port.rank, port.dtype) for port in entry.inputs}
        if not reader or not all(_code_of(dtype) is not None for _, dtype in kinds.values()):
            return
        feeds = {feed.name: feed for feed in self._feeds}
        orders = [[*(feeds[name].order or range(rank)), 0] for name, (rank, _) in kinds.items()]
        order_words = [np.array(order, np.int64) for order in orders]
        feed_words = np.array(
            [
                (feeds[name].place, _kind_word(rank, dtype), dtype.itemsize - 1, address_of(order))
                for (name, (rank, dtype)), order in zip(kinds.items(), order_words, strict=True)
            ],
            np.int64,
        )
        words = np.zeros(len(TensorCallWord), np.int64)
        for word, value in (
            (TensorCallWord.HEAD, address_of(entry.head)),
            (TensorCallWord.READ, reader),
            (TensorCallWord.TYPE, id(torch.Tensor)),
            (TensorCallWord.OTHER_TYPE, id(torch.nn.Parameter)),
            (TensorCallWord.FEEDS_AT, address_of(feed_words)),
            (TensorCallWord.AXES, sum(rank for rank, _ in kinds.values())),
        ):
            words[word] = value
        if not self._are_guarded:
            floats = [name for name, (_, dtype) in kinds.items() if dtype.kind == "f"]
            self._floats = [feeds[name].place for name in floats]
        self._referenced = entry, order_words, feed_words
        self._enter = with_tensors(words)


def _code_of(dtype: np.dtype[Any]) -> int | None:
    """Return DLPack's code of an element type; None if it has none here."""
    return 4 if dtype.name == "bfloat16" else _CODES.get(dtype.kind)


def _kind_word(rank: int, dtype: np.dtype[Any]) -> int:
    """Return the word of a ``DLTensor`` that has its rank and element type."""
    code, bits, lanes = _code_of(dtype) or 0, 8 * dtype.itemsize, 1
    return rank | (code | bits << 8 | lanes << 16) << 32


def _no_entry(arguments: Any) -> None:
    """Do nothing: there is no run in native code yet."""
