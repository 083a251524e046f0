"""The code of the pool: how a section is claimed, run and waited for, and how workers sleep.

``pool.ll`` beside this file has its functions as LLVM IR, ``pool_policy`` their decisions.

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

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

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
_HOLE: Final = re.compile(r"<([a-zA-Z_ ]+)>")

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
_POINT: Final = """
  %hook.at.<point> = getelementptr i8, ptr %pool, i64 <hook>
  %hook.<point> = load ptr, ptr %hook.at.<point>, align 8
  call void %hook.<point>(i64 %worker, i64 <point>)"""


def is_possible(triple: str) -> bool:
    """Return whether a target supports workers: threads that sleep by ``futex``."""
    return "linux" in triple and triple.split("-")[0] in FUTEX


def numbers(words: Mapping[str, int]) -> dict[str, int]:
    """Return the values of names in the source of the policy; ``words`` as in ``text``."""
    heads = {name: at for name, at in words.items() if name.startswith("head ")}
    return {
        **{name: value for name, value in globals().items() if isinstance(value, int)},
        **{f"POOL_{name.upper()}": place // 8 for name, place in PLACES.items()},
        **{name.replace(" ", "_").upper(): at for name, at in heads.items()},
    }


def text(triple: str, words: Mapping[str, int], symbol: str, points: bool = False) -> str:
    """The pool's functions for a target where there are workers, as a module with one entry.

    It lacks the policy's function.

    Args:
        triple: the target's.
        words: the numbers of a row's words by name, ``words`` how many they are, and ``head
            stride`` and others of the words at the head of a block.
        symbol: the entry's.
        points: call the pool's ``hook`` at each claim, for tests.
    """
    architecture = triple.split("-")[0]
    arm = architecture == "aarch64"
    values = {
        **{name: str(place) for name, place in PLACES.items()},
        **{f"word {name}": str(number) for name, number in words.items()},
        **{name: str(number) for name, number in words.items() if name.startswith("head ")},
        "words": str(words["words"]),
        "symbol": symbol,
        "pause": f"  call void @llvm.{'aarch64.hint(i32 1)' if arm else 'x86.sse2.pause()'}",
        "futex": str(FUTEX[architecture]),
        "gettid": str(_GETTID[architecture]),
        "CPU": str(_CPU),
        "WAIT": str(_WAIT),
        "WAKE": str(_WAKE),
        "MASK": str(_MASK),
        "PROCESSORS": str(8 * _MASK),
        "ENTRY": str(ENTRY),
        "LINE": str(LINE),
        "LOOKS": str(LOOKS),
        "WAKES": str(WAKES),
        "KEEPS": str(KEEPS),
        "KEPT_LOOKS": str(KEPT_LOOKS),
        "MOST_BALANCE": str(MOST_BALANCE),
    }
    for name in ("before", "claimed", "ran"):
        values[name] = _POINT.replace("<point>", str(POINTS.index(name))) if points else ""
    pause = "void @llvm.aarch64.hint(i32)" if arm else "void @llvm.x86.sse2.pause()"
    used = (
        "void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
        "void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
        pause,
    )
    declared = "".join(f"declare {each}\n" for each in used)
    text = Path(__file__).with_name("pool.ll").read_text(encoding="utf-8")
    code = "".join(line for line in text.splitlines(True) if not line.startswith(";"))
    filled = _HOLE.sub(lambda found: values[found[1]], code)  # points have holes of their own
    return declared + _HOLE.sub(lambda found: values[found[1]], filled)
