"""The code of the pool: how a section is claimed, run and waited for, and how workers sleep.

``pool_policy`` has its decisions.

A section is some rows of a table that may run at the same time. Its iterations are cut into
groups, which are numbered through, and each worker has a part of them: so what a worker wrote in
one section is still in its cache in the next. Its *ticket* contains the number of unclaimed groups
of its part and, in the upper half, the generation of the section, so that a claim succeeds only
in the section that its claimer has looked at. A worker that has finished its own part continues
with those of others; at the end it adds the number of groups that it ran, and the section ends when
all have been run. A claim takes one group. If the data of a part is in its worker's cache, the
others wait a while for that worker (``KEEPS``). So

- the caller waits only for a group that is being run, never for a worker that has claimed nothing:
  if the other processors are busy, it claims everything itself;
- what a worker reads of a section, it reads after a claim, while the section cannot end.

Workers look for a ticket for ``SPIN`` nanoseconds after the last group that they ran, then sleep
until a section wakes them that is worth it, or one that began within ``SPIN`` of the one before:
who calls so often finds them awake from then on. Where the caller has waited for a group and its
worker had no processor for half of that time, by the clocks of the workers' threads, or where it
has waited longer than for the rest of a section of many groups, a worker has stalled, and the wait
is lost. What sharing has gained in the sections before pays for it: the time that the caller has
worked, less another wait, as often as the others ran groups for one of its own. One part of
``TOLERANCE`` of that is kept as a *balance*, which begins with ``FIRST_BALANCE``. Only where it
falls below 0 are the next sections the caller's alone, for a *penalty*, which doubles each time
until the balance has been full again; the debt is forgiven, and one part of ``CREDIT`` of the
penalty may be lost before the next one. So a processor that is taken now and then costs its waits
alone, one that is always taken is tried ever less often, and who tries it again is not turned away
by the first wait, which is likely where workers have just been woken.

Where processors are slow at handing over, as when they share no cache, a short program may take
longer on several than on one. So the driver keeps what a run of a table takes alone and shared
(``Head``), and does what takes less; now and then it tries the other way four times, and then the
preferred one four times, so that no cold run of a program that begins, or whose workers slept,
stands against warm ones; where the first two take clearly more than the preferred way, these are
enough. A shared run that nobody helped, because its worker was woken and had no processor yet,
takes about what one alone takes: that is no reason to share the next 500, which may take twice as
long, where a program's weights are in one processor's cache and each run changes all of them. A
trial in which another program's threads had a worker's processor says alone, for no reason that
lasts: so those that do are repeated after ``LEAST_INTERVAL`` runs, and where they say so again,
after twice as many, up to ``MOST_INTERVAL``, or what takes ``LONGEST_INTERVAL`` nanoseconds. After
the others, ``SHARED_INTERVAL`` runs are shared. Runs of more than ``SHORT`` nanoseconds are shared
always.

A system may wake a worker on its caller's processor, where both then take turns, and again each
time, since that is where it slept. So a worker that wakes there moves to another one, once: where
the system brings it back while it works, another program has the other processor.

**Memory order.** The code is right without x86's order of loads and stores: docs/decisions.md has a
table of the words that several threads share, and why each access has the order that it has. Words
that describe a section are plain: they are written before the tickets are released and read after a
claim has acquired one.

Workers are threads of the C library, made by the first section that wants them: with all signals
blocked, and inside the driver, whose floating-point environment they inherit. They never call into
Python. C functions are called by addresses in the pool's memory. So is this code, by the driver: it
is compiled when a process makes its pool, and asks the driver's own function where rows without
code lead.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from staticgrad.native.constants import SIZE_OF_ROW, Head, Row
from staticgrad.native.source import PythonSource, RuntimeCode
from staticgrad.native.system.workers import FUTEX
from staticgrad.native.table.control_code import at, run_row, store_word
from staticgrad.native.table.pool_policy import (
    MOST_BALANCE,
    least,
    most,
    outlined_policy,
)
from staticgrad.native.table.pool_words import PLACES, PoolWord

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        Pointer,
        address,
        call,
        called0,
        called1,
        called2,
        called3,
        called7,
        code_of_worker,
        fetch_add,
        load1,
        load_acquire,
        load_in_order,
        local_i64,
        pause,
        ptr_i64,
        ptr_u8,
        status0,
        status3,
        status4,
        store1,
        store_in_order,
        store_release,
        swap_if,
        u8x1,
    )

#: Bytes of a worker's entry behind ``threads``.
ENTRY: Final = 32
MOST_WORKERS: Final = 256
#: Bytes between words that different threads write: processors fetch lines of cache in pairs.
LINE: Final = 128
NBYTES: Final = PLACES["tickets"] + LINE * MOST_WORKERS
#: A row's flags: the section is worth waking workers that sleep; a worker that has finished its own
#: part waits before it takes of others.
WAKES: Final = 1
KEEPS: Final = 1 << 1
#: How often it looks whether they have begun: some microseconds.
KEPT_LOOKS: Final = 64
#: The generation of a section in its tickets.
GENERATION: Final = 1 << 32
#: How often the caller looks whether all groups are finished before it asks the clock.
LOOKS: Final = 1000

#: Where tests may call ``hook``: before a claim, behind it, and when the group has run.
POINTS: Final = ("before", "claimed", "ran")
BEFORE, CLAIMED, RAN = range(len(POINTS))

#: The target's number of Linux' system call ``futex`` takes the place of this one; so does the
#: next one.
FUTEX_CALL = GETTID = 0
#: The number of ``gettid`` by the first part of a target's triple.
_GETTID: Final = {"x86_64": 186, "aarch64": 178}
#: With a thread's number: the clock of the time that it has had a processor (posix-timers.h).
_CPU: Final = 4 | 2
_WAIT: Final = 128  # FUTEX_WAIT | FUTEX_PRIVATE_FLAG
_WAKE: Final = 129
#: Bytes of a set of processors (``cpu_set_t``).
_MASK: Final = 128


def place_of(pool: Pointer, number: int) -> int:
    """Return the address of a word that several threads write or read at once."""
    return address(pool) + 8 * number


def get(pool: Pointer, number: int) -> int:
    """Return a word that other threads write."""
    return load_acquire(place_of(pool, number))


def set_word(pool: Pointer, number: int, value: int) -> None:
    """Set a word that other threads read."""
    store_release(place_of(pool, number), value)


def now_by(pool: Pointer, clock: int) -> int:
    """Return the nanoseconds of a clock."""
    time = local_i64(2)
    store_word(time, 0, 0)
    store_word(time, 1, 0)
    called2(at(pool, PoolWord.CLOCK), clock, address(time))
    return at(time, 0) * 1000000000 + at(time, 1)


def now(pool: Pointer) -> int:
    """Return the nanoseconds of the monotonic clock."""
    return now_by(pool, 1)


def ticket_of(pool: Pointer, part: int) -> int:
    """Return the address of the ticket of a part."""
    return place_of(pool, PoolWord.TICKETS) + part * LINE


def first_of(groups: int, workers: int, part: int) -> int:
    """Return the number of the first group of a part."""
    return (groups * part + workers - 1) // workers


def hook(pool: Pointer, worker: int, point: int) -> None:
    """Call the pool's hook, in code with points."""
    call(at(pool, PoolWord.HOOK), worker, point)


def no_hook(pool: Pointer, worker: int, point: int) -> None:
    """Call nothing."""
    pass


def row_of(pool: Pointer, group: int, place: int) -> int:
    """Return the row that has a group, from a row on."""
    place = at(pool, PoolWord.ROW) if place == 0 else place
    last = at(pool, PoolWord.END) - SIZE_OF_ROW
    while place < last and group >= at(ptr_i64(place + SIZE_OF_ROW), Row.first):
        place = place + SIZE_OF_ROW
    return place


def run_group(pool: Pointer, worker: int, group: int, place: int) -> None:
    """Run one group of iterations of a table's row on a worker."""
    row = ptr_i64(place)
    total = at(row, Row.total)
    grain = at(row, Row.grain)
    step = total if grain == 0 else grain
    begin = (group - at(row, Row.first)) * step
    stop = begin + step
    stop = total if stop > total else stop
    scratch = at(pool, PoolWord.BLOCK) + worker * at(pool, PoolWord.STRIDE) + at(row, Row.scratch)
    call(at(row, Row.function), at(row, Row.record), scratch, begin, stop)


def outlined_work(pool: Pointer, worker: int) -> int:
    """Claim and run groups of the open parallel section until none is left; return how many.

    First those of its own part, then those of the others', where these are kept after some looks. A
    claim takes the first group of what is left of a part.
    """
    part = worker
    tried = 0
    looked = 0
    ran = 0
    place = 0
    while True:
        ticket = load_acquire(ticket_of(pool, part))
        left = ticket % GENERATION
        workers = get(pool, PoolWord.WORKERS)
        if left == 0:
            tried = tried + 1
            part = part + 1 if part + 1 < workers else 0
            place = 0
            if tried >= workers:
                break
            continue
        if part != worker and looked < get(pool, PoolWord.KEEPS):
            pause()
            looked = looked + 1
            continue
        if worker >= workers:
            break
        if worker != 0 and get(pool, PoolWord.CALLERS) + worker > get(pool, PoolWord.SEATS):
            break
        hook(pool, worker, BEFORE)
        # It acquires what the caller wrote before it released the ticket. The words below stay: the
        # section does not end before FINISHED counts this group. WORKERS was read before the claim,
        # but only with the number of this section does the claim succeed: a newer number was
        # released after all of this section's groups had been claimed.
        if swap_if(ticket_of(pool, part), ticket, ticket - 1):
            hook(pool, worker, CLAIMED)
            number = first_of(at(pool, PoolWord.GROUPS), workers, part + 1) - left
            group = at(pool, PoolWord.BASE) + number
            place = row_of(pool, group, place)
            run_group(pool, worker, group, place)
            hook(pool, worker, RAN)
            ran = ran + 1
    # It releases what the groups have written. Additions of other workers continue the same release
    # sequence, so the caller that reads the last sum has acquired the results of all.
    if ran != 0 and worker != 0:
        fetch_add(place_of(pool, PoolWord.FINISHED), ran)
    return ran


def move_from_caller(pool: Pointer) -> None:
    """Move a worker thread off the processor of the section's caller.

    Its processors without that one are asked for, and then all again, which moves nobody.
    """
    all_of_them = local_i64(16)
    others = local_i64(16)
    processor = status0(at(pool, PoolWord.GETCPU))
    if processor < 0 or processor >= 8 * _MASK or processor != get(pool, PoolWord.PROCESSOR):
        return
    mask = address(all_of_them)
    if status3(at(pool, PoolWord.GETAFFINITY), 0, _MASK, mask) != 0:
        return
    for number in range(16):
        store_word(others, number, at(all_of_them, number))
    byte = processor // 8
    bits = ptr_u8(address(others))
    store1(bits, byte, load1(bits, byte) & ~(u8x1(1) << u8x1(processor % 8)))
    if status3(at(pool, PoolWord.SETAFFINITY), 0, _MASK, address(bits)) == 0:
        called3(at(pool, PoolWord.SETAFFINITY), 0, _MASK, mask)


def run_worker(argument: int) -> int:
    """Run a worker thread of the pool: wait for sections, work, sleep.

    Its argument is the address of the pool, then its number, then its clock.
    """
    pool = ptr_i64(at(ptr_i64(argument), 0))
    number = at(ptr_i64(argument), 1)
    system = at(pool, PoolWord.SYSCALL)
    store_release(argument + 16, (-1 - called1(system, GETTID)) * 8 + _CPU)
    move_from_caller(pool)
    last_generation = -1
    tried = 0
    since = now(pool)
    while True:
        ticket = load_acquire(ticket_of(pool, number))
        generation = ticket // GENERATION
        if generation != last_generation or ticket % GENERATION != 0:
            last_generation = generation
            if outlined_work(pool, number) != 0:
                tried = 0
                since = now(pool)
                continue
        if get(pool, PoolWord.ENDED) != 0:
            break
        pause()
        tried = tried + 1
        if tried < 64:
            continue
        tried = 0
        if now(pool) - since < at(pool, PoolWord.SPIN):
            continue
        wake = place_of(pool, PoolWord.WAKE)
        # The count is read before ``ended``: whoever ends the pool writes them in the other order,
        # with a barrier between. A section that opens between the look at its ticket and the store
        # to ASLEEP wakes nobody: its caller runs all of it, and the next one wakes this worker.
        seen = load_in_order(wake)
        store_in_order(place_of(pool, PoolWord.ASLEEP), 1)
        if load_in_order(place_of(pool, PoolWord.ENDED)) != 0:
            break
        called7(system, FUTEX_CALL, wake, _WAIT, seen, 0, 0, 0)
        move_from_caller(pool)
        since = now(pool)
    return 0


def outlined_make_workers(pool: Pointer) -> None:
    """Create the pool's missing worker threads."""
    every = local_i64(16)
    old_mask = local_i64(16)
    for number in range(16):
        store_word(every, number, -1)
    called3(at(pool, PoolWord.MASK), 2, address(every), address(old_mask))
    alive = at(pool, PoolWord.ALIVE)
    while alive < get(pool, PoolWord.WANTED):
        entry = ptr_i64(place_of(pool, PoolWord.THREADS) + alive * ENTRY)
        store_word(entry, 1, address(pool))
        store_word(entry, 2, alive + 1)
        argument = address(entry) + 8
        # pthread_create orders these words before the thread's first read
        if status4(at(pool, PoolWord.CREATE), address(entry), 0, code_of_worker(), argument) != 0:
            set_word(pool, PoolWord.WANTED, alive)
            break
        alive = alive + 1
        store_word(pool, PoolWord.ALIVE, alive)
    called3(at(pool, PoolWord.MASK), 2, address(old_mask), 0)


def outlined_worked(pool: Pointer, workers: int) -> int:
    """Return the nanoseconds of processor time of the pool's workers."""
    total = 0
    for number in range(least(at(pool, PoolWord.ALIVE), workers - 1)):
        clock = load_acquire(place_of(pool, PoolWord.CLOCKS) + number * ENTRY)
        if clock != 0:
            total = total + now_by(pool, clock)
    return total


def open_section(pool: Pointer, block: Pointer, row: Pointer, end: int, groups: int) -> None:
    """Open a parallel section of a table: write what it is, then the tickets of its parts."""
    workers = at(block, Head.workers)
    store_word(pool, PoolWord.ROW, address(row))
    store_word(pool, PoolWord.END, end)
    store_word(pool, PoolWord.BLOCK, address(block))
    store_word(pool, PoolWord.STRIDE, at(block, Head.stride))
    set_word(pool, PoolWord.WORKERS, workers)
    store_word(pool, PoolWord.BASE, at(row, Row.first))
    set_word(pool, PoolWord.KEEPS, KEPT_LOOKS if at(row, Row.flags) // KEEPS % 2 != 0 else 0)
    store_word(pool, PoolWord.GROUPS, groups)
    # Every worker of the section before has added to it: its caller has waited for that.
    set_word(pool, PoolWord.FINISHED, 0)
    generation = at(pool, PoolWord.GENERATION) + 1
    store_word(pool, PoolWord.GENERATION, generation)
    for number in range(workers):
        part = workers - 1 - number
        length = first_of(groups, workers, part + 1) - first_of(groups, workers, part)
        store_release(ticket_of(pool, part), generation * GENERATION + length)


def outlined_rouse(pool: Pointer) -> None:
    """Wake all workers that sleep."""
    wake = place_of(pool, PoolWord.WAKE)
    fetch_add(wake, 1)
    called7(at(pool, PoolWord.SYSCALL), FUTEX_CALL, wake, _WAKE, 2147483647, 0, 0, 0)


def outlined_share(pool: Pointer, block: Pointer, row: Pointer, end: int, groups: int) -> int:
    """Run a parallel section with the workers; 0: the caller runs it alone.

    Threads are made that are wanted; where one cannot be made, no more are wanted.
    """
    if get(pool, PoolWord.CALLERS) >= get(pool, PoolWord.SEATS):
        return 0
    until = get(pool, PoolWord.ALONE_UNTIL)
    begun = now(pool)
    if until != 0 and begun < until:
        return 0
    # A lock: what follows, until TAKEN is released, is one caller's, and needs no other order.
    if not swap_if(place_of(pool, PoolWord.TAKEN), 0, 1):
        return 0
    set_word(pool, PoolWord.ALONE_UNTIL, 0)
    set_word(pool, PoolWord.PROCESSOR, status0(at(pool, PoolWord.GETCPU)))
    if get(pool, PoolWord.ENDED) != 0:
        set_word(pool, PoolWord.TAKEN, 0)
        return 0
    if at(pool, PoolWord.ALIVE) < get(pool, PoolWord.WANTED):
        outlined_make_workers(pool)
    open_section(pool, block, row, end, groups)
    is_again = begun - at(pool, PoolWord.BEGUN) < at(pool, PoolWord.SPIN)
    store_word(pool, PoolWord.BEGUN, begun)
    asleep = place_of(pool, PoolWord.ASLEEP)
    if load_in_order(asleep) != 0 and (is_again or at(row, Row.flags) % 2 == WAKES):
        store_in_order(asleep, 0)
        outlined_rouse(pool)
    store_word(pool, PoolWord.SECTIONS, at(pool, PoolWord.SECTIONS) + 1)
    workers = at(block, Head.workers)
    ran = outlined_work(pool, 0)
    theirs = groups - ran
    more_than_a_quarter = 4 * theirs * workers - groups * (workers - 1)
    store_word(block, Head.helped, at(block, Head.helped) + more_than_a_quarter)
    looked = 0
    while looked < LOOKS and get(pool, PoolWord.FINISHED) != theirs:
        pause()
        looked = looked + 1
    worked = 0
    if looked < LOOKS:
        if at(pool, PoolWord.BALANCE) >= MOST_BALANCE:
            set_word(pool, PoolWord.TAKEN, 0)
            return 1
        waiting = now(pool)
        over = waiting
    else:
        waiting = now(pool)
        worked_before = outlined_worked(pool, workers)
        called0(at(pool, PoolWord.YIELD))
        while get(pool, PoolWord.FINISHED) != theirs:
            called0(at(pool, PoolWord.YIELD))
        over = now(pool)
        worked = outlined_worked(pool, workers) - worked_before
    store_word(pool, PoolWord.WAITING, waiting)
    store_word(pool, PoolWord.OVER, over)
    store_word(pool, PoolWord.WORKED, worked)
    store_word(pool, PoolWord.CALLER_RAN, ran)
    store_word(pool, PoolWord.PUNISHED, 0)
    outlined_policy(pool, block, 0)
    set_word(pool, PoolWord.ALONE_UNTIL, at(pool, PoolWord.PUNISHED))
    set_word(pool, PoolWord.TAKEN, 0)
    return 1


def groups_of(row: Pointer, end: int) -> int:
    """Count the groups of iterations in the rows of a parallel section."""
    last = ptr_i64(end - SIZE_OF_ROW)
    grain = at(last, Row.grain)
    earlier_groups = at(last, Row.first) - at(row, Row.first)
    return earlier_groups + (
        1 if grain == 0 else (at(last, Row.total) + grain - 1) // most(grain, 1)
    )


def run_shared(pool_at: int, block_at: int, begin: int, end: int, control: int) -> None:
    """Run rows of a table: parallel sections with the pool's workers, others alone.

    What the driver itself asks where a row of function 0 leads is a function that it hands over.
    """
    pool = ptr_i64(pool_at)
    block = ptr_i64(block_at)
    fetch_add(place_of(pool, PoolWord.CALLERS), 1)
    measures = at(block, Head.measures)
    is_alone = 0
    since = 0
    if measures != 0:
        outlined_policy(pool, block, begin)
        is_alone = at(block, Head.mode)
        since = now(pool)
    place = begin
    while place < end and place != 0:
        row = ptr_i64(place)
        stop = 0
        section = at(row, Row.section)
        if section > 0 and is_alone == 0:
            stop = least(place + section * SIZE_OF_ROW, end)
            groups = groups_of(row, stop)
            if groups > 1 and outlined_share(pool, block, row, stop, groups) != 0:
                place = stop
                continue
        if at(row, Row.function) == 0:
            place = called2(control, block_at, place)
        else:
            place = run_row(block_at, place)
            while place < stop:
                place = run_row(block_at, place)
    fetch_add(place_of(pool, PoolWord.CALLERS), -1)
    if measures != 0:
        store_word(block, Head.spent, at(block, Head.spent) + now(pool) - since)


SYMBOL: Final = "sg_run_shared"


@functools.cache
def code(triple: str, points: bool = False, looks: int = KEPT_LOOKS) -> RuntimeCode:
    """Return the runtime code of the worker pool for a target; its address goes into word ``run``.

    With ``points`` it calls the pool's ``hook`` at each claim, for tests.
    """
    architecture = triple.split("-")[0]
    numbers = {"FUTEX_CALL": FUTEX[architecture], "GETTID": _GETTID[architecture]}
    numbers |= {"KEPT_LOOKS": looks} if looks != KEPT_LOOKS else {}
    called = hook if points else no_hook
    worker = RuntimeCode(
        f"{SYMBOL}_worker{'_with_points' * points}",
        PythonSource(run_worker, hook=called, **numbers),
    )
    source = PythonSource(run_shared, hook=called, **numbers)
    return RuntimeCode(SYMBOL + "_with_points" * points, source, {"worker": worker})
