"""Threads in the background: whatever ends one, nobody waits for it forever, and others go on.

Each test raises at every moment of a thread's code, and of what starts it and waits for it.
"""

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial, partialmethod
from itertools import count

import pytest

from staticgrad.native import lock, tiers, undisturbed
from staticgrad.train.minibatches import prefetch
from tests.safety.moments import moments

#: What is raised between the acquisition of a lock and the ``try`` behind it leaves the lock taken;
#: Python raises nothing there in a thread that gets no signals.
LOCKS = ("native/lock.py", "support/forks.py")
#: Seconds after which a call that should end counts as one that never does.
LIMIT = 30


class Stop(BaseException):
    """An end of a thread: no error that anybody thought of."""


def stop():
    raise Stop


def within_limit(call):
    """Return what a call returns; it runs in another thread, as it might never end."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert results, "it does not end"
    return results[0]


def stopped_at(n, function, reached):
    """Return a function that is stopped at its n-th moment, and notes whether it has had one."""

    def run(*args):
        try:
            with moments(n, stop, LOCKS) as has_stopped:
                function(*args)
        except Stop:
            pass
        finally:
            reached.append(has_stopped())

    return run


class Work:
    """Work for the background."""

    def __init__(self, error=None, lines=0):
        self.error, self.lines, self.is_done = error, lines, False

    def begin(self):
        if self.error is not None:
            raise self.error

    def end(self):
        if self.error is not None:
            raise self.error
        self.is_done = True


@pytest.fixture
def idle_background(monkeypatch):
    """The background without work; it begins when somebody waits."""
    tiers.wait()
    monkeypatch.setattr(tiers, "DELAY", 60.0)
    monkeypatch.setattr(tiers, "PATIENCE", 0.01)
    yield
    tiers._forget()


def is_idle():
    """Return whether new work is done, and nothing waits."""
    work = Work()
    tiers.later([work])
    within_limit(tiers.wait)
    return work.is_done and not tiers.is_waiting() and not tiers._waiting


def test_a_thread_that_is_stopped_anywhere_leaves_nobody_waiting(idle_background, monkeypatch):
    run = tiers._work
    for n in count(1):
        reached, works = [], [Work(), Work(), Work()]
        monkeypatch.setattr(tiers, "_work", stopped_at(n, run, reached))
        tiers.later(works)
        monkeypatch.setattr(tiers, "_work", run)
        within_limit(tiers.wait)
        assert is_idle()
        assert sum(work.is_done for work in works) >= 2
        if not reached[0]:
            break
    assert n > 5


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [([0], 60.0), ([1], 60.0), ([3], 90.0), ([0, 3], 90.0), ([1, 1, 2], 120.0)],
)
def test_the_background_is_delayed_by_the_time_that_its_code_takes(
    idle_background, monkeypatch, lines, seconds
):
    monkeypatch.setattr(tiers, "LINE", 30.0)
    works = [Work(lines=number) for number in lines]
    for work in works:
        tiers.later([work])
    assert tiers._seconds_of_delay() == seconds
    assert not any(work.is_done for work in works)
    tiers.begin()  # as when a run has ended
    within_limit(tiers.wait)
    assert all(work.is_done for work in works)


def test_work_that_comes_during_the_delay_makes_it_longer(idle_background, monkeypatch):
    monkeypatch.setattr(tiers, "DELAY", 0.5)
    monkeypatch.setattr(tiers, "LINE", 60.0)
    compute_seconds, calls, has_asked_again = tiers._seconds_of_delay, count(1), threading.Event()
    works = [Work(), Work(lines=1)]

    def ask():
        seconds = compute_seconds()
        if next(calls) == 1:
            tiers.later(works[1:])
        else:
            has_asked_again.set()
        return seconds

    monkeypatch.setattr(tiers, "_seconds_of_delay", ask)
    tiers.later(works[:1])
    assert has_asked_again.wait(LIMIT)
    assert not any(work.is_done for work in works)
    within_limit(tiers.wait)
    assert all(work.is_done for work in works)


@pytest.mark.parametrize(
    "error", [OSError("the folder is a file"), KeyError("x"), SystemExit(), Stop()], ids=repr
)
def test_an_error_of_any_kind_leaves_one_work_undone(idle_background, error):
    works = [Work(), Work(error), Work()]
    tiers.later(works)
    if isinstance(error, Exception):
        within_limit(tiers.wait)
    else:
        works[1].begin = lambda: None  # it would be an interrupt of whoever waits
        within_limit(tiers.wait)
    assert [work.is_done for work in works] == [True, False, True]
    assert is_idle()


def test_a_setting_that_is_wrong_by_then_ends_nothing(idle_background, monkeypatch):
    monkeypatch.setenv("STATICGRAD_THREADS", "two")
    work = Work(OSError("full"))
    tiers.later([work])
    within_limit(tiers.wait)
    monkeypatch.delenv("STATICGRAD_THREADS")
    assert is_idle()


@pytest.mark.parametrize("call", [lambda: tiers.later([Work()]), tiers.wait], ids=["later", "wait"])
def test_an_interrupt_of_who_starts_it_or_waits_leaves_nobody_waiting(idle_background, call):
    for n in count(1):
        tiers.later([Work(), Work()])
        reached = False
        try:
            with moments(n, stop, LOCKS) as has_stopped:
                call()
        except Stop:
            pass
        reached = has_stopped()
        within_limit(tiers.wait)
        assert is_idle()
        if not reached:
            break
    assert n > 5


def result_of(call):
    """Return the result of a call, or what stopped it while its work was done."""
    try:
        return call.result()
    except Stop:
        return Stop


def test_a_call_of_a_library_that_is_stopped_anywhere_is_made_by_who_asks_for_it(monkeypatch):
    monkeypatch.setattr(undisturbed, "PATIENCE", 0.01)
    run = undisturbed.LibraryCall.run_in_thread
    for n in count(1):
        reached = []
        with monkeypatch.context() as patch:
            stopped = partialmethod(stopped_at(n, run, reached))
            patch.setattr(undisturbed.LibraryCall, "run_in_thread", stopped)
            call = undisturbed.begin(lambda: 3)
            assert within_limit(partial(result_of, call)) in (3, Stop)
        while not reached:
            time.sleep(0.001)
        if not reached[0]:
            break
    assert n > 5
    assert within_limit(lambda: not lock.LIBRARY.is_busy() or undisturbed.begin(int).result() == 0)


def test_items_that_are_prefetched_end_with_their_thread(monkeypatch):
    from staticgrad.train import minibatches

    run = minibatches._make_items
    for n in count(1):
        reached = []
        with monkeypatch.context() as patch:
            patch.setattr(minibatches, "_make_items", stopped_at(n, run, reached))
            with suppress(Stop, RuntimeError):
                assert list(prefetch(iter(range(4)))) == [0, 1, 2, 3]
        while not reached:
            time.sleep(0.001)
        if not reached[0]:
            break
    assert n > 5


LEAVING = """
import time
from staticgrad.native import tiers

class Slow:
    lines = 0

    def begin(self):
        pass

    def end(self):
        print("slow", flush=True)
        time.sleep(100)

tiers.DELAY = 0.0
tiers.later([Slow()])
"""


def test_an_interrupt_at_exit_ends_the_process_without_a_traceback():
    child = subprocess.Popen(
        [sys.executable, "-c", LEAVING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "slow\n"
        time.sleep(0.5)  # the main thread has come to its end by then, or ends with a traceback
        for _ in range(10):
            child.send_signal(signal.SIGINT)  # a second one would end what the first one has begun
            try:
                child.wait(5)
                break
            except subprocess.TimeoutExpired:
                continue
        out, err = child.communicate(timeout=LIMIT)
    finally:
        child.kill()
    assert (child.returncode, out, err) == (0, "", "")


HANGING = """
import os, shutil, sys
import numpy as np, staticgrad as sg

x = sg.input("x", ("n", 7), "float64")
w = sg.parameter("w", np.ones((7, 5)))
loss = (sg.tanh(x @ w + 0.123) ** 2).sum()
f = sg.compile(sg.Graph({"loss": loss, "slope": sg.grad(loss, w)}))
f.run({"x": np.ones((6, 7))})
if sys.argv[1] == "setting":
    os.environ["STATICGRAD_THREADS"] = "two"
else:
    folder = os.environ["STATICGRAD_CACHE_DIR"]
    shutil.rmtree(folder)
    open(folder, "w").close()
print("end of main")
"""


@pytest.mark.parametrize("how", ["setting", "cache folder"])
def test_a_process_ends_whatever_the_background_meets(how, tmp_path):
    env = {
        "STATICGRAD_CACHE_DIR": str(tmp_path / "cache"),
        "STATICGRAD_TIER": "auto",
        "PYTHONPATH": ":".join(filter(None, sys.path)),
        "HOME": str(tmp_path),
    }
    (tmp_path / "cache").mkdir()
    child = subprocess.run(
        [sys.executable, "-c", HANGING, how],
        env=env, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (child.returncode, child.stdout) == (0, "end of main\n")
    assert "Traceback" not in child.stderr
