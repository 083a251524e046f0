"""The part of the native entry that runs: from held feeds to results (see ``text``)."""

from __future__ import annotations

from typing import Final

from staticgrad.native.entry import numbers
from staticgrad.native.entry.numbers import Feeds
from staticgrad.native.entry.text import EntryCode
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

_SIGNATURE: Final = (
    "define internal ptr @sg_run_entered(ptr %head, ptr %feeds, ptr %dict, ptr %self) #0"
)
#: Bytes that are looked at together for bools other than 0 and 1.
_CHUNK: Final = 64
_DECLARE: Final = f"declare i8 @llvm.vector.reduce.or.v{_CHUNK}i8(<{_CHUNK} x i8>)"


def text(triple: str) -> str:
    """The function ``sg_run_entered(head, feeds, dict, bound)``: the results, None, or NULL."""
    c = EntryCode()
    calls = c.pointer("%head", HeadWord.CALLS_AT)
    result, made = c.variable("null", "ptr"), c.variable("0")
    results = c.room(c.add(c.word("%head", HeadWord.RESULTS), 1))
    hold = _look_at_state(c, calls)
    count = c.word("%head", HeadWord.FEEDS)
    feeds = Feeds(*(c.room(c.add(count, 1)) for _ in Feeds._fields))
    _check_kinds(c, calls, feeds)
    record = _find_record(c, feeds)
    _check_addresses(c, c.pointer(record, RecordWord.FEEDS_AT), feeds)
    _check_bound(c, record, feeds)
    _make_results(c, calls, record, results, made, result)
    failed = _run(c, calls, hold, record, feeds, results)
    _settle(c, calls, hold, record, failed)
    _endings(c, calls, results, made, result)
    return f"{c.function(_SIGNATURE)}\n{_DECLARE}\n{numbers.text(triple)}"


def _look_at_state(c: EntryCode, calls: str) -> str:
    """Require that the program is open and not running, and that its locks are this thread's."""
    hold = c.pointer("%head", HeadWord.HOLD_AT)
    thread = c.call(calls, CallWord.PyThread_get_thread_ident, "i64")
    c.require(c.is_(c.word("%head", HeadWord.RUNNING), "eq", 0), "refuse")
    c.require(c.is_(c.word("%head", HeadWord.CLOSED), "eq", 0), "refuse")
    c.require(c.is_(c.word(hold, HoldWord.STANDS), "ne", 0), "refuse")
    whose = c.word(hold, HoldWord.THREAD)
    ours = c.either(c.is_(whose, "eq", 0), c.is_(whose, "eq", thread))
    c.require(ours, "refuse")
    return hold


def _check_kinds(c: EntryCode, calls: str, feeds: Feeds) -> None:
    """The feeds are arrays of the inputs' dtypes and ranks that kernels may read, or numbers."""
    kind = c.pointer(calls, CallWord.array_type)
    types, ranks = c.pointer("%head", HeadWord.TYPES_AT), c.pointer("%head", HeadWord.RANKS_AT)
    sizes = c.pointer("%head", HeadWord.NUMBERS_AT)
    with c.each(c.word("%head", HeadWord.FEEDS)) as i:
        feed, size = c.pointer("%feeds", i), c.word(sizes, i)
        c.put(feeds.converted, i, 0)
        is_array = c.is_(c.field(feed, ObjectField.TYPE), "eq", kind, "ptr")
        either = c.either(is_array, c.is_(size, "eq", 0))
        c.do(f"br i1 {either}, label %array, label %number")
        c.label("array")
        _check_array(c, feed, kind, c.pointer(types, i), READABLE, c.word(ranks, i))
        c.put(feeds.addresses, i, c.field(feed, ObjectField.DATA, "i64"))
        c.do("br label %known")
        c.label("number")
        numbers.read(c, calls, feeds, feed, size, i)
        c.do("br label %known")
        c.label("known")


def _check_array(c: EntryCode, array: str, kind: str, dtype: str, flags: int, rank: str) -> None:
    c.require(c.is_(c.field(array, ObjectField.TYPE), "eq", kind, "ptr"), "refuse")
    right = c.is_(c.field(array, ObjectField.DTYPE), "eq", dtype, "ptr")
    has = c.value(f"and i32 {c.field(array, ObjectField.FLAGS, 'i32')}, {flags}")
    right = c.both(right, c.is_(has, "eq", flags, "i32"))
    axes = c.value(f"sext i32 {c.field(array, ObjectField.RANK, 'i32')} to i64")
    c.require(c.both(right, c.is_(axes, "eq", rank)), "refuse")


def _check_shape(
    c: EntryCode, array: str, rank: str, wanted: str, first: str, otherwise: str
) -> None:
    """Check that the extents of an array equal the words from ``first`` on."""
    shape = c.field(array, ObjectField.SHAPE)
    with c.each(rank) as axis:
        same = c.is_(c.word(shape, axis), "eq", c.word(wanted, c.add(first, axis)))
        c.require(same, otherwise)


def _find_record(c: EntryCode, feeds: Feeds) -> str:
    """The first record whose feeds have the shapes of these, and are converted where they are."""
    found, first = c.variable(c.pointer("%head", HeadWord.RECORD), "ptr"), c.variable("0")
    copied = c.variable("0")
    ranks = c.pointer("%head", HeadWord.RANKS_AT)
    c.do("br label %look")
    c.label("look")
    record = c.get(found, "ptr")
    c.require(c.is_(record, "ne", "null", "ptr"), "refuse")
    c.set(first, "0")
    wanted = c.pointer(record, RecordWord.SHAPES_AT)
    with c.each(c.word("%head", HeadWord.FEEDS)) as i:
        rank = c.word(ranks, i)
        place = c.place(c.pointer(record, RecordWord.FEEDS_AT), c.times(i, len(PlaceWord)))
        c.set(copied, c.word(place, PlaceWord.NUMBER_AT))
        converted = c.is_(c.word(feeds.converted, i), "ne", 0)
        c.require(c.same(c.is_(c.get(copied), "ne", 0), converted), "another")
        _check_shape(c, c.pointer("%feeds", i), rank, wanted, c.get(first), "another")
        c.set(first, c.add(c.get(first), rank))
    c.do("br label %found")
    c.label("another")
    c.set(found, c.pointer(record, RecordWord.NEXT), "ptr")
    c.do("br label %look")
    c.label("found")
    return record


def _check_addresses(c: EntryCode, feeds_at: str, feeds: Feeds) -> None:
    """Check that feeds do not overlap updated memory, and that bools are 0 and 1."""
    bools = c.pointer("%head", HeadWord.BOOLS_AT)
    written = c.pointer("%head", HeadWord.WRITTEN_AT)
    with c.each(c.word("%head", HeadWord.FEEDS)) as i:
        place = c.place(feeds_at, c.times(i, len(PlaceWord)))
        begin = c.word(feeds.addresses, i)
        size = c.word(place, PlaceWord.BYTES)
        bound = c.word(c.pointer(place, PlaceWord.BOUND_AT))
        fresh = c.both(c.is_(begin, "ne", bound), c.is_(size, "ne", 0))
        with c.when(fresh):  # what is bound was looked at when it was bound
            end = c.add(begin, size)
            with c.each(c.word("%head", HeadWord.WRITTEN)) as j:
                span = c.place(written, c.times(j, 2))
                before = c.is_(end, "sle", c.word(span))
                c.require(c.either(before, c.is_(begin, "sge", c.word(span, 1))), "refuse")
        with c.when(c.is_(c.word(bools, i), "ne", 0)):
            _check_bools(c, begin, size)


def _check_bools(c: EntryCode, begin: str, size: str) -> None:
    """Check that all bytes are 0 or 1."""
    base = c.value(f"inttoptr i64 {begin} to ptr")
    wide = f"<{_CHUNK} x i8>"
    seen, rest = c.variable("zeroinitializer", wide), c.variable("0", "i8")
    chunks = c.value(f"udiv i64 {size}, {_CHUNK}")
    with c.each(chunks) as i:
        place = c.value(f"getelementptr {wide}, ptr {base}, i64 {i}")
        more = c.value(f"load {wide}, ptr {place}, align 1")
        c.set(seen, c.value(f"or {wide} {more}, {c.get(seen, wide)}"), wide)
    done = c.times(chunks, _CHUNK)
    with c.each(c.value(f"sub i64 {size}, {done}")) as i:
        place = c.value(f"getelementptr i8, ptr {base}, i64 {c.add(done, i)}")
        byte = c.value(f"load i8, ptr {place}")
        c.set(rest, c.value(f"or i8 {byte}, {c.get(rest, 'i8')}"), "i8")
    all_ = c.value(f"call i8 @llvm.vector.reduce.or.v{_CHUNK}i8({wide} {c.get(seen, wide)})")
    either = c.value(f"or i8 {all_}, {c.get(rest, 'i8')}")
    c.require(c.is_(either, "ule", 1, "i8"), "refuse")


def _check_bound(c: EntryCode, record: str, feeds: Feeds) -> None:
    """Check that all memory is unchanged since the given result arrays were checked."""
    c.do(f"br i1 {c.is_('%self', 'eq', 'null', 'ptr')}, label %results, label %bound")
    c.label("bound")
    c.require(c.is_(c.word("%self", BoundWord.GIVEN), "ne", 0), "results")
    c.require(c.is_(c.pointer("%self", BoundWord.RECORD), "eq", record, "ptr"), "refuse")
    at = c.pointer("%self", BoundWord.FEED_ADDRESSES_AT)
    with c.each(c.word("%head", HeadWord.FEEDS)) as i:
        same = c.is_(c.word(feeds.addresses, i), "eq", c.word(at, i))
        c.require(c.either(same, c.is_(c.word(at, i), "eq", 0)), "refuse")  # 0: of a number
    given, at = (
        c.pointer("%self", BoundWord.RESULTS_AT),
        c.pointer("%self", BoundWord.RESULT_ADDRESSES_AT),
    )
    with c.each(c.word("%head", HeadWord.RESULTS)) as i:
        array = c.pointer(given, i)
        with c.when(c.is_(array, "ne", "null", "ptr")):
            begin = c.field(array, ObjectField.DATA, "i64")
            c.require(c.is_(begin, "eq", c.word(at, i)), "refuse")
    c.do("br label %results")
    c.label("results")


# -- results --------------------------------------------------------------------------------------


def _make_results(
    c: EntryCode, calls: str, record: str, results: str, made: str, result: str
) -> None:
    """Make an array for each result; ``result`` is the return value."""
    names, ranks = (
        c.pointer("%head", at) for at in (HeadWord.RESULT_NAMES_AT, HeadWord.RESULT_RANKS_AT)
    )
    first, array = c.variable("0"), c.variable("null", "ptr")
    c.set(result, "%dict", "ptr")
    with c.each(c.word("%head", HeadWord.RESULTS)) as i:
        rank = c.word(ranks, i)
        _make_result(c, calls, record, array, i, rank, c.get(first))
        now = c.get(array, "ptr")
        c.put(results, i, now, "ptr")
        c.set(made, c.add(i, 1))
        c.set(first, c.add(c.get(first), rank))
        c.do(f"br i1 {c.is_('%dict', 'eq', 'null', 'ptr')}, label %one, label %many")
        c.label("one")
        c.set(result, now, "ptr")
        c.do("br label %next")
        c.label("many")
        pair = ("ptr %dict", f"ptr {c.pointer(names, i)}", f"ptr {now}")
        status = c.call(calls, CallWord.PyDict_SetItem, "i32", *pair)
        c.require(c.is_(status, "eq", 0, "i32"), "refuse")
        c.do("br label %next")
        c.label("next")


def _make_result(
    c: EntryCode, calls: str, record: str, array: str, i: str, rank: str, first: str
) -> None:
    """The array that was given for a result, or a new one, or one from the pool."""
    places = c.pointer(record, RecordWord.RESULTS_AT)
    shapes = c.pointer(record, RecordWord.RESULT_SHAPES_AT)
    shape = c.place(shapes, first)
    dtype = c.pointer(c.pointer("%head", HeadWord.RESULT_TYPES_AT), i)
    size = c.word(c.place(places, c.times(i, len(PlaceWord))), PlaceWord.BYTES)
    c.set(array, "null", "ptr")
    _take_given(c, calls, array, i, dtype, rank, shape)
    with c.when(c.is_(c.get(array, "ptr"), "eq", "null", "ptr")):
        c.do(f"br i1 {c.is_(size, 'sle', SMALL)}, label %new, label %pool")
        c.label("new")
        c.call(calls, CallWord.Py_IncRef, "void", f"ptr {dtype}")
        kind = c.pointer(calls, CallWord.array_type)
        axes = c.value(f"trunc i64 {rank} to i32")
        what = (f"ptr {kind}", f"ptr {dtype}", f"i32 {axes}", f"ptr {shape}")
        where = ("ptr null", "ptr null", "i32 0", "ptr null")
        c.set(array, c.call(calls, CallWord.PyArray_NewFromDescr, "ptr", *what, *where), "ptr")
        c.do("br label %have")
        c.label("pool")
        _take_from_pool(c, calls, array, i, rank, shapes, first)
        c.do("br label %have")
        c.label("have")
        c.require(c.is_(c.get(array, "ptr"), "ne", "null", "ptr"), "refuse")


def _take_given(
    c: EntryCode, calls: str, array: str, i: str, dtype: str, rank: str, shape: str
) -> None:
    """The array that was bound to a result, if one was: the caller may have changed its shape."""
    with c.when(c.is_("%self", "ne", "null", "ptr")):
        given = c.pointer(c.pointer("%self", BoundWord.RESULTS_AT), i)
        with c.when(c.is_(given, "ne", "null", "ptr")):
            kind = c.pointer(calls, CallWord.array_type)
            _check_array(c, given, kind, dtype, WRITABLE, rank)
            _check_shape(c, given, rank, shape, "0", "refuse")
            c.call(calls, CallWord.Py_IncRef, "void", f"ptr {given}")
            c.set(array, given, "ptr")


def _take_from_pool(
    c: EntryCode, calls: str, array: str, i: str, rank: str, shapes: str, first: str
) -> None:
    """A view of a block that has no other references."""
    pool = c.place(c.pointer("%head", HeadWord.POOLS_AT), c.times(i, 2))
    unused = c.value(f"trunc i64 {c.word('%head', HeadWord.UNUSED)} to i32")
    with c.each("2") as k:
        block = c.pointer(pool, k)
        c.require(c.is_(block, "ne", "null", "ptr"), "skip")
        _check_shape(c, block, rank, shapes, first, "skip")
        references = c.field(c.field(block, ObjectField.BASE), ObjectField.REFERENCES, "i32")
        c.require(c.is_(references, "eq", unused, "i32"), "skip")
        c.require(c.is_(c.get(array, "ptr"), "eq", "null", "ptr"), "skip")
        view = c.call(calls, CallWord.PyArray_View, "ptr", f"ptr {block}", "ptr null", "ptr null")
        c.set(array, view, "ptr")
        c.do("br label %skip")
        c.label("skip")


# -- rows -----------------------------------------------------------------------------------------


def _run(c: EntryCode, calls: str, hold: str, record: str, feeds: Feeds, results: str) -> str:
    """Point the table to this run's memory and run its rows; a variable that says if it failed."""
    failed = c.variable("0")
    c.put("%head", HeadWord.RUNNING, 1)
    c.put(hold, HoldWord.RUNNING, 1)
    places = c.pointer(record, RecordWord.FEEDS_AT)
    with c.each(c.word("%head", HeadWord.FEEDS)) as i:
        place = c.place(places, c.times(i, len(PlaceWord)))
        _point(c, place, c.word(feeds.addresses, i))
        numbers.store(c, feeds, c.word(place, PlaceWord.NUMBER_AT), i)
    places = c.pointer(record, RecordWord.RESULTS_AT)
    with c.each(c.word("%head", HeadWord.RESULTS)) as i:
        begin = c.field(c.pointer(results, i), ObjectField.DATA, "i64")
        _point(c, c.place(places, c.times(i, len(PlaceWord))), begin)
    notes, notes_at = c.word(record, RecordWord.NOTES), c.pointer(record, RecordWord.NOTES_AT)
    with c.each(notes) as i:
        note = c.pointer(notes_at, i)
        c.put(note, 0, -1)
        c.put(note, 1, -1)
    state = c.variable("null", "ptr")
    releases = c.is_(c.word(record, RecordWord.RELEASES), "ne", 0)
    with c.when(releases):
        c.set(state, c.call(calls, CallWord.PyEval_SaveThread, "ptr"), "ptr")
    driver, block = c.pointer("%head", HeadWord.DRIVER), c.word(record, RecordWord.BLOCK)
    commit, rows = c.word(record, RecordWord.COMMIT), c.word(record, RecordWord.ROWS)
    # With the interpreter lock held nobody sees a run half done: one call does where nothing fails.
    fuel = c.word(record, RecordWord.FUEL)
    whole = c.both(c.is_(notes, "eq", 0), c.is_(c.word(record, RecordWord.RELEASES), "eq", 0))
    whole = c.both(whole, c.is_(fuel, "eq", 0))
    commit = c.value(f"select i1 {whole}, i64 0, i64 {commit}")
    with c.when(c.is_(commit, "ne", 0)):
        _refuel(c, record, fuel)
        c.do(f"call void {driver}(i64 {block}, i64 0, i64 {commit})")
        _look_at_fuel(c, record, failed)
    with c.each(notes) as i, c.when(c.is_(c.word(c.pointer(notes_at, i)), "sge", 0)):
        c.set(failed, "1")
    writes = c.is_(commit, "slt", rows)
    with c.when(c.both(writes, c.is_(c.get(failed), "eq", 0))):
        # Who takes the reservation back looks at WRITING behind that: one sees the other.
        c.do(f"store atomic i64 1, ptr {c.place(hold, HoldWord.WRITING)} seq_cst, align 8")
        stands = c.value(f"load atomic i64, ptr {c.place(hold, HoldWord.STANDS)} seq_cst, align 8")
        c.do(f"br i1 {c.is_(stands, 'ne', 0)}, label %write, label %disturbed")
        c.label("disturbed")
        c.set(failed, "1")
        c.do("br label %written")
        c.label("write")
        c.do(f"call void {driver}(i64 {block}, i64 {commit}, i64 {rows})")
        c.do("br label %written")
        c.label("written")
    with c.when(releases):
        c.call(calls, CallWord.PyEval_RestoreThread, "void", f"ptr {c.get(state, 'ptr')}")
    for word in (HoldWord.WRITING, HoldWord.RUNNING):
        c.put(hold, word, 0)
    c.put("%head", HeadWord.RUNNING, 0)
    return failed


def _refuel(c: EntryCode, record: str, fuel: str) -> None:
    """Let loops that only their tests end run so long."""
    with c.when(c.is_(fuel, "ne", 0)):
        c.put(c.pointer(record, RecordWord.FUEL_AT), 0, fuel)
        c.put(c.pointer(record, RecordWord.RESUME_AT), 0, 0)


def _look_at_fuel(c: EntryCode, record: str, failed: str) -> None:
    """Give up where a loop takes longer: a run in Python, which signals end, begins anew."""
    with c.when(c.is_(c.word(record, RecordWord.FUEL), "ne", 0)):
        c.put(c.pointer(record, RecordWord.FUEL_AT), 0, c.word(record, RecordWord.ENDLESS))
        resume = c.word(c.pointer(record, RecordWord.RESUME_AT))
        with c.when(c.is_(resume, "ne", 0)):
            c.set(failed, "1")


def _point(c: EntryCode, place: str, begin: str) -> None:
    """Let the words of the table point to an array, where they do not."""
    bound = c.pointer(place, PlaceWord.BOUND_AT)
    with c.when(c.is_(c.word(bound), "ne", begin)):
        slots = c.pointer(place, PlaceWord.SLOTS_AT)
        with c.each(c.word(place, PlaceWord.SLOTS)) as j:
            slot = c.place(slots, c.times(j, 2))
            c.put(c.pointer(slot), 0, c.add(begin, c.word(slot, 1)))
        c.put(bound, 0, begin)


def _settle(c: EntryCode, calls: str, hold: str, record: str, failed: str) -> None:
    """Count the run; if another thread waits for its end, let that thread in."""
    with c.when(c.is_(c.get(failed), "eq", 0)):
        c.put("%head", HeadWord.RUNS, c.add(c.word("%head", HeadWord.RUNS), 1))
        c.put("%head", HeadWord.LATEST, record, "ptr")
    awaited = c.either(
        c.is_(c.word(hold, HoldWord.STANDS), "eq", 0),
        c.is_(c.word("%head", HeadWord.CLOSED), "ne", 0),
    )
    with c.when(awaited):
        settle = c.pointer("%head", HeadWord.SETTLE)
        answer = c.call(calls, CallWord.PyObject_CallNoArgs, "ptr", f"ptr {settle}")
        c.require(c.is_(answer, "ne", "null", "ptr"), "error")
        c.call(calls, CallWord.Py_DecRef, "void", f"ptr {answer}")
    c.require(c.is_(c.get(failed), "eq", 0), "refuse")
    c.do("br label %end")


def _endings(c: EntryCode, calls: str, results: str, made: str, result: str) -> None:
    """``refuse`` answers None, ``error`` NULL, ``end`` the results.

    A dict keeps its arrays itself; a single array is returned with the reference made here.
    """
    c.label("refuse")
    c.set(result, c.pointer(calls, CallWord.none), "ptr")
    c.do("br label %let_go")
    c.label("error")
    c.set(result, "null", "ptr")
    c.do("br label %let_go")
    c.label("end")
    c.do(f"br i1 {c.is_('%dict', 'eq', 'null', 'ptr')}, label %done, label %let_go")
    c.label("let_go")
    with c.each(c.get(made)) as i:
        c.call(calls, CallWord.Py_DecRef, "void", f"ptr {c.pointer(results, i)}")
    c.do("br label %done")
    c.label("done")
    c.do(f"ret ptr {c.get(result, 'ptr')}")
