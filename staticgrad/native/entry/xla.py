"""The native entry as XLA calls it by its FFI: no Python in a call.

It is one handler, ``handler(frame)``, for all programs: the words of a call (``XlaWord``) are at
the address that the call has as its attribute. It takes the interpreter lock, under which all
entries are used, reads feeds in XLA's buffers and writes results into them. Where the entry does
not apply (the first runs, a program that runs in another thread, an index out of range) a function
of Python runs the call, and its error is XLA's.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from staticgrad.native.entry.text import (
    addresses_fit,
    get,
    half,
    is_ready,
    record_of,
    run_over,
    settle,
    store_word,
)
from staticgrad.native.entry.words import (
    ApiWord,
    BufferWord,
    CallWord,
    ExtensionWord,
    FrameWord,
    HeadWord,
    MetadataWord,
    XlaWord,
)
from staticgrad.native.source import PythonSource, RuntimeCode

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        address,
        call,
        called0,
        called1,
        called3,
        local_words,
    )

#: The stage of a call in which it runs; before, XLA asks for what is not needed.
EXECUTE: Final = 3
#: The type of the extension by which XLA asks for the version of a handler.
METADATA: Final = 1
#: 3 in the upper half: version 0.3 of XLA's interface.
VERSION: Final = 3 << 32
#: Bytes of an error that is made, and its code: INTERNAL.
ERROR_BYTES: Final = 32
INTERNAL: Final = 13


def describe(frame: int, extension: int) -> None:
    """Say which version of the interface this is, at most that of XLA."""
    if half(extension + 8 * ExtensionWord.TYPE) == METADATA:
        metadata = get(extension, ExtensionWord.METADATA_AT)
        version = VERSION
        api = get(frame, FrameWord.API)
        if api != 0 and get(api, ApiWord.VERSION) < version:
            version = get(api, ApiWord.VERSION)
        store_word(metadata, MetadataWord.VERSION, version)


def has_changed(calls: int, target: int) -> bool:
    """Return whether a program is no longer that of its function."""
    changed = get(target, XlaWord.CHANGED)
    if changed == 0:
        return False
    answer = called1(get(calls, CallWord.PyObject_CallNoArgs), changed)
    if answer == 0:
        call(get(calls, CallWord.PyErr_Clear))
        return True
    call(get(calls, CallWord.Py_DecRef), answer)
    return answer != get(calls, CallWord.none)


def ran(calls: int, target: int, frame: int) -> bool:
    """Run a call in native code; return whether it has run."""
    if get(target, XlaWord.HEAD) == 0 or has_changed(calls, target):
        return False
    head = get(target, XlaWord.HEAD)
    hold = get(head, HeadWord.HOLD_AT)
    if not is_ready(calls, head, hold):
        return False
    feeds = get(head, HeadWord.FEEDS)
    results = get(head, HeadWord.RESULTS)
    addresses = address(local_words(feeds + 1))
    shapes = address(local_words(feeds + 1))
    converted = address(local_words(feeds + 1))
    places = address(local_words(results + 1))
    operand_of = get(target, XlaWord.FEEDS_AT)
    buffers = get(frame, FrameWord.OPERANDS_AT)
    for i in range(feeds):
        store_word(converted, i, 0)
        operand = get(operand_of, 2 * i)
        if operand >= 0:
            buffer = get(buffers, operand)
            store_word(addresses, i, get(buffer, BufferWord.DATA))
            store_word(shapes, i, get(buffer, BufferWord.EXTENTS_AT))
        else:
            store_word(addresses, i, get(operand_of, 2 * i + 1))
            store_word(shapes, i, 0)
    record = record_of(head, shapes, converted)
    if record == 0 or not addresses_fit(head, record, addresses):
        return False
    buffers = get(frame, FrameWord.RESULTS_AT)
    for i in range(results):
        buffer = get(buffers, get(get(target, XlaWord.RESULTS_AT), i))
        store_word(places, i, get(buffer, BufferWord.DATA))
    failed = run_over(calls, head, hold, record, addresses, converted, converted, places)
    if not settle(calls, head, hold):
        call(get(calls, CallWord.PyErr_Clear))
    return failed == 0


def run_in_python(calls: int, target: int, frame: int) -> int:
    """Run a call by a function of Python; return an error of XLA's, or 0."""
    number = called1(get(calls, CallWord.PyLong_FromVoidPtr), frame)
    answer = 0
    if number != 0:
        answer = called3(
            get(calls, CallWord.PyObject_CallFunctionObjArgs),
            get(target, XlaWord.IN_PYTHON),
            number,
            0,
        )
        call(get(calls, CallWord.Py_DecRef), number)
    text = get(target, XlaWord.INTERRUPTED)
    if answer == 0:
        call(get(calls, CallWord.PyErr_Clear))
    elif answer == get(calls, CallWord.none):
        text = 0
    else:
        text = called1(get(calls, CallWord.PyBytes_AsString), answer)
    error = 0
    if text != 0:
        record = address(local_words(4))
        store_word(record, 0, ERROR_BYTES)
        store_word(record, 1, 0)
        store_word(record, 2, text)
        store_word(record, 3, INTERNAL)
        error = called1(get(get(frame, FrameWord.API), ApiWord.CREATE_ERROR), record)
    if answer != 0:
        call(get(calls, CallWord.Py_DecRef), answer)
    return error


def handle(frame: int) -> int:
    """Run a call of XLA's: ``handler(frame)``; return its error, or 0."""
    extension = get(frame, FrameWord.EXTENSION)
    if extension != 0:
        describe(frame, extension)
        return 0
    if half(frame + 8 * FrameWord.STAGE) != EXECUTE:
        return 0
    attribute = get(get(frame, FrameWord.ATTRIBUTES_AT), 0)
    target = get(get(attribute, 1), 0)
    calls = get(target, XlaWord.CALLS_AT)
    state = called0(get(calls, CallWord.PyGILState_Ensure))
    error = 0
    if not ran(calls, target, frame):
        error = run_in_python(calls, target, frame)
    call(get(calls, CallWord.PyGILState_Release), state)
    return error


@functools.cache
def code() -> RuntimeCode:
    """The function that XLA calls."""
    return RuntimeCode("sg_xla", PythonSource(handle))
