"""Child process: interrupts at any moment of reading, setting, running, planning and compiling.

    python -m tests.safety.storm <signals|threads> <interrupts> [seed [operation ...]]

``signals``: a timer's signal, as Ctrl-C is one; ``threads``: an exception that another thread sends
by ``PyThreadState_SetAsyncExc``. After each interrupt no lock is held, every parameter is wholly
old or wholly new, a step's parameters have been updated together, and nothing else of the process
has changed; now and then another thread runs everything. 100,000 of each are the whole test:

    python -m tests.safety.storm signals 100000 && python -m tests.safety.storm threads 100000
"""

import ctypes
import faulthandler
import gc
import queue
import random
import signal
import sys
import threading
import time
from collections import Counter
from itertools import count
from typing import Protocol

import numpy as np

import staticgrad as sg
from staticgrad.language.storage import locks
from staticgrad.native import lock as native_lock
from staticgrad.support import forks
from tests.safety.child import say
from tests.safety.failing_steps import in_another_thread

SIZES = count(10)
ENOUGH = 3e-4  # seconds that an operation is repeated for: timers are coarser than some of them
PATIENCE = 60  # seconds for some hundred interrupts, until a hang prints where every thread is


class Work:
    """The programs that are interrupted: a step updates two parameters, another is set."""

    def __init__(self):
        self.v, self.w, self.u = (sg.parameter(n, np.zeros(3000, "f4")) for n in ("v", "w", "u"))
        self.large = sg.parameter("large", np.zeros(400_000, "f4"))
        x = sg.input("x", ("n",), "float32")
        total = sg.tanh(sg.take(x, np.array([0, 1]), 0)).sum() + self.v[0]
        self.step = sg.compile(sg.Graph({"total": total}, {p: p + 1.0 for p in (self.v, self.w)}))
        self.updating_u = sg.compile(
            sg.Graph({"sum": (self.w * self.v).sum()}, {self.u: self.u + 1})
        )
        self.x = x
        self.levels = count(1)
        # No kernel cache holds this: all that a compilation imports is there before the storm. An
        # interrupt amid ``exec`` of a string, with which ``dataclasses`` make methods, is noted by
        # CPython as not handled even if it is, and ends the process by SIGINT after its last line.
        sg.compile(x * random.SystemRandom().random())

    def run(self):
        self.step.run({"x": np.ones(5, "f4")})

    def run_sharing(self):
        self.updating_u.run()

    def run_staged(self):
        self.step.run({"x": np.ones(10, "f8")[::2]})

    def read(self):
        self.check_even(self.u.value)

    def read_large(self):
        self.check_even(self.large.value)

    def set(self):
        self.u.value = np.full(3000, next(self.levels), "f4")

    def set_converted(self):
        self.u.value = np.full(3000, next(self.levels), "f8")

    def set_large(self):
        self.large.value = np.full(400_000, next(self.levels), "f4")

    def plan(self):
        self.step.plan(n=next(SIZES))

    def run_planned(self):
        self.step.run({"x": np.ones(next(SIZES) % 3000 + 2, "f4")})

    def compile(self):
        sg.compile(sg.Graph({"y": sg.exp(self.x) + self.w[0]}, {self.u: self.u * 2.0}))

    def compile_anew(self):
        sg.compile(self.x * float(next(self.levels)))

    # -- what holds after each --------------------------------------------------------------------

    def check_even(self, value):
        if (value != value[0]).any():
            sys.exit(f"half written: {value}")

    def check(self):
        """Nothing is held, and nothing half done."""
        everyone = list(locks._locks)
        holders = [h for lock in everyone for h in lock._holders]
        holders += [lock._reserved[0] for lock in everyone if lock._reserved]
        held_locks = [h for h in holders if h.token.locked()]
        with native_lock.LIBRARY:  # what an interrupt left to end by itself has ended
            pass
        busy = [member for member in forks.members() if member.is_busy()]
        if held_locks or busy or locks.is_inside_another():
            sys.exit(f"held: {held_locks} {busy}")
        values = [p.value for p in (self.v, self.w, self.u)]
        for value in (*values, self.large.value):
            self.check_even(value)
        if values[0][0] != values[1][0]:
            sys.exit(f"half a step: {values[0][0]} and {values[1][0]}")
        collector = gc.isenabled(), gc.get_freeze_count()
        if collector != (True, 0) or np.geterr() != GETERR:
            sys.exit(f"the process is not as it was: {collector}, {np.geterr()}")

    def check_elsewhere(self):
        """Another thread finds everything free, and gets right results."""

        def everything():
            value = self.v.value[0]
            self.set()
            self.run_planned()
            self.compile()
            self.run_sharing()
            return self.step.run({"x": np.zeros(5, "f4")})["total"] - value

        if in_another_thread(everything) != 1:
            sys.exit("other results")


GETERR = np.geterr()
#: What is interrupted, and how often it takes its turn.
OPERATIONS = {
    "run": 6, "run_sharing": 3, "run_staged": 3, "read": 4, "read_large": 1, "set": 4,
    "set_converted": 2, "set_large": 1, "plan": 2, "run_planned": 2, "compile": 1,
}  # fmt: skip


class Source(Protocol):
    """The source of interrupts."""

    ordered: int
    sent: int

    def send(self, seconds):
        """Interrupt this thread once, after so many seconds; then ``sent`` is ``ordered``."""


class Timer:
    """A signal, whose handler raises KeyboardInterrupt."""

    def __init__(self):
        self.ordered = self.sent = 0
        signal.signal(signal.SIGALRM, self._interrupt)

    def send(self, seconds):
        self.ordered += 1
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _interrupt(self, *_):
        self.sent = self.ordered
        raise KeyboardInterrupt


class Thread:
    """Another thread, which raises KeyboardInterrupt in this one."""

    def __init__(self):
        self.ordered = self.sent = 0
        self._orders = queue.SimpleQueue()
        self._target = ctypes.c_ulong(threading.get_ident())
        threading.Thread(target=self._work, daemon=True).start()

    def send(self, seconds):
        self.ordered += 1
        self._orders.put((self.ordered, seconds))

    def _work(self):
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        interrupt = ctypes.py_object(KeyboardInterrupt)
        while True:
            order, seconds = self._orders.get()
            end = time.perf_counter() + seconds
            while (left := end - time.perf_counter()) > 0:
                time.sleep(left if left > 1e-4 else 0)
            throw(self._target, interrupt)
            self.sent = order


def run_interrupted(source, operation, times, seconds):
    """Return whether one interrupt came "inside" so many operations, or "later"."""
    moment = "before"
    try:
        source.send(seconds)
        moment = "inside"
        for _ in range(times):
            operation()
        moment = "later"
        while source.sent < source.ordered:
            time.sleep(0.001)
        time.sleep(0.001)
        return "swallowed"  # by a finalizer, whose exceptions Python only reports
    except KeyboardInterrupt:
        return moment


def durations(work):
    """Return the seconds that each operation takes without an interrupt: the median of some."""
    medians = {}
    for name in (*OPERATIONS, "compile_anew"):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            getattr(work, name)()
            times.append(time.perf_counter() - start)
        medians[name] = sorted(times)[3]
    return medians


def main():
    kind, expected = sys.argv[1], int(sys.argv[2])
    chance = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    sys.setswitchinterval(1e-5)
    work = Work()
    source = Timer() if kind == "signals" else Thread()
    seconds = durations(work)
    names = sys.argv[4:] or list(OPERATIONS)
    weights = [OPERATIONS.get(name, 1) for name in names]
    inside = Counter()
    for n in count():
        if n % 500 == 0:
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            work.check_elsewhere()
        if inside.total() >= expected:
            break
        name = chance.choices(names, weights)[0] if n % 100 else "compile_anew"
        times = max(1, round(ENOUGH / seconds[name]))
        delay = max(1e-6, chance.uniform(0, times * seconds[name]))
        if run_interrupted(source, getattr(work, name), times, delay) == "inside":
            inside[name] += 1
        work.check()
    signal.setitimer(signal.ITIMER_REAL, 0)  # the end of the process is not part of the test
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    say(dict(inside))
    say("done", inside.total(), "interrupts, 0 held, 0 half written")


if __name__ == "__main__":
    main()
