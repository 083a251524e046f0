"""The words of the pool's memory, by number: what its code, its decisions and Python read."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class PoolWord(IntEnum):
    """Words of the pool's memory.

    What different threads write lies two cache lines apart, since processors fetch them in pairs.
    """

    # what a section is: written by its caller, read together
    GENERATION = 0
    ROW = 1  # address of its first row
    END = 2  # address behind its last row
    BLOCK = 3  # the caller's block
    STRIDE = 4  # bytes from one worker's block to the next
    WORKERS = 5
    BASE = 6  # groups that stand before its first row
    GROUPS = 7
    PROCESSOR = 8  # the number of the caller's
    # the latest section in nanoseconds: when it began, the caller's wait, its end, and how long
    # workers had a processor in between; what the caller ran, and until when it shall run alone
    BEGUN = 10
    WAITING = 11
    OVER = 12
    WORKED = 13
    CALLER_RAN = 14
    PUNISHED = 15
    # what is counted
    FINISHED = 16
    TAKEN = 32  # 1 while a caller has the pool
    CALLERS = 48  # threads that run tables now
    WAKE = 64  # counts up when sleepers shall wake
    ASLEEP = 80  # 1 where somebody may sleep
    # what seldom changes
    SEATS = 96  # threads that may run at the same time, callers included
    WANTED = 97  # workers besides the caller
    ALIVE = 98  # those that have been made
    ENDED = 99  # 1: no worker shall work any more
    ALONE_UNTIL = 100  # nanoseconds of the clock; 0: no penalty
    SPIN = 101
    CREATE = 102
    MASK = 103
    SYSCALL = 104
    YIELD = 105
    CLOCK = 106
    HOOK = 107  # for tests: called at every claim, where the code has points
    SECTIONS = 108  # counts sections that were shared
    STALLS = 109  # and those that ended in a penalty
    BALANCE = 110  # nanoseconds that pay for stalls to come
    PENALTY = 111  # nanoseconds that the next one lasts
    PATIENCE = 112
    RUN = 113  # the code that runs rows together with the workers; 0: until there is, callers alone
    GETCPU = 114
    GETAFFINITY = 115
    SETAFFINITY = 116
    KEEPS = 117  # looks of who has finished its own part of the section, before it takes others'
    # for each worker its thread, the thread's arguments (the pool, the number), and its clock
    THREADS = 128
    CLOCKS = 131
    # the ticket of each worker
    TICKETS = 1152


#: Bytes from the start of the pool's memory, by name.
PLACES: Final = {word.name.lower(): 8 * word for word in PoolWord}
