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

In the source all addresses are words.

Numbers are feeds of inputs without axes. A number that has the input's bytes, a float for float64
or a scalar of NumPy's, is read in its object. Another is converted as the path in Python does it:
to the nearest, by the default floating-point environment, to the place in the arena where its plan
has a copy of it.
"""

from __future__ import annotations

import functools
from typing import Final

from staticgrad.native.constants import RuntimeCode, numbered, numbers_of
from staticgrad.native.entry.words import (
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
)

_WORDS: Final = """
def get(address, number):
    return word(load1(ptr_i64(address), number))


def put(address, number, value):
    store1(ptr_i64(address), number, i64x1(value))


def half(address):
    return word(load1(ptr_i32(address), 0))

"""
#: Checks, all before anything is changed.
_CHECKS: Final = """
def is_ready(calls, head, hold):
    thread = called0(get(calls, CALL_PYTHREAD_GET_THREAD_IDENT))
    if get(head, HEAD_RUNNING) != 0 or get(head, HEAD_CLOSED) != 0:
        return False
    whose = get(hold, HOLD_THREAD)
    is_ours = whose == 0 or whose == thread
    return is_ours and get(hold, HOLD_STANDS) != 0


def array_fits(array, kind, dtype, flags, rank):
    if get(array + OBJECT_TYPE, 0) != kind or get(array + OBJECT_DTYPE, 0) != dtype:
        return False
    has = word(load1(ptr_i32(array + OBJECT_FLAGS), 0) & i32x1(flags))
    return has == flags and half(array + OBJECT_RANK) == rank


def shape_fits(array, rank, wanted):
    shape = get(array + OBJECT_SHAPE, 0)
    for axis in range(rank):
        if get(shape, axis) != get(wanted, axis):
            return False
    return True


def single_bits(number):
    return word(bitcast_u32(cast_f32(number)))


def number_fits(calls, feed, size, addresses, converted, numbers, i):
    kind = get(feed + OBJECT_TYPE, 0)
    value = feed + OBJECT_VALUE
    put(addresses, i, value)
    is_double = kind == get(calls, CALL_FLOAT_TYPE) or kind == get(calls, CALL_FLOAT64_TYPE)
    if size != 4 and is_double:
        return True
    if size == 4 and kind == get(calls, CALL_FLOAT32_TYPE):
        return True
    put(converted, i, 1)
    if not has_default_environment():
        return False
    if is_double:
        put(numbers, i, single_bits(load1(ptr_f64(value), 0)))
        return True
    if kind != get(calls, CALL_INT_TYPE):
        return False
    whole = called1(get(calls, CALL_PYLONG_ASLONGLONG), feed)
    if called0(get(calls, CALL_PYERR_OCCURRED)) != 0:
        return False
    if size == 4:
        put(numbers, i, single_bits(i64x1(whole)))
    else:
        put(numbers, i, word(bitcast_i64(cast_f64(i64x1(whole)))))
        put(converted, i, 2)
    return True


def kinds_fit(calls, head, feeds, addresses, converted, numbers):
    kind = get(calls, CALL_ARRAY_TYPE)
    types = get(head, HEAD_TYPES_AT)
    ranks = get(head, HEAD_RANKS_AT)
    sizes = get(head, HEAD_NUMBERS_AT)
    for i in range(get(head, HEAD_FEEDS)):
        feed = get(feeds, i)
        size = get(sizes, i)
        put(converted, i, 0)
        if size == 0 or get(feed + OBJECT_TYPE, 0) == kind:
            if not array_fits(feed, kind, get(types, i), READABLE, get(ranks, i)):
                return False
            put(addresses, i, get(feed + OBJECT_DATA, 0))
        elif not number_fits(calls, feed, size, addresses, converted, numbers, i):
            return False
    return True


def record_fits(head, record, feeds, converted):
    ranks = get(head, HEAD_RANKS_AT)
    wanted = get(record, RECORD_SHAPES_AT)
    places = get(record, RECORD_FEEDS_AT)
    for i in range(get(head, HEAD_FEEDS)):
        copies = get(places, i * PLACE_WORDS + PLACE_NUMBER_AT)
        converts = get(converted, i)
        if (copies == 0 and converts != 0) or (copies != 0 and converts == 0):
            return False
        if not shape_fits(get(feeds, i), get(ranks, i), wanted):
            return False
        wanted = wanted + 8 * get(ranks, i)
    return True


def record_of(head, feeds, converted):
    record = get(head, HEAD_RECORD)
    while record != 0:
        if record_fits(head, record, feeds, converted):
            return record
        record = get(record, RECORD_NEXT)
    return 0


def bools_fit(begin, size):
    bytes = ptr_u8(begin)
    whole = size // 64
    seen = u8x64(0)
    for chunk in range(whole):
        seen = seen | load64(bytes, 64 * chunk)
    rest = u8x1(0)
    for byte in range(64 * whole, size):
        rest = rest | load1(bytes, byte)
    return word(hor(seen) | rest) <= 1


def addresses_fit(head, record, addresses):
    bools = get(head, HEAD_BOOLS_AT)
    written = get(head, HEAD_WRITTEN_AT)
    places = get(record, RECORD_FEEDS_AT)
    for i in range(get(head, HEAD_FEEDS)):
        place = places + i * SIZE_OF_PLACE
        begin = get(addresses, i)
        size = get(place, PLACE_BYTES)
        if begin != get(get(place, PLACE_BOUND_AT), 0) and size != 0:
            for j in range(get(head, HEAD_WRITTEN)):
                if begin + size > get(written, 2 * j) and begin < get(written, 2 * j + 1):
                    return False
        if get(bools, i) != 0 and not bools_fit(begin, size):
            return False
    return True


def bound_fits(head, bound, record, addresses):
    if bound == 0 or get(bound, BOUND_GIVEN) == 0:
        return True
    if get(bound, BOUND_RECORD) != record:
        return False
    known = get(bound, BOUND_FEED_ADDRESSES_AT)
    for i in range(get(head, HEAD_FEEDS)):
        if get(known, i) != 0 and get(known, i) != get(addresses, i):
            return False
    given = get(bound, BOUND_RESULTS_AT)
    known = get(bound, BOUND_RESULT_ADDRESSES_AT)
    for i in range(get(head, HEAD_RESULTS)):
        array = get(given, i)
        if array != 0 and get(array + OBJECT_DATA, 0) != get(known, i):
            return False
    return True
"""
#: Arrays of results: given ones, views of blocks that have no other references, or new ones.
_RESULTS: Final = """
def pooled(calls, head, i, rank, shape):
    pool = get(head, HEAD_POOLS_AT) + 16 * i
    for k in range(2):
        block = get(pool, k)
        if block != 0 and shape_fits(block, rank, shape):
            memory = get(block + OBJECT_BASE, 0)
            if half(memory + OBJECT_REFERENCES) == get(head, HEAD_UNUSED):
                return called3(get(calls, CALL_PYARRAY_VIEW), block, 0, 0)
    return 0


def result_of(calls, head, record, bound, i, rank, shape):
    kind = get(calls, CALL_ARRAY_TYPE)
    dtype = get(get(head, HEAD_RESULT_TYPES_AT), i)
    keep = get(calls, CALL_PY_INCREF)
    given = 0
    if bound != 0:
        given = get(get(bound, BOUND_RESULTS_AT), i)
    if given != 0:
        if not array_fits(given, kind, dtype, WRITABLE, rank):
            return 0
        if not shape_fits(given, rank, shape):
            return 0
        call(keep, given)
        return given
    if get(get(record, RECORD_RESULTS_AT), i * PLACE_WORDS + PLACE_BYTES) > SMALL:
        return pooled(calls, head, i, rank, shape)
    call(keep, dtype)
    return called8(get(calls, CALL_PYARRAY_NEWFROMDESCR), kind, dtype, rank, shape, 0, 0, 0, 0)


def make_results(calls, head, record, bound, dict, results):
    names = get(head, HEAD_RESULT_NAMES_AT)
    ranks = get(head, HEAD_RESULT_RANKS_AT)
    shape = get(record, RECORD_RESULT_SHAPES_AT)
    count = get(head, HEAD_RESULTS)
    for i in range(count):
        rank = get(ranks, i)
        array = result_of(calls, head, record, bound, i, rank, shape)
        if array == 0:
            return -1 - i
        put(results, i, array)
        shape = shape + 8 * rank
        if dict != 0:
            status = called3(get(calls, CALL_PYDICT_SETITEM), dict, get(names, i), array)
            if word(cast_i32(i64x1(status))) != 0:
                return -2 - i
    return count
"""
#: The rows over this run's memory.
_ROWS: Final = """
def point(place, begin):
    bound = get(place, PLACE_BOUND_AT)
    if get(bound, 0) != begin:
        slots = get(place, PLACE_SLOTS_AT)
        for j in range(get(place, PLACE_SLOTS)):
            put(get(slots, 2 * j), 0, begin + get(slots, 2 * j + 1))
        put(bound, 0, begin)


def point_all(head, record, addresses, converted, numbers, results):
    for i in range(get(head, HEAD_FEEDS)):
        place = get(record, RECORD_FEEDS_AT) + i * SIZE_OF_PLACE
        point(place, get(addresses, i))
        copy = get(place, PLACE_NUMBER_AT)
        if get(converted, i) == 2:
            put(copy, 0, get(numbers, i))
        elif get(converted, i) == 1:
            store1(ptr_i32(copy), 0, cast_i32(i64x1(get(numbers, i))))
    for i in range(get(head, HEAD_RESULTS)):
        place = get(record, RECORD_RESULTS_AT) + i * SIZE_OF_PLACE
        point(place, get(get(results, i) + OBJECT_DATA, 0))


def run(calls, head, hold, record):
    notes = get(record, RECORD_NOTES)
    notes_at = get(record, RECORD_NOTES_AT)
    for i in range(notes):
        put(get(notes_at, i), 0, -1)
        put(get(notes_at, i), 1, -1)
    releases = get(record, RECORD_RELEASES)
    state = 0
    if releases != 0:
        state = called0(get(calls, CALL_PYEVAL_SAVETHREAD))
    driver = get(head, HEAD_DRIVER)
    block = get(record, RECORD_BLOCK)
    commit = get(record, RECORD_COMMIT)
    rows = get(record, RECORD_ROWS)
    fuel = get(record, RECORD_FUEL)
    # With the interpreter lock held nobody sees a run half done: one call does if nothing fails.
    if notes == 0 and releases == 0 and fuel == 0:
        commit = 0
    failed = 0
    if commit != 0:
        # Loops that only their tests end run so long; where one takes longer, a run in Python,
        # which signals end, begins anew.
        if fuel != 0:
            put(get(record, RECORD_FUEL_AT), 0, fuel)
            put(get(record, RECORD_RESUME_AT), 0, 0)
        call(driver, block, 0, commit)
        if fuel != 0:
            put(get(record, RECORD_FUEL_AT), 0, get(record, RECORD_ENDLESS))
            if get(get(record, RECORD_RESUME_AT), 0) != 0:
                failed = 1
    for i in range(notes):
        if get(get(notes_at, i), 0) >= 0:
            failed = 1
    if commit < rows and failed == 0:
        # Who takes the reservation back looks behind that whether it writes: one sees the other.
        store_in_order(hold + 8 * HOLD_WRITING, 1)
        if load_in_order(hold + 8 * HOLD_STANDS) != 0:
            call(driver, block, commit, rows)
        else:
            failed = 1
    if releases != 0:
        call(get(calls, CALL_PYEVAL_RESTORETHREAD), state)
    put(hold, HOLD_WRITING, 0)
    put(hold, HOLD_RUNNING, 0)
    put(head, HEAD_RUNNING, 0)
    return failed


def settle(calls, head, hold):
    if get(hold, HOLD_STANDS) == 0 or get(head, HEAD_CLOSED) != 0:
        answer = called1(get(calls, CALL_PYOBJECT_CALLNOARGS), get(head, HEAD_SETTLE))
        if answer == 0:
            return False
        call(get(calls, CALL_PY_DECREF), answer)
    return True


def release(calls, objects, count):
    for i in range(count):
        call(get(calls, CALL_PY_DECREF), get(objects, i))
"""
#: ``entered`` gives results, None, or 0 where an exception is set. A dict keeps its arrays itself,
#: a single array is returned with the reference that was made for it.
_ENTRY: Final = """
def entered(calls, head, feeds, dict, bound):
    none = get(calls, CALL_NONE)
    hold = get(head, HEAD_HOLD_AT)
    if not is_ready(calls, head, hold):
        return none
    count = get(head, HEAD_FEEDS)
    addresses = address(local_words(count + 1))
    converted = address(local_words(count + 1))
    numbers = address(local_words(count + 1))
    results = address(local_words(get(head, HEAD_RESULTS) + 1))
    if not kinds_fit(calls, head, feeds, addresses, converted, numbers):
        return none
    record = record_of(head, feeds, converted)
    if record == 0 or not addresses_fit(head, record, addresses):
        return none
    if not bound_fits(head, bound, record, addresses):
        return none
    made = make_results(calls, head, record, bound, dict, results)
    if made < 0:
        release(calls, results, -1 - made)
        return none
    put(head, HEAD_RUNNING, 1)
    put(hold, HOLD_RUNNING, 1)
    point_all(head, record, addresses, converted, numbers, results)
    failed = run(calls, head, hold, record)
    if failed == 0:
        put(head, HEAD_RUNS, get(head, HEAD_RUNS) + 1)
        put(head, HEAD_LATEST, record)
    found = none if failed != 0 else (get(results, 0) if dict == 0 else dict)
    if not settle(calls, head, hold):
        found = 0
    if found == 0 or found == none or dict != 0:
        release(calls, results, made)
    return found


def collect(calls, head, words, feeds, room):
    keep = get(calls, CALL_PY_INCREF)
    count = get(head, HEAD_FEEDS)
    if feeds == 0:
        for i in range(count):
            given = get(get(words, BOUND_FEEDS_AT), i)
            call(keep, given)
            put(room, i, given)
        return count
    if get(feeds + OBJECT_TYPE, 0) != get(calls, CALL_DICT_TYPE):
        return -1
    if called1(get(calls, CALL_PYDICT_SIZE), feeds) != count:
        return -1
    find = get(calls, CALL_PYDICT_GETITEMWITHERROR)
    for i in range(count):
        found = called2(find, feeds, get(get(head, HEAD_NAMES_AT), i))
        key = get(get(head, HEAD_KEYS_AT), i)
        if found == 0 and key != 0:
            found = called2(find, feeds, key)
        if found == 0:
            return -1 - i
        call(keep, found)
        put(room, i, found)
    return count


def kernel(self, feeds):
    words = get(self + OBJECT_DATA, 0)
    head = get(words, BOUND_HEAD) if feeds == 0 else words
    calls = get(head, HEAD_CALLS_AT)
    none = get(calls, CALL_NONE)
    room = address(local_words(get(head, HEAD_FEEDS) + 1))
    is_single = get(head, HEAD_SINGLE)
    dict = 0
    if is_single == 0:
        # before anything is looked at: the collector may run code here, on Python 3.11
        dict = called0(get(calls, CALL_PYDICT_NEW))
    kept = -1
    if dict != 0 or is_single != 0:
        kept = collect(calls, head, words, feeds, room)
    found = none
    if kept >= 0:
        found = entered(calls, head, room, dict, words if feeds == 0 else 0)
    if found == none:
        call(get(calls, CALL_PYERR_CLEAR))
        call(get(calls, CALL_PY_INCREF), none)
    if dict != 0 and found != dict:
        call(get(calls, CALL_PY_DECREF), dict)
    release(calls, room, kept if kept >= 0 else -1 - kept)
    return found
"""


@functools.cache
def code() -> RuntimeCode:
    """The function that Python calls."""
    numbers = numbers_of(
        HEAD=HeadWord, HOLD=HoldWord, RECORD=RecordWord, PLACE=PlaceWord, BOUND=BoundWord,
        CALL=CallWord, OBJECT=ObjectField,
    )  # fmt: skip
    numbers |= {"PLACE_WORDS": len(PlaceWord), "SMALL": SMALL}
    numbers |= {"READABLE": READABLE, "WRITABLE": WRITABLE}
    source = numbered(_WORDS + _CHECKS + _RESULTS + _ROWS + _ENTRY, numbers)
    return RuntimeCode("sg_enter", 2, source)
