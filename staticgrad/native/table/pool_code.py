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
lasts: so those that do are repeated after ``LEAST_REST`` runs, and where they say so again, after
twice as many, up to ``MOST_REST``, or what takes ``LONGEST_REST`` nanoseconds. After the others,
``SHARED_REST`` runs are shared. Runs of more than ``SHORT`` nanoseconds are shared always.

A system may wake a worker on its caller's processor, where both then take turns, and again each
time, since that is where it slept. So a worker that wakes there moves to another one, once: where
the system brings it back while it works, another program has the other processor.

Workers are threads of the C library, made by the first section that wants them: with all signals
blocked, and inside the driver, whose floating-point environment they inherit. They never call into
Python. C functions are called by addresses in the pool's memory. So is this code, by the driver: it
is compiled when a process makes its pool, and asks the driver's own function where rows without
code lead.
"""

from __future__ import annotations

import functools
from typing import Final

from staticgrad.native.constants import RuntimeCode, numbered, table_numbers
from staticgrad.native.table.control_code import RUN_ROW
from staticgrad.native.table.pool_policy import POLICY

#: Bytes from the start of the pool's memory, by name. What different threads write lies two cache
#: lines apart, since processors fetch them in pairs.
PLACES: Final = {
    # what a section is: written by its caller, read together
    "generation": 0,
    "row": 8,  # address of its first row
    "end": 16,  # address behind its last row
    "block": 24,  # the caller's block
    "stride": 32,  # bytes from one worker's block to the next
    "workers": 40,
    "base": 48,  # groups that stand before its first row
    "groups": 56,
    "processor": 64,  # the number of the caller's
    # the latest section in nanoseconds: when it began, the caller's wait, its end, and how long
    # workers had a processor in between; what the caller ran, and until when it shall run alone
    "begun": 80,
    "waiting": 88,
    "over": 96,
    "worked": 104,
    "caller_ran": 112,
    "punished": 120,
    # what is counted
    "finished": 128,
    "taken": 256,  # 1 while a caller has the pool
    "callers": 384,  # threads that run tables now
    "wake": 512,  # counts up when sleepers shall wake
    "asleep": 640,  # 1 where somebody may sleep
    # what seldom changes
    "seats": 768,  # threads that may run at the same time, callers included
    "wanted": 776,  # workers besides the caller
    "alive": 784,  # those that have been made
    "ended": 792,  # 1: no worker shall work any more
    "alone_until": 800,  # nanoseconds of the clock; 0: no penalty
    "spin": 808,
    "create": 816,
    "mask": 824,
    "syscall": 832,
    "yield": 840,
    "clock": 848,
    "hook": 856,  # for tests: called at every claim, where the code has points
    "sections": 864,  # counts sections that were shared
    "stalls": 872,  # and those that ended in a penalty
    "balance": 880,  # nanoseconds that pay for stalls to come
    "penalty": 888,  # nanoseconds that the next one lasts
    "patience": 896,
    "run": 904,  # the code that runs rows together with the workers
    "getcpu": 912,
    "getaffinity": 920,
    "setaffinity": 928,
    "keeps": 936,  # looks of who has finished its own part of the section, before it takes others'
    # for each worker its thread, the thread's arguments (the pool, the number), and its clock
    "threads": 1024,
    "clocks": 1024 + 24,
    # the ticket of each worker
    "tickets": 1024 + 32 * 256,
}
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
#: Nanoseconds that a worker looks for work before it sleeps.
SPIN: Final = 200_000
#: Sharing pays for a stall where it has gained so many times as much.
TOLERANCE: Final = 2
#: Nanoseconds that are kept for stalls to come: at first, and at most, which is more than the 50 ms
#: of a second that Linux gives to other threads where those of real-time priority want all of it.
FIRST_BALANCE: Final = 20_000_000
MOST_BALANCE: Final = 64_000_000
#: Nanoseconds that the caller works alone where more is lost: for the first time, and at most.
LEAST_PENALTY: Final = 16_000_000
MOST_PENALTY: Final = 256_000_000
#: One part of so many of this time may be lost when workers are tried again.
CREDIT: Final = 32
#: Nanoseconds of waiting that are no reason for it.
PATIENCE: Final = 100_000
#: Runs that take longer are not tried alone: four of them would be felt.
SHORT: Final = 20_000_000
#: Runs between two trials: where the last one said alone, for the first time; at most; and shared.
LEAST_REST: Final = 8
MOST_REST: Final = 256
#: Nanoseconds of runs alone after which the other way is tried again, from ``LEAST_REST`` runs on.
LONGEST_REST: Final = 300_000_000
SHARED_REST: Final = 500
#: How often the caller looks whether all groups are finished before it asks the clock.
LOOKS: Final = 1000

#: Where tests may call ``hook``: before a claim, behind it, and when the group has run.
POINTS: Final = ("before", "claimed", "ran")

#: Linux' number of the system call ``futex``, by the first part of a target's triple.
FUTEX: Final = {"x86_64": 202, "aarch64": 98}
#: And of ``gettid``.
_GETTID: Final = {"x86_64": 186, "aarch64": 178}
#: With a thread's number: the clock of the time that it has had a processor (posix-timers.h).
_CPU: Final = 4 | 2
_WAIT: Final = 128  # FUTEX_WAIT | FUTEX_PRIVATE_FLAG
_WAKE: Final = 129
#: Bytes of a set of processors (``cpu_set_t``).
_MASK: Final = 128

#: What tests add at each claim: a call of ``hook(worker, point)``.
_HOOKS: Final = {
    True: """
def hook(pool, worker, point):
    call(at(pool, POOL_HOOK), worker, point)


""",
    False: """
def hook(pool, worker, point):
    pass


""",
}

#: ``place_of(pool, NAME)`` is the address of a word that several threads write or read at once.
_SHARED: Final = """
def place_of(pool, number):
    return address(pool) + 8 * number


def get(pool, number):
    return load_acquire(place_of(pool, number))


def set(pool, number, value):
    store_release(place_of(pool, number), value)


def now_by(pool, clock):
    time = local_i64(2)
    put(time, 0, 0)
    put(time, 1, 0)
    called2(at(pool, POOL_CLOCK), clock, address(time))
    return at(time, 0) * 1000000000 + at(time, 1)


def now(pool):
    return now_by(pool, 1)


def ticket_of(pool, part):
    return place_of(pool, POOL_TICKETS) + part * LINE


def first_of(groups, workers, part):
    return (groups * part + workers - 1) // workers


"""
#: Claims groups of the section that is open and runs them, until none is left: how many it ran.
#: First those of its own part, then those of the others', where these are kept after some looks. A
#: claim takes the first group of what is left of a part.
_WORK: Final = """
def row_of(pool, group, place):
    place = at(pool, POOL_ROW) if place == 0 else place
    last = at(pool, POOL_END) - SIZE_OF_ROW
    while place < last and group >= at(ptr_i64(place + SIZE_OF_ROW), ROW_FIRST):
        place = place + SIZE_OF_ROW
    return place


def run_group(pool, worker, group, place):
    row = ptr_i64(place)
    total = at(row, ROW_TOTAL)
    grain = at(row, ROW_GRAIN)
    step = total if grain == 0 else grain
    begin = (group - at(row, ROW_FIRST)) * step
    stop = begin + step
    stop = total if stop > total else stop
    own = at(pool, POOL_BLOCK) + worker * at(pool, POOL_STRIDE) + at(row, ROW_OWN)
    call(at(row, ROW_FUNCTION), at(row, ROW_RECORD), own, begin, stop)


def outlined_work(pool, worker):
    part = worker
    tried = 0
    looked = 0
    ran = 0
    place = 0
    while True:
        ticket = load_acquire(ticket_of(pool, part))
        left = ticket % GENERATION
        workers = get(pool, POOL_WORKERS)
        if left == 0:
            tried = tried + 1
            part = part + 1 if part + 1 < workers else 0
            place = 0
            if tried >= workers:
                break
            continue
        if part != worker and looked < get(pool, POOL_KEEPS):
            pause()
            looked = looked + 1
            continue
        if worker >= workers:
            break
        if worker != 0 and get(pool, POOL_CALLERS) + worker > get(pool, POOL_SEATS):
            break
        hook(pool, worker, BEFORE)
        if swap_if(ticket_of(pool, part), ticket, ticket - 1):
            hook(pool, worker, CLAIMED)
            number = first_of(at(pool, POOL_GROUPS), workers, part + 1) - left
            group = at(pool, POOL_BASE) + number
            place = row_of(pool, group, place)
            run_group(pool, worker, group, place)
            hook(pool, worker, RAN)
            ran = ran + 1
    if ran != 0 and worker != 0:
        fetch_add(place_of(pool, POOL_FINISHED), ran)
    return ran


"""
#: A thread of the pool. Its argument is the address of the pool, then its number, then its clock.
#: Where it wakes on the processor of the section's caller, it moves to another one: its processors
#: without that one are asked for, and then all again, which moves nobody.
_WORKER: Final = """
def move_from_caller(pool):
    all_of_them = local_i64(16)
    others = local_i64(16)
    processor = status0(at(pool, POOL_GETCPU))
    if processor < 0 or processor >= 8 * MASK or processor != get(pool, POOL_PROCESSOR):
        return
    mask = address(all_of_them)
    if status3(at(pool, POOL_GETAFFINITY), 0, MASK, mask) != 0:
        return
    for number in range(16):
        put(others, number, at(all_of_them, number))
    byte = processor // 8
    bits = ptr_u8(address(others))
    store1(bits, byte, load1(bits, byte) & ~(u8x1(1) << u8x1(processor % 8)))
    if status3(at(pool, POOL_SETAFFINITY), 0, MASK, address(bits)) == 0:
        called3(at(pool, POOL_SETAFFINITY), 0, MASK, mask)


def kernel(argument):
    pool = ptr_i64(at(ptr_i64(argument), 0))
    number = at(ptr_i64(argument), 1)
    system = at(pool, POOL_SYSCALL)
    store_release(argument + 16, (-1 - called1(system, GETTID)) * 8 + CPU)
    move_from_caller(pool)
    known = -1
    tried = 0
    since = now(pool)
    while True:
        ticket = load_acquire(ticket_of(pool, number))
        generation = ticket // GENERATION
        if generation != known or ticket % GENERATION != 0:
            known = generation
            if outlined_work(pool, number) != 0:
                tried = 0
                since = now(pool)
                continue
        if get(pool, POOL_ENDED) != 0:
            break
        pause()
        tried = tried + 1
        if tried < 64:
            continue
        tried = 0
        if now(pool) - since < at(pool, POOL_SPIN):
            continue
        wake = place_of(pool, POOL_WAKE)
        seen = load_in_order(wake)
        store_in_order(place_of(pool, POOL_ASLEEP), 1)
        if load_in_order(place_of(pool, POOL_ENDED)) != 0:
            break
        called7(system, FUTEX_CALL, wake, WAIT, seen, 0, 0, 0)
        move_from_caller(pool)
        since = now(pool)
    return 0
"""
#: Shares a section with the workers, or returns 0: then the caller shall run it alone. Threads are
#: made that are wanted; where one cannot be made, no more are wanted.
_SHARE: Final = """
def outlined_make_workers(pool):
    every = local_i64(16)
    before = local_i64(16)
    for number in range(16):
        put(every, number, -1)
    called3(at(pool, POOL_MASK), 2, address(every), address(before))
    alive = at(pool, POOL_ALIVE)
    while alive < get(pool, POOL_WANTED):
        entry = ptr_i64(place_of(pool, POOL_THREADS) + alive * ENTRY)
        put(entry, 1, address(pool))
        put(entry, 2, alive + 1)
        argument = address(entry) + 8
        if status4(at(pool, POOL_CREATE), address(entry), 0, code_of_WORKER(), argument) != 0:
            set(pool, POOL_WANTED, alive)
            break
        alive = alive + 1
        put(pool, POOL_ALIVE, alive)
    called3(at(pool, POOL_MASK), 2, address(before), 0)


def outlined_worked(pool, workers):
    sum = 0
    for number in range(least(at(pool, POOL_ALIVE), workers - 1)):
        clock = load_acquire(place_of(pool, POOL_CLOCKS) + number * ENTRY)
        if clock != 0:
            sum = sum + now_by(pool, clock)
    return sum


def open(pool, block, row, end, groups):
    workers = at(block, HEAD_WORKERS)
    put(pool, POOL_ROW, address(row))
    put(pool, POOL_END, end)
    put(pool, POOL_BLOCK, address(block))
    put(pool, POOL_STRIDE, at(block, HEAD_STRIDE))
    set(pool, POOL_WORKERS, workers)
    put(pool, POOL_BASE, at(row, ROW_FIRST))
    set(pool, POOL_KEEPS, KEPT_LOOKS if at(row, ROW_FLAGS) // KEEPS % 2 != 0 else 0)
    put(pool, POOL_GROUPS, groups)
    set(pool, POOL_FINISHED, 0)
    generation = at(pool, POOL_GENERATION) + 1
    put(pool, POOL_GENERATION, generation)
    for number in range(workers):
        part = workers - 1 - number
        length = first_of(groups, workers, part + 1) - first_of(groups, workers, part)
        store_release(ticket_of(pool, part), generation * GENERATION + length)


def outlined_rouse(pool):
    wake = place_of(pool, POOL_WAKE)
    fetch_add(wake, 1)
    called7(at(pool, POOL_SYSCALL), FUTEX_CALL, wake, WAKE, 2147483647, 0, 0, 0)


def outlined_share(pool, block, row, end, groups):
    if get(pool, POOL_CALLERS) >= get(pool, POOL_SEATS):
        return 0
    until = get(pool, POOL_ALONE_UNTIL)
    begun = now(pool)
    if until != 0 and begun < until:
        return 0
    if not swap_if(place_of(pool, POOL_TAKEN), 0, 1):
        return 0
    set(pool, POOL_ALONE_UNTIL, 0)
    set(pool, POOL_PROCESSOR, status0(at(pool, POOL_GETCPU)))
    if get(pool, POOL_ENDED) != 0:
        set(pool, POOL_TAKEN, 0)
        return 0
    if at(pool, POOL_ALIVE) < get(pool, POOL_WANTED):
        outlined_make_workers(pool)
    open(pool, block, row, end, groups)
    is_again = begun - at(pool, POOL_BEGUN) < at(pool, POOL_SPIN)
    put(pool, POOL_BEGUN, begun)
    asleep = place_of(pool, POOL_ASLEEP)
    if load_in_order(asleep) != 0 and (is_again or at(row, ROW_FLAGS) % 2 == WAKES):
        store_in_order(asleep, 0)
        outlined_rouse(pool)
    put(pool, POOL_SECTIONS, at(pool, POOL_SECTIONS) + 1)
    workers = at(block, HEAD_WORKERS)
    ran = outlined_work(pool, 0)
    theirs = groups - ran
    more_than_a_quarter = 4 * theirs * workers - groups * (workers - 1)
    put(block, HEAD_HELPED, at(block, HEAD_HELPED) + more_than_a_quarter)
    looked = 0
    while looked < LOOKS and get(pool, POOL_FINISHED) != theirs:
        pause()
        looked = looked + 1
    worked = 0
    if looked < LOOKS:
        if at(pool, POOL_BALANCE) >= MOST_BALANCE:
            set(pool, POOL_TAKEN, 0)
            return 1
        waiting = now(pool)
        over = waiting
    else:
        waiting = now(pool)
        before = outlined_worked(pool, workers)
        called0(at(pool, POOL_YIELD))
        while get(pool, POOL_FINISHED) != theirs:
            called0(at(pool, POOL_YIELD))
        over = now(pool)
        worked = outlined_worked(pool, workers) - before
    put(pool, POOL_WAITING, waiting)
    put(pool, POOL_OVER, over)
    put(pool, POOL_WORKED, worked)
    put(pool, POOL_CALLER_RAN, ran)
    put(pool, POOL_PUNISHED, 0)
    outlined_policy(pool, block, 0)
    set(pool, POOL_ALONE_UNTIL, at(pool, POOL_PUNISHED))
    set(pool, POOL_TAKEN, 0)
    return 1


"""
#: Runs the rows from a place to an end: sections together with the workers, all others alone. What
#: the driver itself asks where a row of function 0 leads is a function that it hands over.
_RUN: Final = """
def groups_of(row, end):
    last = ptr_i64(end - SIZE_OF_ROW)
    grain = at(last, ROW_GRAIN)
    before = at(last, ROW_FIRST) - at(row, ROW_FIRST)
    return before + (1 if grain == 0 else (at(last, ROW_TOTAL) + grain - 1) // most(grain, 1))


def kernel(pool_at, block_at, begin, end, control):
    pool = ptr_i64(pool_at)
    block = ptr_i64(block_at)
    fetch_add(place_of(pool, POOL_CALLERS), 1)
    measures = at(block, HEAD_MEASURES)
    is_alone = 0
    since = 0
    if measures != 0:
        outlined_policy(pool, block, begin)
        is_alone = at(block, HEAD_MODE)
        since = now(pool)
    place = begin
    while place < end and place != 0:
        row = ptr_i64(place)
        stop = 0
        section = at(row, ROW_SECTION)
        if section > 0 and is_alone == 0:
            stop = least(place + section * SIZE_OF_ROW, end)
            groups = groups_of(row, stop)
            if groups > 1 and outlined_share(pool, block, row, stop, groups) != 0:
                place = stop
                continue
        if at(row, ROW_FUNCTION) == 0:
            place = called2(control, block_at, place)
        else:
            place = run_row(block_at, place)
            while place < stop:
                place = run_row(block_at, place)
    fetch_add(place_of(pool, POOL_CALLERS), -1)
    if measures != 0:
        put(block, HEAD_SPENT, at(block, HEAD_SPENT) + now(pool) - since)
"""
SYMBOL: Final = "sg_run_shared"


@functools.cache
def code(triple: str, points: bool = False) -> RuntimeCode:
    """The pool's code for a target, to whose address the word ``run`` in its memory is set.

    With ``points`` it calls the pool's ``hook`` at each claim, for tests.
    """
    architecture = triple.split("-")[0]
    numbers = {
        **table_numbers(),
        **{name: value for name, value in globals().items() if isinstance(value, int)},
        **{f"POOL_{name.upper()}": place // 8 for name, place in PLACES.items()},
        **{name.upper(): number for number, name in enumerate(POINTS)},
        "CPU": _CPU, "WAIT": _WAIT, "MASK": _MASK, "WAKE": _WAKE,
        "FUTEX_CALL": FUTEX[architecture], "GETTID": _GETTID[architecture],
    }  # fmt: skip
    both = RUN_ROW + _SHARED + _HOOKS[points] + _WORK
    worker = f"{SYMBOL}_worker{'_with_points' * points}"
    run = both + POLICY + _SHARE.replace("code_of_WORKER", f"code_of_{worker}") + _RUN
    return RuntimeCode(
        SYMBOL + "_with_points" * points, 5, numbered(run, numbers),
        (RuntimeCode(worker, 1, numbered(both + _WORKER, numbers)),),
    )  # fmt: skip
