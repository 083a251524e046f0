"""Child process: what code may do that interrupts a step of its own thread.

    python -m tests.safety.interrupting <debug: off|checks|nan> <stride> <what> ...

At every moment of a step at which Python could run a signal handler, a finalizer or a debugger's
watch, that code reads and sets parameters, runs and plans programs, those that the step shares and
others. It gets a value that is whole, or a ReentryError;
it never waits for ever. With ``STATICGRAD_JIT=0`` as well.
"""

import faulthandler
import sys
from collections import Counter
from itertools import count

import numpy as np

import staticgrad as sg
from tests.safety.child import say
from tests.safety.moments import moments

PATIENCE = 100  # seconds until a hang prints where every thread is


class Programs:
    """A step of two parameters that are always equal, and programs that share one, or none."""

    def __init__(self, debug):
        self.v, self.w, self.u = (sg.parameter(n, np.zeros(64, "f4")) for n in ("v", "w", "u"))
        x = sg.input("x", ("n",), "float32")
        total = sg.tanh(sg.take(x, np.array([0, 1]), 0)).sum()  # checked before the commit
        updates = {p: p + 1.0 for p in (self.v, self.w)}
        self.step = sg.compile(sg.Graph({"total": total}, updates), debug=debug)
        self.sharing = sg.compile(sg.Graph({}, {self.w: self.w + sg.input("z", ())}))
        self.reading = sg.compile(self.v.sum())
        self.apart = sg.compile(sg.Graph({"u": self.u[0]}, {self.u: self.u + 1.0}))
        self.feeds = {"x": np.ones(5, "f4")}
        self.steps = 0.0
        self.seen = Counter()

    def run(self):
        self.step.run(self.feeds)
        self.steps += 1

    def settle(self):
        """Run until the step has reserved the locks of its parameters."""
        while not self.step._executor._locks._reserved.stands:
            self.run()

    # -- what interrupts --------------------------------------------------------------------------

    def read(self):
        """Both values are old, or both are new."""
        v, w = self.v.value, self.w.value
        if not ((v == v[0]).all() and (w == v[0]).all() and v[0] in (self.steps - 1, self.steps)):
            sys.exit(f"torn: {v}, {w}, not {self.steps}")
        self.seen["new" if v[0] == self.steps else "old"] += 1

    def set(self):
        self.w.value = self.w.value

    def set_another(self):
        self.u.value = np.ones(64)
        if (self.u.value != 1).any():
            sys.exit("an assignment was lost")

    def run_the_same(self):
        self.step.run({"x": np.ones(0, "f4")})  # an index out of range: it changes nothing

    def run_sharing(self):
        self.sharing.run({"z": np.float32(0)})

    def run_reading(self):
        self.reading.run()

    def run_another(self):
        count = self.u.value[0]
        if self.apart.run()["u"] != count:
            sys.exit("another program's result is wrong")

    def ask(self):
        self.step.plan(n=17)
        self.step.explain(n=5)
        self.step.stats  # noqa: B018

    def compile(self):
        sg.compile(sg.tanh(self.w) + 1.0)


def interrupt(programs, act, stride, settled):
    """Act at each moment of a step, or one of each ``stride``; one moment in each step."""
    name = act.__name__
    for n in count(1, stride):
        if settled:
            programs.settle()

        def once():
            programs.steps += 1  # which ``run`` notes when the step is over
            try:
                act()
                programs.seen[name] += 1
            except sg.errors.ReentryError:
                programs.seen[f"{name} refused"] += 1
            except sg.errors.IndexOutOfRange:
                programs.seen[f"{name} ran"] += 1
            finally:
                programs.steps -= 1

        with moments(n, once) as was_reached:
            programs.run()
        if (programs.v.value != programs.steps).any() or (programs.w.value != programs.steps).any():
            sys.exit(f"a step was lost when {name} came at {n}")
        if not was_reached():
            return


def main():
    debug = {"off": False, "checks": True, "nan": "nan"}[sys.argv[1]]
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    programs = Programs(debug)
    acts = (
        programs.read, programs.set, programs.set_another, programs.run_the_same,
        programs.run_sharing, programs.run_reading, programs.run_another, programs.ask,
        programs.compile,
    )  # fmt: skip
    for act in acts:
        if not sys.argv[3:] or act.__name__ in sys.argv[3:]:
            programs.run()
            for settled in (False, True):
                interrupt(programs, act, int(sys.argv[2]), settled)
            say(act.__name__, dict(programs.seen))
            programs.seen.clear()
    say("done")


if __name__ == "__main__":
    main()
