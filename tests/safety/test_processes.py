"""Forks amid running threads, threads that share programs, and memory over many steps."""

import os
import sys
import threading

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.support.caches import cached_property
from tests.safety.child import run_child


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("forks", [5, pytest.param(40, marks=pytest.mark.exhaustive)])
def test_forks_while_threads_run_plan_and_compile(forks):
    assert run_child("forks", str(forks)).endswith("done\n")


@pytest.mark.slow
def test_the_safety_checks_do_not_stand_in_assert_statements():
    out = run_child("failing_steps", "interrupt", "warm/5", flags=("-O",))
    assert "done" in out


def test_programs_that_share_parameters_see_whole_steps():
    """One program writes two parameters that are always equal; others read both meanwhile."""
    v, w = (sg.parameter(name, np.zeros(50_000, np.float32)) for name in "vw")
    writer = sg.compile(sg.Graph({"first": v[0]}, {p: p + 1.0 for p in (v, w)}))
    second_writer = sg.compile(sg.Graph({"last": w[-1]}, {p: p + 1.0 for p in (w, v)}))
    reader = sg.compile(sg.max(sg.absolute(v - w)))
    problems = []

    def repeat(f, check):
        try:
            problems.extend(f for _ in range(60) if not check(f.run()))
        except BaseException as error:
            problems.append(error)

    work = [
        (writer, bool),
        (second_writer, bool),
        (reader, lambda y: y == 0),
        (reader, lambda y: y == 0),
    ]
    threads = [threading.Thread(target=repeat, args=pair) for pair in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    assert not any(thread.is_alive() for thread in threads)
    assert (v.value == 120).all()
    assert (w.value == 120).all()


def test_cached_properties_take_no_lock():
    """A thread that computes one does not keep another from it, as a forked child would be."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        calls = 0

        @cached_property
        def value(self):
            """A value that takes long."""
            self.calls += 1
            if self.calls == 1:
                inside.set()
                go_on.wait(20)
            return 7

    slow = Slow()
    first = threading.Thread(target=lambda: slow.value)
    first.start()
    assert inside.wait(20)
    assert Slow().__dict__ == {}
    assert slow.value == 7
    go_on.set()
    first.join(20)
    assert slow.__dict__["value"] == 7
    assert slow.calls == 2
    assert slow.value == 7
    assert slow.calls == 2
    assert Slow.value.__doc__ == "A value that takes long."


linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not os.access("/proc/self/clear_refs", os.W_OK),
    reason="the high-water mark is Linux's",
)
glibc = pytest.mark.skipif(
    not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names,
    reason="mallinfo2 is glibc's",
)


@pytest.mark.slow
@glibc
def test_warm_steps_leave_both_heaps_as_they_were():
    """Outputs kept, dropped and given; sizes among known ones; staged, failing and refused runs."""
    lines = run_child("steady").splitlines()
    assert len(lines) == 10
    for line in lines:
        traced, heap = map(int, line.rpartition(": ")[2].split())
        assert traced < 1000, f"Python holds more after 100 steps: {line}"
        assert heap < 1000, f"the C heap holds more after 100 steps: {line}"
