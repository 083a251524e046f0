"""Calls of compiled programs in programs of XLA, by its FFI: no Python in a call.

The first runs of a call are Python's, over XLA's buffers. From the program's native entry on
(``native.entry.xla``) native code runs it. Python takes part again where that does not apply: where
the function has to be traced anew, or an index is out of range, whose error is then XLA's.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad import native
from staticgrad.bridges.foreign_programs import Programs
from staticgrad.extend.entries import (
    BufferWord,
    FrameWord,
    XlaWord,
    address_of,
    calls,
    unused_references,
)
from staticgrad.extend.optional import jax
from staticgrad.extend.programs import Out, TracedProgram, traced_call
from staticgrad.extend.trees import flatten
from staticgrad.native.entry import xla

#: Those made. XLA's programs have their addresses, and nothing says when the last of them is gone.
_calls: Final[dict[Any, XlaCall]] = {}
#: Runs in Python that look for a native entry, which a program has after some runs.
_TRIES: Final = 8
_INTERRUPTED: Final = ctypes.create_string_buffer(b"a call of staticgrad was interrupted")


@functools.cache
def target_name() -> str | None:
    """Register our FFI handler with XLA and return its name; None where XLA has no FFI.

    A program that another process has stored names another: addresses in it are never used.
    """
    if unused_references() is None or not hasattr(jax, "ffi"):
        return None
    name = f"staticgrad_{os.urandom(8).hex()}"
    try:
        address = native.address_of(xla.code())
        handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(address)
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
    except Exception:
        return None  # another version of the interface
    return name


def call_of(programs: Programs, kinds: Any, results: Sequence[Any]) -> XlaCall:
    """Return the call of programs for arrays of these kinds, (shape, dtype), and its results'."""
    key = programs.key, kinds
    if key not in _calls:
        _calls[key] = XlaCall(programs, kinds, results)
    return _calls[key]


class XlaCall:
    """The words of a call.

    Attributes:
        address: that of the words, which the call has as its attribute.
    """

    def __init__(self, programs: Programs, kinds: Any, results: Sequence[Any]) -> None:
        self._programs = programs
        self._operands = [(shape, np.dtype(dtype)) for shape, dtype in kinds]
        self._results = [(shape, np.dtype(dtype)) for shape, dtype in results]
        self._words = np.zeros(len(XlaWord), np.int64)
        self.address = address_of(self._words)
        self._in_python = self.run_in_python
        self._tries = 0
        self._referenced: tuple[Any, ...] = ()  # what the words point to
        for word, value in (
            (XlaWord.CALLS_AT, address_of(calls())),
            (XlaWord.IN_PYTHON, id(self._in_python)),
            (XlaWord.INTERRUPTED, ctypes.addressof(_INTERRUPTED)),
        ):
            self._words[word] = value

    def run_in_python(self, frame: int) -> bytes | None:
        """Run a compiled program for a call frame of XLA; return the text of an error, or None."""
        try:
            arrays = _arrays(frame, FrameWord.OPERANDS_AT, self._operands)
            for array in arrays:
                array.flags.writeable = False
            leaves, _ = flatten(self._programs.run(*arrays))
            places = _arrays(frame, FrameWord.RESULTS_AT, self._results)
            for place, leaf in zip(places, leaves, strict=True):
                np.copyto(place, leaf, casting="unsafe")
            if self._referenced and self._referenced[0].describe_change():
                self._words[XlaWord.HEAD] = self._tries = 0
            if not self._words[XlaWord.HEAD] and self._tries < _TRIES:
                self._tries += 1
                self._enter(arrays)
        except BaseException as error:
            return f"{type(error).__name__}: {error}".encode().replace(b"\0", b"")
        return None

    def _enter(self, arrays: Sequence[Any]) -> None:
        """Bind the program's native entry to XLA's operands, so that no Python runs in a call."""
        f, numbers = self._programs.of_function, self._programs.numbers
        traced, arguments = traced_call(f, (*numbers.values(), *arrays), {})
        entry = self._places(traced, arguments.numbers)
        if entry is None:
            return
        head, feeds, results, fed = entry
        feed_words, result_words = np.array(feeds, np.int64), np.array(results, np.int64)
        changed = partial(_find_change, traced)
        self._referenced = traced, head, feed_words, result_words, fed, changed
        self._words[XlaWord.CHANGED] = 0 if traced.never_changes else id(changed)
        self._words[XlaWord.FEEDS_AT] = address_of(feed_words)
        self._words[XlaWord.RESULTS_AT] = address_of(result_words)
        self._words[XlaWord.HEAD] = address_of(head)

    def _places(self, traced: TracedProgram, numbers: Any) -> Any:
        """Return the native entry's words, which feeds and results are XLA's, and constants."""
        if traced.graph is None or traced.graph.updates:
            return None
        entry = traced.program(self._programs.options)._executor.native_entry
        if entry is None:
            return None
        number = {name: k for k, name in enumerate(traced.names)}
        fed = (traced.numbers(numbers) or ({}, []))[0]
        feeds: list[int] = []
        for port in entry.inputs:
            if port.name in fed:
                if fed[port.name].dtype != port.dtype:
                    return None
                feeds += (-1, address_of(fed[port.name]))
            elif self._operands[number[port.name]][1] != port.dtype:
                return None
            else:
                feeds += (number[port.name], 0)
        if not all(isinstance(leaf, Out) for leaf in traced.leaves):
            return None
        result = {str(leaf): k for k, leaf in enumerate(traced.leaves)}
        names = [port.name for port in entry.outputs]
        if len(result) != len(self._results) or sorted(result) != sorted(names):
            return None
        if any(self._results[result[port.name]][1] != port.dtype for port in entry.outputs):
            return None
        return entry.head, feeds, [result[name] for name in names], fed


def _find_change(traced: TracedProgram) -> str | None:
    return traced.describe_change() or None


def _arrays(frame: int, word: FrameWord, kinds: Sequence[Any]) -> list[Any]:
    """View the operand or result buffers of an XLA call frame as arrays."""
    buffers = _word(frame, word)
    arrays = []
    for k, (shape, dtype) in enumerate(kinds):
        array = np.empty(shape, dtype)
        if array.nbytes:
            memory = (ctypes.c_char * array.nbytes).from_address(
                _word(_word(buffers, k), BufferWord.DATA)
            )
            array = np.frombuffer(memoryview(memory), dtype).reshape(shape)
        arrays.append(array)
    return arrays


def _word(address: int, number: int) -> int:
    return int(ctypes.c_int64.from_address(address + 8 * number).value)
