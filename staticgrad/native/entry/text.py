"""The native entry of a run, in the kernel language: feeds checked, results made, rows run.

It is one function of CPython's calling convention for builtins, ``entry(self, feeds)``. It serves
every program: what it must know stands in words to which ``self``, an array, points (``HeadWord``,
``RecordWord`` and ``HoldWord`` of ``words``; ``BoundWord`` where it is called without arguments,
``feeds`` being 0). Functions of the interpreter and of NumPy are called by address (``CallWord``),
so that the code has no symbols and may be kept on disk.

It answers None where it does not apply, before anything is changed that a run could see: for an
array that is not what the record says, a lock that is not this thread's alone, an index out of
range. Then the caller runs the checked path in Python, which finds the same again and words the
error.

Nothing between the look at the state and the release of the interpreter lock runs Python code, nor
does anything until the state is given back: code that interrupts this thread finds no run under
way.

In the functions all addresses are words.

Numbers are feeds of inputs without axes. A number that has the input's bytes, a float for float64
or a scalar of NumPy's, is read in its object. Another is converted as the path in Python does it:
to the nearest, by the default floating-point environment, to the place in the arena where its plan
has a copy of it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from staticgrad.native.entry.words import (
    MOST_MISSES,
    READABLE,
    SMALL,
    WRITABLE,
    BoundWord,
    CallWord,
    HeadWord,
    HoldWord,
    ObjectField,
    PlaceWord,
    RecordWord,
    ResultPoolWord,
)
from staticgrad.native.source import PythonSource, RuntimeCode

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        Lanes,
        address,
        bitcast_i64,
        bitcast_u32,
        call,
        called0,
        called1,
        called2,
        called3,
        called8,
        cast_f32,
        cast_f64,
        cast_i32,
        has_default_environment,
        hor,
        i32x1,
        i64x1,
        load1,
        load64,
        load_in_order,
        local_words,
        ptr_f64,
        ptr_i32,
        ptr_i64,
        ptr_u8,
        store1,
        store_in_order,
        u8x1,
        u8x64,
        word,
    )

#: Words of a place, and bytes.
PLACE_WORDS: Final = len(PlaceWord)
SIZE_OF_PLACE: Final = 8 * PLACE_WORDS
#: Blocks of a pool, and bytes of its words.
BLOCKS: Final = ResultPoolWord.MISSES.value
SIZE_OF_POOL: Final = 8 * len(ResultPoolWord)


def get(at: int, number: int) -> int:
    """Return a word of memory."""
    return word(load1(ptr_i64(at), number))


def store_word(at: int, number: int, value: int) -> None:
    """Set a word of memory."""
    store1(ptr_i64(at), number, i64x1(value))


def half(at: int) -> int:
    """Return the 32 bits at an address."""
    return word(load1(ptr_i32(at), 0))


def is_ready(calls: int, head: int, hold: int) -> bool:
    """Return whether a run may begin. All checks come before anything is changed."""
    if get(head, HeadWord.RUNNING) != 0 or get(head, HeadWord.CLOSED) != 0:
        return False
    return is_reserved(calls, hold)


def is_reserved(calls: int, hold: int) -> bool:
    """Return whether the locks of the parameters are reserved for this thread."""
    thread = called0(get(calls, CallWord.PyThread_get_thread_ident))
    whose = get(hold, HoldWord.THREAD)
    is_ours = whose == 0 or whose == thread
    return is_ours and get(hold, HoldWord.STANDS) != 0


def array_fits(array: int, kind: int, dtype: int, flags: int, rank: int) -> bool:
    """Return whether an array has this type, dtype, these flags and this rank."""
    if get(array + ObjectField.TYPE, 0) != kind or get(array + ObjectField.DTYPE, 0) != dtype:
        return False
    has = word(load1(ptr_i32(array + ObjectField.FLAGS), 0) & i32x1(flags))
    return has == flags and half(array + ObjectField.RANK) == rank


def shape_fits(array: int, rank: int, extents: int) -> bool:
    """Return whether an array has these extents."""
    return extents_fit(get(array + ObjectField.SHAPE, 0), rank, extents)


def extents_fit(shape: int, rank: int, extents: int) -> bool:
    """Return whether these are the wanted extents."""
    for axis in range(rank):  # noqa: SIM110 - generators are not in the kernel language
        if get(shape, axis) != get(extents, axis):
            return False
    return True


def single_bits(number: Lanes) -> int:
    """Return the bits of a number rounded to float32."""
    return word(bitcast_u32(cast_f32(number)))


def integer_fits(calls: int, feed: int, size: int, addresses: int, numbers: int, i: int) -> bool:
    """Note the address of an integer or bool, of Python's its bytes; return whether it fits."""
    kind = get(feed + ObjectField.TYPE, 0)
    own_type = CallWord.int64_type if size == -8 else CallWord.int32_type
    own_type = CallWord.numpy_bool_type if size == -1 else own_type
    if kind == get(calls, own_type):
        store_word(addresses, i, feed + ObjectField.VALUE)
        return True
    if size == -1 and kind == get(calls, CallWord.bool_type):
        store_word(numbers, i, 1 if feed == get(calls, CallWord.true) else 0)
        store_word(addresses, i, numbers + 8 * i)
        return True
    if size == -1 or kind != get(calls, CallWord.int_type):
        return False
    integer = called1(get(calls, CallWord.PyLong_AsLongLong), feed)
    if called0(get(calls, CallWord.PyErr_Occurred)) != 0:
        return False
    if size == -4 and (integer < -2147483648 or integer > 2147483647):
        return False
    store_word(numbers, i, integer)
    store_word(addresses, i, numbers + 8 * i)
    return True


def number_fits(
    calls: int, feed: int, size: int, addresses: int, converted: int, numbers: int, i: int
) -> bool:
    """Note the address of a number, or its bytes if it is converted; return whether it fits."""
    kind = get(feed + ObjectField.TYPE, 0)
    value = feed + ObjectField.VALUE
    store_word(addresses, i, value)
    is_double = kind == get(calls, CallWord.float_type) or kind == get(calls, CallWord.float64_type)
    if size != 4 and is_double:
        return True
    if size == 4 and kind == get(calls, CallWord.float32_type):
        return True
    store_word(converted, i, 1)
    if not has_default_environment():
        return False
    if is_double:
        store_word(numbers, i, single_bits(load1(ptr_f64(value), 0)))
        return True
    if kind != get(calls, CallWord.int_type):
        return False
    integer = called1(get(calls, CallWord.PyLong_AsLongLong), feed)
    if called0(get(calls, CallWord.PyErr_Occurred)) != 0:
        return False
    if size == 4:
        store_word(numbers, i, single_bits(i64x1(integer)))
    else:
        store_word(numbers, i, word(bitcast_i64(cast_f64(i64x1(integer)))))
        store_word(converted, i, 2)
    return True


def kinds_fit(
    calls: int, head: int, feeds: int, addresses: int, shapes: int, converted: int, numbers: int
) -> bool:
    """Note the addresses of all feeds and of their extents; return whether types and ranks fit."""
    kind = get(calls, CallWord.array_type)
    types = get(head, HeadWord.TYPES_AT)
    ranks = get(head, HeadWord.RANKS_AT)
    sizes = get(head, HeadWord.NUMBERS_AT)
    for i in range(get(head, HeadWord.FEEDS)):
        feed = get(feeds, i)
        size = get(sizes, i)
        store_word(converted, i, 0)
        if size == 0 or get(feed + ObjectField.TYPE, 0) == kind:
            if not array_fits(feed, kind, get(types, i), READABLE, get(ranks, i)):
                return False
            store_word(addresses, i, get(feed + ObjectField.DATA, 0))
            store_word(shapes, i, get(feed + ObjectField.SHAPE, 0))
        elif size < 0:
            if not integer_fits(calls, feed, size, addresses, numbers, i):
                return False
        elif not number_fits(calls, feed, size, addresses, converted, numbers, i):
            return False
    return True


def record_fits(head: int, record: int, shapes: int, converted: int) -> bool:
    """Return whether a record has the shapes of the feeds, and copies those that are converted."""
    ranks = get(head, HeadWord.RANKS_AT)
    extents = get(record, RecordWord.SHAPES_AT)
    places = get(record, RecordWord.FEEDS_AT)
    for i in range(get(head, HeadWord.FEEDS)):
        copies = get(places, i * PLACE_WORDS + PlaceWord.NUMBER_AT)
        converts = get(converted, i)
        if (copies == 0 and converts != 0) or (copies != 0 and converts == 0):
            return False
        if not extents_fit(get(shapes, i), get(ranks, i), extents):
            return False
        extents = extents + 8 * get(ranks, i)
    return True


def record_of(head: int, shapes: int, converted: int) -> int:
    """Return the record of the shapes of the feeds, or 0."""
    record = get(head, HeadWord.RECORD)
    while record != 0:
        if record_fits(head, record, shapes, converted):
            return record
        record = get(record, RecordWord.NEXT)
    return 0


def bools_fit(begin: int, size: int) -> int:
    """Return whether all bytes are 0 or 1."""
    elements = ptr_u8(begin)
    lines = size // 64
    seen = u8x64(0)
    for chunk in range(lines):
        seen = seen | load64(elements, 64 * chunk)
    tail = u8x1(0)
    for byte in range(64 * lines, size):
        tail = tail | load1(elements, byte)
    return word(hor(seen) | tail) <= 1


def addresses_fit(head: int, record: int, addresses: int) -> bool:
    """Return whether no feed overlaps what the step updates, and bools have bytes 0 and 1."""
    bools = get(head, HeadWord.BOOLS_AT)
    written = get(head, HeadWord.WRITTEN_AT)
    places = get(record, RecordWord.FEEDS_AT)
    for i in range(get(head, HeadWord.FEEDS)):
        place = places + i * SIZE_OF_PLACE
        begin = get(addresses, i)
        size = get(place, PlaceWord.BYTES)
        if begin != get(get(place, PlaceWord.BOUND_AT), 0) and size != 0:
            for j in range(get(head, HeadWord.WRITTEN)):
                if begin + size > get(written, 2 * j) and begin < get(written, 2 * j + 1):
                    return False
        if get(bools, i) != 0 and not bools_fit(begin, size):
            return False
    return True


def bound_fits(head: int, bound: int, record: int, addresses: int) -> bool:
    """Return whether bound feeds and results are where they were when they were checked."""
    if bound == 0 or get(bound, BoundWord.GIVEN) == 0:
        return True
    if get(bound, BoundWord.RECORD) != record:
        return False
    bound_addresses = get(bound, BoundWord.FEED_ADDRESSES_AT)
    for i in range(get(head, HeadWord.FEEDS)):
        if get(bound_addresses, i) != 0 and get(bound_addresses, i) != get(addresses, i):
            return False
    results = get(bound, BoundWord.RESULTS_AT)
    bound_addresses = get(bound, BoundWord.RESULT_ADDRESSES_AT)
    for i in range(get(head, HeadWord.RESULTS)):
        array = get(results, i)
        if array != 0 and get(array + ObjectField.DATA, 0) != get(bound_addresses, i):
            return False
    return True


def reuse_block(calls: int, head: int, i: int, rank: int, shape: int) -> int:
    """Return a view of a block of the pool without other references.

    0: a new array has to be made. Below 0: a run in Python has to, which adds a block to the pool:
    to a pool of one block, and where the pool has had another shape for a while. All blocks of a
    pool have one shape.
    """
    pool = get(head, HeadWord.POOLS_AT) + SIZE_OF_POOL * i
    misses = get(pool, ResultPoolWord.MISSES) + 1
    for k in range(BLOCKS):
        block = get(pool, k)
        if block != 0 and shape_fits(block, rank, shape):
            misses = 0
            memory = get(block + ObjectField.BASE, 0)
            if half(memory + ObjectField.REFERENCES) == get(head, HeadWord.UNUSED):
                store_word(pool, ResultPoolWord.MISSES, 0)
                view = called3(get(calls, CallWord.PyArray_View), block, 0, 0)
                return view if view != 0 else -1
    store_word(pool, ResultPoolWord.MISSES, misses)
    if misses == 0:
        return -1 if get(pool, ResultPoolWord.SECOND) == 0 else 0
    return -1 if misses > MOST_MISSES else 0


def result_of(calls: int, head: int, record: int, bound: int, i: int, rank: int, shape: int) -> int:
    """Return an array for a result: a given one, a view of an unused block, or a new one.

    A new array has its own memory, of NumPy's allocator. 0: there is none.
    """
    kind = get(calls, CallWord.array_type)
    dtype = get(get(head, HeadWord.RESULT_TYPES_AT), i)
    keep = get(calls, CallWord.Py_IncRef)
    bound_result = 0
    if bound != 0:
        bound_result = get(get(bound, BoundWord.RESULTS_AT), i)
    if bound_result != 0:
        if not array_fits(bound_result, kind, dtype, WRITABLE, rank):
            return 0
        if not shape_fits(bound_result, rank, shape):
            return 0
        call(keep, bound_result)
        return bound_result
    if get(get(record, RecordWord.RESULTS_AT), i * PLACE_WORDS + PlaceWord.BYTES) > SMALL:
        view = reuse_block(calls, head, i, rank, shape)
        if view != 0:
            return view if view > 0 else 0
    call(keep, dtype)
    return called8(get(calls, CallWord.PyArray_NewFromDescr), kind, dtype, rank, shape, 0, 0, 0, 0)


def make_results(calls: int, head: int, record: int, bound: int, mapping: int, results: int) -> int:
    """Make the arrays of all results; return their number, or below 0 how many were made."""
    names = get(head, HeadWord.RESULT_NAMES_AT)
    ranks = get(head, HeadWord.RESULT_RANKS_AT)
    shape = get(record, RecordWord.RESULT_SHAPES_AT)
    count = get(head, HeadWord.RESULTS)
    for i in range(count):
        rank = get(ranks, i)
        array = result_of(calls, head, record, bound, i, rank, shape)
        if array == 0:
            return -1 - i
        store_word(results, i, array)
        shape = shape + 8 * rank
        if mapping != 0:
            status = called3(get(calls, CallWord.PyDict_SetItem), mapping, get(names, i), array)
            if word(cast_i32(i64x1(status))) != 0:
                return -2 - i
    return count


def point(place: int, begin: int) -> None:
    """Set the words of the table that point into a feed or a result."""
    bound = get(place, PlaceWord.BOUND_AT)
    if get(bound, 0) != begin:
        slots = get(place, PlaceWord.SLOTS_AT)
        for j in range(get(place, PlaceWord.SLOTS)):
            store_word(get(slots, 2 * j), 0, begin + get(slots, 2 * j + 1))
        store_word(bound, 0, begin)


def point_all(
    head: int, record: int, addresses: int, converted: int, numbers: int, places: int
) -> None:
    """Set the words of the table that point to feeds and results."""
    for i in range(get(head, HeadWord.FEEDS)):
        place = get(record, RecordWord.FEEDS_AT) + i * SIZE_OF_PLACE
        point(place, get(addresses, i))
        copy = get(place, PlaceWord.NUMBER_AT)
        if get(converted, i) == 2:
            store_word(copy, 0, get(numbers, i))
        elif get(converted, i) == 1:
            store1(ptr_i32(copy), 0, cast_i32(i64x1(get(numbers, i))))
    for i in range(get(head, HeadWord.RESULTS)):
        place = get(record, RecordWord.RESULTS_AT) + i * SIZE_OF_PLACE
        point(place, get(places, i))


def run(calls: int, head: int, hold: int, record: int) -> int:
    """Run the rows over this run's memory; return 1 where the run has to begin anew in Python."""
    notes = get(record, RecordWord.NOTES)
    notes_at = get(record, RecordWord.NOTES_AT)
    for i in range(notes):
        store_word(get(notes_at, i), 0, -1)
        store_word(get(notes_at, i), 1, -1)
    releases = get(record, RecordWord.RELEASES)
    state = 0
    if releases == 1:
        state = called0(get(calls, CallWord.PyEval_SaveThread))
    driver = get(head, HeadWord.DRIVER)
    block = get(record, RecordWord.BLOCK)
    commit = get(record, RecordWord.COMMIT)
    rows = get(record, RecordWord.ROWS)
    fuel = get(record, RecordWord.FUEL)
    # With the interpreter lock held nobody sees a run half done: one call does if nothing fails.
    if notes == 0 and releases == 0 and fuel == 0:
        commit = 0
    failed = 0
    if commit != 0:
        # Loops that only their tests end run so long; where one takes longer, a run in Python,
        # which signals end, begins anew.
        if fuel != 0:
            store_word(get(record, RecordWord.FUEL_AT), 0, fuel)
            store_word(get(record, RecordWord.RESUME_AT), 0, 0)
        call(driver, block, 0, commit)
        if fuel != 0:
            store_word(get(record, RecordWord.FUEL_AT), 0, get(record, RecordWord.ENDLESS))
            if get(get(record, RecordWord.RESUME_AT), 0) != 0:
                failed = 1
    for i in range(notes):
        if get(get(notes_at, i), 0) >= 0:
            failed = 1
    if commit < rows and failed == 0:
        # Who takes the reservation back looks behind that whether it writes: one sees the other.
        # That is Python: its store and its look are in order on x86-64 alone, so elsewhere it looks
        # at RUNNING, which changes with the interpreter lock held (``storage.reservation``).
        store_in_order(hold + 8 * HoldWord.WRITING, 1)
        if load_in_order(hold + 8 * HoldWord.STANDS) != 0:
            call(driver, block, commit, rows)
        else:
            failed = 1
    if releases == 1:
        call(get(calls, CallWord.PyEval_RestoreThread), state)
    if failed == 0:
        store_word(head, HeadWord.RUNS, get(head, HeadWord.RUNS) + 1)
        store_word(head, HeadWord.LATEST, record)
    store_word(hold, HoldWord.WRITING, 0)
    store_word(hold, HoldWord.RUNNING, 0)
    # without the interpreter lock another thread begins as soon as it sees this
    store_in_order(head + 8 * HeadWord.RUNNING, 0)
    return failed


def run_over(
    calls: int,
    head: int,
    hold: int,
    record: int,
    addresses: int,
    converted: int,
    numbers: int,
    places: int,
) -> int:
    """Run a record from these feeds into these places, and count it; return as ``run`` does."""
    store_word(head, HeadWord.RUNNING, 1)
    store_word(hold, HoldWord.RUNNING, 1)
    point_all(head, record, addresses, converted, numbers, places)
    return run(calls, head, hold, record)


def settle(calls: int, head: int, hold: int) -> bool:
    """Call who waits for the end of the run; return whether that raised nothing."""
    if get(hold, HoldWord.STANDS) == 0 or get(head, HeadWord.CLOSED) != 0:
        answer = called1(get(calls, CallWord.PyObject_CallNoArgs), get(head, HeadWord.SETTLE))
        if answer == 0:
            return False
        call(get(calls, CallWord.Py_DecRef), answer)
    return True


def release(calls: int, objects: int, count: int) -> None:
    """Drop references to some objects."""
    for i in range(count):
        call(get(calls, CallWord.Py_DecRef), get(objects, i))


def run_feeds(
    calls: int,
    head: int,
    bound: int,
    mapping: int,
    addresses: int,
    shapes: int,
    converted: int,
    numbers: int,
    results: int,
) -> int:
    """Run with feeds that have been read; return the number of results, with a reference to each.

    -1: the run in Python has to be taken. -2: an exception is set.
    """
    hold = get(head, HeadWord.HOLD_AT)
    record = record_of(head, shapes, converted)
    if record == 0 or not addresses_fit(head, record, addresses):
        return -1
    if not bound_fits(head, bound, record, addresses):
        return -1
    count = make_results(calls, head, record, bound, mapping, results)
    if count < 0:
        release(calls, results, -1 - count)
        return -1
    places = address(local_words(count + 1))
    for i in range(count):
        store_word(places, i, get(get(results, i) + ObjectField.DATA, 0))
    failed = run_over(calls, head, hold, record, addresses, converted, numbers, places)
    is_settled = settle(calls, head, hold)
    if failed != 0 or not is_settled:
        release(calls, results, count)
        return -1 if is_settled else -2
    return count


def run_entry(calls: int, head: int, feeds: int, mapping: int, bound: int) -> int:
    """Return results, None, or 0 where an exception is set.

    A dict keeps its arrays itself, a single array is returned with the reference made for it.
    """
    none = get(calls, CallWord.none)
    if not is_ready(calls, head, get(head, HeadWord.HOLD_AT)):
        return none
    count = get(head, HeadWord.FEEDS)
    addresses = address(local_words(count + 1))
    converted = address(local_words(count + 1))
    numbers = address(local_words(count + 1))
    shapes = address(local_words(count + 1))
    results = address(local_words(get(head, HeadWord.RESULTS) + 1))
    if not kinds_fit(calls, head, feeds, addresses, shapes, converted, numbers):
        return none
    ran = run_feeds(calls, head, bound, mapping, addresses, shapes, converted, numbers, results)
    if ran < 0:
        return none if ran == -1 else 0
    if mapping == 0:
        return get(results, 0)
    release(calls, results, ran)
    return mapping


def collect(calls: int, head: int, words: int, feeds: int, room: int) -> int:
    """Note the feeds in order, with a reference to each; return their number, or below 0."""
    keep = get(calls, CallWord.Py_IncRef)
    count = get(head, HeadWord.FEEDS)
    if feeds == 0:
        for i in range(count):
            feed = get(get(words, BoundWord.FEEDS_AT), i)
            call(keep, feed)
            store_word(room, i, feed)
        return count
    if get(feeds + ObjectField.TYPE, 0) != get(calls, CallWord.dict_type):
        return -1
    if called1(get(calls, CallWord.PyDict_Size), feeds) != count:
        return -1
    find = get(calls, CallWord.PyDict_GetItemWithError)
    for i in range(count):
        feed = called2(find, feeds, get(get(head, HeadWord.NAMES_AT), i))
        key = get(get(head, HeadWord.KEYS_AT), i)
        if feed == 0 and key != 0:
            feed = called2(find, feeds, key)
        if feed == 0:
            return -1 - i
        call(keep, feed)
        store_word(room, i, feed)
    return count


def enter(self: int, feeds: int) -> int:
    """Run a program as a builtin of CPython: ``entry(self, feeds)``."""
    words = get(self + ObjectField.DATA, 0)
    head = get(words, BoundWord.HEAD) if feeds == 0 else words
    calls = get(head, HeadWord.CALLS_AT)
    none = get(calls, CallWord.none)
    room = address(local_words(get(head, HeadWord.FEEDS) + 1))
    is_single = get(head, HeadWord.SINGLE)
    mapping = 0
    if is_single == 0:
        # before anything is looked at: the collector may run code here, on Python 3.11
        mapping = called0(get(calls, CallWord.PyDict_New))
    feed_count = -1
    if mapping != 0 or is_single != 0:
        feed_count = collect(calls, head, words, feeds, room)
    result = none
    if feed_count >= 0:
        result = run_entry(calls, head, room, mapping, words if feeds == 0 else 0)
    if result == none:
        call(get(calls, CallWord.PyErr_Clear))
        call(get(calls, CallWord.Py_IncRef), none)
    if mapping != 0 and result != mapping:
        call(get(calls, CallWord.Py_DecRef), mapping)
    release(calls, room, feed_count if feed_count >= 0 else -1 - feed_count)
    return result


@functools.cache
def code() -> RuntimeCode:
    """The function that Python calls."""
    return RuntimeCode("sg_enter", PythonSource(enter))
