"""Child process: threads fork while others run, plan, trace and compile; the grandchildren go on.

    python -m tests.safety.forks <number of forks> [what the threads do]

In every grandchild nothing that is registered for forks is busy, parameters are whole, and every
program runs. A grandchild that hangs is ended by its alarm.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
import warnings
from itertools import count

import numpy as np

import staticgrad as sg
from staticgrad.support import forks
from tests.safety.child import say

SIZE = 200_000


class Programs:
    """Three programs of the same two parameters, which are always equal."""

    def __init__(self):
        self.v, self.w = (sg.parameter(name, np.zeros(SIZE, np.float32)) for name in "vw")
        x = sg.input("x", ("n",), "float32")
        updates = {p: p + 1.0 for p in (self.v, self.w)}
        self.step = sg.compile(sg.Graph({"first": self.v[0]}, updates))
        self.reader = sg.compile({"apart": sg.max(sg.absolute(sg.tanh(self.v) - sg.tanh(self.w)))})
        a = sg.input("a", ("n", 30, 30), "float64")
        self.inverse = sg.compile({"inverse": sg.linalg.inv(a)}, threads=2)
        self.matrices = np.random.default_rng(0).normal(size=(200, 30, 30)) + 30 * np.eye(30)
        self.few = self.inverse.run({"a": self.matrices[:2]})["inverse"].tobytes()
        self.traced = sg.function(lambda x, k: sg.exp(x) * k)
        self.sized = sg.compile({"y": (sg.exp(x) * self.w[0]).sum(), "z": sg.cumsum(x, 0)})

    def check(self):
        """Run all of them."""
        first = self.step.run()["first"]
        if self.reader.run()["apart"] != 0:
            sys.exit("torn parameters")
        if (self.v.value != first + 1).any():
            sys.exit("a step was lost")
        x = np.ones(5, np.float32)
        if self.sized.run({"x": x})["z"].tolist() != [1, 2, 3, 4, 5]:
            sys.exit("other results")
        if self.inverse.run({"a": self.matrices[:2]})["inverse"].tobytes() != self.few:
            sys.exit("other inverses")
        if self.traced(np.zeros(3, np.float32), float(first)).tolist() != [first] * 3:
            sys.exit("other results of a function")
        y = sg.input("y", (3,), "float32")
        if sg.compile(y * float(first + 2)).run({"y": np.ones(3)}).tolist() != [first + 2] * 3:
            sys.exit("other results of a new program")


def grandchild(programs):
    faulthandler.dump_traceback_later(8)
    signal.alarm(20)
    busy = [type(member).__qualname__ for member in forks.members() if member.is_busy()]
    if busy:
        sys.exit(f"another thread left {busy} busy")
    programs.check()
    programs.check()
    os._exit(0)


#: What the threads do that run beside those that fork, by its number of times so far.
LOADS = {
    "step": lambda programs, n: programs.step.run(),
    "read": lambda programs, n: programs.reader.run(),
    "plan": lambda programs, n: programs.sized.run({"x": np.zeros(n, np.float32)}),
    "compile": lambda programs, n: sg.compile(sg.input("x", (n % 7 + 1,), "float32") + float(n)),
    "invert": lambda programs, n: programs.inverse.run({"a": programs.matrices}),
    "trace": lambda programs, n: programs.traced(np.zeros(3, np.float32), float(n)),
}


def fork(programs, times, failed):
    """Fork so often, and note the grandchildren that failed."""
    for _ in range(times):
        time.sleep(0.003)
        child = os.fork()
        if not child:
            try:
                grandchild(programs)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1]:
            failed.append(child)


def main():
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about forks with threads
    warnings.simplefilter("ignore", sg.errors.StaticgradWarning)  # about the many traces
    programs, stop, failed = Programs(), threading.Event(), list[int]()
    times, loads = int(sys.argv[1]), [LOADS[name] for name in sys.argv[2:] or LOADS]

    def until_stopped(work):
        for n in count(1):
            if stop.is_set():
                return
            work(programs, n)

    busy = [threading.Thread(target=until_stopped, args=(load,)) for load in loads]
    halves = (times // 2, times - times // 2)
    forking = [threading.Thread(target=fork, args=(programs, half, failed)) for half in halves]
    for thread in (*busy, *forking):
        thread.start()
    for thread in forking:
        thread.join()
    stop.set()
    for thread in busy:
        thread.join(20)
    programs.check()
    if failed:
        sys.exit(f"{len(failed)} grandchildren failed")
    say("done")


if __name__ == "__main__":
    main()
