"""Child process: forks while other threads run, plan and compile; the grandchildren go on.

    python -m tests.safety.forks <number of forks>

In every grandchild no lock is held by a thread that is not there, parameters are whole, and every
program runs. A grandchild that hangs is ended by its alarm.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from itertools import count

import numpy as np

import staticgrad as sg
from tests.safety.child import say

SIZE = 200_000


class Programs:
    """Three programs of the same two parameters, which are always equal."""

    def __init__(self) -> None:
        self.v, self.w = (sg.parameter(name, np.zeros(SIZE, np.float32)) for name in "vw")
        x = sg.input("x", ("n",), "float32")
        both = {p: p + 1.0 for p in (self.v, self.w)}
        self.step = sg.compile(sg.Graph({"first": self.v[0]}, both))
        self.reader = sg.compile({"apart": sg.max(sg.absolute(sg.tanh(self.v) - sg.tanh(self.w)))})
        self.sized = sg.compile({"y": (sg.exp(x) * self.w[0]).sum(), "z": sg.cumsum(x, 0)})

    def check(self) -> None:
        """Run all of them."""
        first = self.step.run()["first"]
        if self.reader.run()["apart"] != 0:
            sys.exit("torn parameters")
        if (self.v.value != first + 1).any():
            sys.exit("a step was lost")
        x = np.ones(5, np.float32)
        if self.sized.run({"x": x})["z"].tolist() != [1, 2, 3, 4, 5]:
            sys.exit("other results")
        y = sg.input("y", (3,), "float32")
        if sg.compile(y * float(first + 2)).run({"y": np.ones(3)}).tolist() != [first + 2] * 3:
            sys.exit("other results of a new program")


def grandchild(programs: Programs) -> None:
    faulthandler.dump_traceback_later(8)
    signal.alarm(20)
    programs.check()
    programs.check()
    os._exit(0)


def busy_threads(programs: Programs, stop: threading.Event) -> list[threading.Thread]:
    """Threads that run, plan and compile until they are told to stop."""

    def until_stopped(work: Callable[[int], object]) -> threading.Thread:
        def loop() -> None:
            for n in count(1):
                if stop.is_set():
                    return
                work(n)

        return threading.Thread(target=loop)

    return [
        until_stopped(lambda n: programs.step.run()),
        until_stopped(lambda n: programs.reader.run()),
        until_stopped(lambda n: programs.sized.run({"x": np.zeros(n, np.float32)})),
        until_stopped(lambda n: sg.compile(sg.input("x", (n % 7 + 1,), "float32") + float(n))),
    ]


def main() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about forks with threads
    programs, stop = Programs(), threading.Event()
    threads = busy_threads(programs, stop)
    for thread in threads:
        thread.start()
    failed = 0
    for _ in range(int(sys.argv[1])):
        time.sleep(0.003)
        child = os.fork()
        if not child:
            try:
                grandchild(programs)
            finally:
                os._exit(1)
        failed += os.waitpid(child, 0)[1] != 0
    stop.set()
    for thread in threads:
        thread.join(20)
    programs.check()
    if failed:
        sys.exit(f"{failed} grandchildren failed")
    say("done")


if __name__ == "__main__":
    main()
