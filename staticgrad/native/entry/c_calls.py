"""The native entry as C functions, which Numba, C and other languages call without the interpreter.

All of them get the address of a program's words (``ProgramWord``), as the data that callbacks of C
are given. A program has one or more *contexts*, each with an arena and tables; a call takes one
that no other thread uses by one atomic instruction. So threads that call a program at once do not
wait for each other, and a call neither needs nor takes the interpreter lock.

Only where a program has parameters a call takes the lock, which guards them, and there is one
context: that of the program itself.

Where native code does not apply (sizes that did not run before, all contexts in use, an index out
of range) a function of Python runs the call, with the interpreter lock, and returns its status.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from staticgrad.native.entry.text import (
    SIZE_OF_PLACE,
    addresses_fit,
    get,
    is_reserved,
    record_of,
    run_over,
    settle,
    store_word,
)
from staticgrad.native.entry.words import (
    CallFrameWord,
    CallWord,
    HeadWord,
    PlaceWord,
    ProgramWord,
    RecordWord,
    Request,
    ShapesWord,
    Status,
)
from staticgrad.native.source import PythonSource, RuntimeCode

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        address,
        call,
        called0,
        called1,
        called3,
        called4,
        cast_i32,
        i64x1,
        load1,
        load_in_order,
        local_words,
        ptr_f64,
        ptr_i64,
        real,
        store_in_order,
        swap_if,
        word,
    )

#: Words of a frame.
FRAME_WORDS: Final = len(CallFrameWord)
FIRST_CONTEXT: Final = int(ProgramWord.FIRST_CONTEXT)
#: The bits of the exponent of a float64.
EXPONENT: Final = 0x7FF << 52
NOT_A_NUMBER: Final = 0xFFF << 51


def take_context(program: int) -> int:
    """Take a context that no other thread uses; return the address of its words, 0 for none."""
    for i in range(get(program, ProgramWord.CONTEXTS)):
        head = get(program, FIRST_CONTEXT + i)
        running = head + 8 * HeadWord.RUNNING
        if get(head, HeadWord.RUNNING) == 0 and swap_if(running, 0, 1):
            if load_in_order(head + 8 * HeadWord.CLOSED) == 0:
                return head
            store_in_order(running, 0)
    return 0


def are_apart(head: int, record: int, feeds: int, results: int) -> bool:
    """Return whether no result overlaps a feed or another result."""
    feed_places = get(record, RecordWord.FEEDS_AT)
    result_places = get(record, RecordWord.RESULTS_AT)
    for i in range(get(head, HeadWord.RESULTS)):
        begin = get(results, i)
        end = begin + get(result_places + i * SIZE_OF_PLACE, PlaceWord.BYTES)
        for j in range(get(head, HeadWord.FEEDS)):
            second = get(feeds, j)
            second_end = second + get(feed_places + j * SIZE_OF_PLACE, PlaceWord.BYTES)
            if begin < second_end and second < end:
                return False
        for j in range(i):
            second = get(results, j)
            second_end = second + get(result_places + j * SIZE_OF_PLACE, PlaceWord.BYTES)
            if begin < second_end and second < end:
                return False
    return True


def clear_words(at: int, count: int) -> int:
    """Set some words to 0; return their address."""
    for i in range(count):
        store_word(at, i, 0)
    return at


def run_context(calls: int, program: int, head: int, feeds: int, shapes: int, results: int) -> bool:
    """Run a context that has been taken, and release it; return whether the call has run."""
    hold = get(head, HeadWord.HOLD_AT)
    count = get(head, HeadWord.FEEDS)
    converted = clear_words(address(local_words(count + 1)), count)
    record = record_of(head, shapes, converted)
    fits = record != 0 and (get(program, ProgramWord.LOCKED) == 0 or is_reserved(calls, hold))
    if fits:
        fits = addresses_fit(head, record, feeds) and are_apart(head, record, feeds, results)
    failed = 1
    if fits:
        failed = run_over(calls, head, hold, record, feeds, converted, converted, results)
    else:
        store_in_order(head + 8 * HeadWord.RUNNING, 0)
    return failed == 0


def end_call(calls: int, program: int, head: int) -> None:
    """Call who waits for the end of a run, with the interpreter lock."""
    closed = load_in_order(head + 8 * HeadWord.CLOSED)
    if get(program, ProgramWord.LOCKED) != 0 or closed != 0:
        state = called0(get(calls, CallWord.PyGILState_Ensure))
        if not settle(calls, head, get(head, HeadWord.HOLD_AT)):
            call(get(calls, CallWord.PyErr_Clear))
        call(get(calls, CallWord.PyGILState_Release), state)


def call_python(
    program: int, request: int, feeds: int, shapes: int, results: int, sizes: int
) -> int:
    """Let Python do what is requested; return a status."""
    calls = get(program, ProgramWord.CALLS_AT)
    frame = address(local_words(FRAME_WORDS))
    store_word(frame, CallFrameWord.REQUEST, request)
    store_word(frame, CallFrameWord.FEEDS_AT, feeds)
    store_word(frame, CallFrameWord.SHAPES_AT, shapes)
    store_word(frame, CallFrameWord.RESULTS_AT, results)
    store_word(frame, CallFrameWord.SIZES_AT, sizes)
    state = called0(get(calls, CallWord.PyGILState_Ensure))
    status = 0
    if get(program, ProgramWord.GONE) != 0:
        status = Status.GONE
    else:
        status = Status.INTERRUPTED
        number = called1(get(calls, CallWord.PyLong_FromVoidPtr), frame)
        answer = 0
        if number != 0:
            answer = called3(
                get(calls, CallWord.PyObject_CallFunctionObjArgs),
                get(program, ProgramWord.IN_PYTHON),
                number,
                0,
            )
            call(get(calls, CallWord.Py_DecRef), number)
        if answer != 0:
            status = called1(get(calls, CallWord.PyLong_AsLongLong), answer)
            call(get(calls, CallWord.Py_DecRef), answer)
        else:
            call(get(calls, CallWord.PyErr_Clear))
    call(get(calls, CallWord.PyGILState_Release), state)
    return status


def call_program(program: int, feeds: int, shapes: int, results: int) -> int:
    """Run a program: ``call(program, feeds, shapes, results)``; return a status.

    ``feeds`` and ``results`` are addresses of arrays, ``shapes`` those of the extents of feeds.
    """
    if get(program, ProgramWord.GONE) != 0:
        return Status.GONE
    calls = get(program, ProgramWord.CALLS_AT)
    locked = get(program, ProgramWord.LOCKED)
    state = 0
    head = 0
    if locked != 0:
        state = called0(get(calls, CallWord.PyGILState_Ensure))
    if get(program, ProgramWord.GONE) == 0:
        head = take_context(program)
    has_run = False
    if head != 0:
        has_run = run_context(calls, program, head, feeds, shapes, results)
        end_call(calls, program, head)
    if locked != 0:
        call(get(calls, CallWord.PyGILState_Release), state)
    if has_run:
        return Status.DONE
    return call_python(program, Request.RUN, feeds, shapes, results, 0)


def find_extents(program: int, shapes: int, extents: int) -> int:
    """Write the extents of all results: ``find(program, shapes, extents)``; return a status."""
    if get(program, ProgramWord.GONE) != 0:
        return Status.GONE
    if get(program, ProgramWord.LOCKED) == 0:
        head = take_context(program)
        if head != 0:
            count = get(head, HeadWord.FEEDS)
            converted = clear_words(address(local_words(count + 1)), count)
            record = record_of(head, shapes, converted)
            if record != 0:
                ranks = get(head, HeadWord.RESULT_RANKS_AT)
                source = get(record, RecordWord.RESULT_SHAPES_AT)
                at = 0
                for i in range(get(head, HeadWord.RESULTS)):
                    for _ in range(get(ranks, i)):
                        store_word(extents, at, get(source, at))
                        at = at + 1
            store_in_order(head + 8 * HeadWord.RUNNING, 0)
            end_call(get(program, ProgramWord.CALLS_AT), program, head)
            if record != 0:
                return Status.DONE
    return call_python(program, Request.EXTENTS, 0, shapes, extents, 0)


def sizes_are(row: int, sizes: int, count: int) -> bool:
    """Return whether shapes are those at some sizes."""
    for i in range(count):  # noqa: SIM110 - generators are not in the kernel language
        if get(row, ShapesWord.SIZE + i) != get(sizes, i):
            return False
    return True


def call_arrays(feeds: int, results: int, sizes: int, program: int) -> int:
    """Run a program at some sizes: ``call(feeds, results, sizes, program)``; return a status."""
    if get(program, ProgramWord.GONE) != 0:
        return Status.GONE
    count = get(program, ProgramWord.SIZES)
    row = load_in_order(program + 8 * ProgramWord.SHAPES)
    shapes = 0
    while row != 0 and shapes == 0:
        if sizes_are(row, sizes, count):
            shapes = get(row, ShapesWord.SHAPES_AT)
        row = get(row, ShapesWord.NEXT)
    status = 0
    if shapes == 0:
        feed_count = get(program, ProgramWord.FEEDS)
        axes = address(local_words(get(program, ProgramWord.AXES) + 1))
        shapes = address(local_words(feed_count + 1))
        at = axes
        for i in range(feed_count):
            store_word(shapes, i, at)
            at = at + 8 * get(get(program, ProgramWord.RANKS_AT), i)
        status = call_python(program, Request.SHAPES, 0, axes, 0, sizes)
    if status == Status.DONE:
        status = called4(get(program, ProgramWord.CALL), program, feeds, shapes, results)
    return status


def is_finite(values: int, count: int) -> bool:
    """Return whether all numbers are finite: the exponents of others have all bits."""
    for i in range(count):  # noqa: SIM110 - generators are not in the kernel language
        if word(load1(ptr_i64(values), i) & i64x1(EXPONENT)) == EXPONENT:
            return False
    return True


def call_vector(program: int, count: int, x: int, first: int, second: int) -> int:
    """Run a program of one vector with one or two results; return a status."""
    feeds = address(local_words(1))
    extents = address(local_words(1))
    shapes = address(local_words(1))
    results = address(local_words(2))
    store_word(feeds, 0, x)
    store_word(extents, 0, count)
    store_word(shapes, 0, extents)
    store_word(results, 0, first)
    store_word(results, 1, second)
    return called4(get(program, ProgramWord.CALL), program, feeds, shapes, results)


def call_density(count: int, x: int, gradient: int, value: int, program: int) -> int:
    """Run a density: ``call(count, x, gradient, value, program)``; return a status."""
    status = 0
    if get(program, ProgramWord.VALUE) == 0:
        status = call_vector(program, count, x, value, gradient)
    else:
        status = call_vector(program, count, x, gradient, value)
    if status == Status.DONE and not is_finite(gradient, count):
        status = Status.GRADIENT
    if status == Status.DONE and not is_finite(value, 1):
        status = Status.VALUE
    return status


def call_map(count: int, result_count: int, x: int, result: int, program: int) -> int:
    """Run a function of vectors: ``call(count, result_count, x, result, program)``."""
    extents = address(local_words(1))
    shapes = address(local_words(1))
    length = address(local_words(1))
    store_word(extents, 0, count)
    store_word(shapes, 0, extents)
    status = called3(get(program, ProgramWord.EXTENTS), program, shapes, length)
    if status == Status.DONE and get(length, 0) != result_count:
        status = Status.SIZES
    if status == Status.DONE:
        status = call_vector(program, count, x, result, 0)
    return status


def call_first_density(count: int, x: int, gradient: int, value: int, programs: int) -> int:
    """Run the first of two programs as a density."""
    return call_density(count, x, gradient, value, get(programs, 0))


def call_second_map(count: int, result_count: int, x: int, result: int, programs: int) -> int:
    """Run the second of two programs as a function of vectors."""
    return call_map(count, result_count, x, result, get(programs, 1))


def call_integrand(count: int, x: int, program: int) -> float:
    """Run a function of some numbers: ``call(count, x, program)``; return NaN where it fails."""
    value = address(local_words(1))
    # an int of C: the upper half of its register has any bits
    status = call_vector(program, word(cast_i32(i64x1(count))), x, value, 0)
    if status != Status.DONE:
        store_word(value, 0, NOT_A_NUMBER)
    return real(load1(ptr_f64(value), 0))


def call_filter(x: int, count: int, value: int, program: int) -> int:
    """Run a function of some numbers: ``call(x, count, value, program)``; return 1, 0 if it fails.

    That is what ``scipy.ndimage`` expects.
    """
    if call_vector(program, count, x, value, 0) == Status.DONE:
        return 1
    return 0


def set_in_order(at: int, value: int, look: int) -> int:
    """Set a word, then return another one, both in the one order of all threads."""
    store_in_order(at, value)
    return load_in_order(look)


@functools.cache
def codes() -> dict[str, RuntimeCode]:
    """The functions of programs that C calls, by name."""
    functions = (
        call_program, find_extents, call_arrays, call_density, call_map, call_first_density,
        call_second_map, call_integrand, call_filter, set_in_order,
    )  # fmt: skip
    return {f.__name__: RuntimeCode(f"sg_{f.__name__}", PythonSource(f)) for f in functions}
