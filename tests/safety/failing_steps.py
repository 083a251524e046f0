"""Child process: a step fails at its n-th allocation, or is interrupted at its n-th moment.

    python -m tests.safety.failing_steps memory|interrupt warm|staged|new|grown/<stride> ...

For every n (or one of each ``stride``) until the step comes through: all parameters are old or
all new, another thread can run the program, and results are right, whatever feeds the failed step
had half bound. A parameter is written before an index is looked at that was looked at before.
"""

import faulthandler
import gc
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from itertools import count

import numpy as np

import staticgrad as sg
from tests.safety.child import say
from tests.safety.moments import moments


class Step:
    """A training step of ``u``, ``w`` and a count of steps, with gathers and products.

    Behind the commit, the gradient of ``w`` is scattered by rows that the gather has checked.
    """

    def __init__(self):
        x, rows = sg.input("x", ("b", 9), "float32"), sg.input("rows", ("b",), "int64")
        self.start = np.ones((9, 5), np.float32)
        self.w = sg.parameter("w", self.start)
        self.u_start = np.ones((5, 4), np.float32)
        self.u = sg.parameter("u", self.u_start)
        self.steps = sg.parameter("steps", np.zeros(3, np.float32))
        h = sg.tanh(x @ self.w) + sg.take(self.w.T, rows, 0).sum(1, keepdims=True)
        loss = sg.square(h @ self.u).mean()
        dw, du = sg.grad(loss, [self.w, self.u])
        updates = {self.w: self.w - 0.1 * dw, self.u: self.u - 0.1 * du, self.steps: self.steps + 1}
        self.graph = sg.Graph({"h": h, "loss": loss}, updates)
        self.compile()

    def compile(self):
        self.f = sg.compile(self.graph)

    def looks_behind_the_commit(self):
        """Return whether a check runs for the first time when a parameter has been written."""
        plan = self.f.plan(b=7)
        early_steps, late_steps = (
            {planned.step for planned in part if plan.schedule.steps[planned.step].checks()}
            for part in (plan.steps[: plan.commit], plan.steps[plan.commit :])
        )
        return bool(late_steps - early_steps)

    def reset(self):
        self.w.value = self.start
        self.u.value = self.u_start
        self.steps.value = np.zeros(3, np.float32)

    def results(self, feeds):
        """The bytes of one run from the start."""
        self.reset()
        outputs = self.f.run(feeds)
        arrays = outputs["h"], outputs["loss"], self.w.value, self.u.value
        return [array.tobytes() for array in arrays]

    def check_whole(self, n):
        """Return whether the parameters are new; ends the process if one is and one is not."""
        steps = self.steps.value
        new = bool((self.w.value != self.start).any())
        u_new = bool((self.u.value != self.u_start).any())
        if u_new != new or not (steps == float(new)).all():
            sys.exit(f"torn at {n}: {steps} steps, w new: {new}, u new: {u_new}")
        return new


def feeds_at(size, seed=0):
    x = np.random.default_rng(seed).normal(size=(size, 9)).astype("f4")
    return {"x": x, "rows": np.arange(size) % 5}


def next_feeds(kind, trial):
    """Feeds of a trial: at the same sizes, or at smaller and smaller, or larger and larger."""
    if kind == "new":
        return feeds_at(4000 - trial)
    if kind == "grown":
        return feeds_at(10 + trial)
    feeds = feeds_at(7, seed=trial)
    return {**feeds, "x": np.asfortranarray(feeds["x"])} if kind == "staged" else feeds


@contextmanager
def no_memory_at(n):
    """The n-th allocation of Python's own allocators from here on fails, and only that."""
    import _testcapi

    _testcapi.set_nomemory(n, n + 1)
    try:
        yield
    finally:
        _testcapi.remove_mem_hooks()


def interrupted_at(n):
    """Ctrl-C at the n-th moment from here on at which code of this project could see it."""

    def interrupt():
        raise KeyboardInterrupt

    return moments(n, interrupt)


FAILURES = {"memory": no_memory_at, "interrupt": interrupted_at}


def in_another_thread(call):
    """The result of a call made in another thread, which a lock left taken would stop."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(20)
    if not results:
        faulthandler.dump_traceback()
        sys.exit("a lock is still taken")
    return results[0]


def fail_everywhere(step, failure, kind, stride):
    """Trials with the failure at 1, 1 + stride, ... until a step comes through."""
    others = feeds_at(7, seed=12345)
    expected = step.results(others)
    step.results(next_feeds(kind, 0))
    seen = Counter()
    for trial in count(1):
        n = 1 + (trial - 1) * stride
        step.reset()
        feeds = next_feeds(kind, trial)
        say(kind, n)
        try:
            with failure(n):
                step.f.run(feeds)
        except BaseException as error:  # what it is called is NumPy's or ctypes' choice
            seen[type(error).__name__] += 1
            seen["new"] += step.check_whole(n)
        else:
            break
        if in_another_thread(lambda: step.results(others)) != expected:
            sys.exit(f"other results after a failure at {n}")
        del feeds  # its memory is soon somebody else's
    if not seen:
        sys.exit("nothing has failed")
    say("done", kind, dict(seen))


def main():
    failure, *kinds = sys.argv[1:]
    gc.disable()  # it allocates whenever it likes
    step = Step()
    if not step.looks_behind_the_commit():
        sys.exit("every check comes before the commit")
    for entry in kinds:
        kind, stride = entry.split("/")
        fail_everywhere(step, FAILURES[failure], kind, int(stride))


if __name__ == "__main__":
    main()
