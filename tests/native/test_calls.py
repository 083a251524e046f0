"""Calls of LLVM at the same time: bytes, errors, forks, interrupts, the interpreter's end."""

import os
import signal
import sys
import threading
import time

import pytest

from staticgrad import native
from staticgrad.errors import CompileError
from staticgrad.native import jit, loader
from staticgrad.native.lock import LIBRARY
from staticgrad.native.undisturbed import begin, run_uninterrupted
from tests.helpers.processes import python

KERNEL = """\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    for i in range(begin, end, 16):
        store16(p, i, load16(p, i) * {} + 1.0)
"""


def text_of(constant):
    """The LLVM IR of a kernel, and its entry."""
    source = native.SourceText(KERNEL.format(constant))
    return jit.module_text(source, loader.host()), jit.symbol_of(source.key)


def test_modules_compiled_at_once_have_the_bytes_of_those_compiled_alone():
    texts = [text_of(float(constant)) for constant in range(2, 10)]
    alone = [jit.compile_ir(*module, loader.host()) for module in texts]
    calls = [jit.begin_ir(*module, loader.host()) for module in texts]
    assert [call.result() for call in calls] == alone
    assert len({code.elf for code in alone}) == len(texts)


def test_an_error_is_that_of_its_own_call():
    right, wrong = text_of(3.0), ("define void @f() #0 { ret i32 1 }", "f")
    calls = [jit.begin_ir(*module, loader.host()) for module in (right, wrong, right)]
    with pytest.raises(CompileError, match="LLVM refused"):
        calls[1].result()
    assert calls[0].result() == calls[2].result()


def test_calls_run_at_once_as_far_as_there_are_places():
    running, most, lock = [], [], threading.Lock()

    def work():
        with lock:
            running.append(1)
            most.append(len(running))
        time.sleep(0.02)
        with lock:
            running.pop()

    calls = [begin(work) for _ in range(3 * len(LIBRARY.places))]
    for call in calls:
        call.result()
    assert 1 < max(most) <= len(LIBRARY.places)


SWITCHES = """
import sys, threading
from staticgrad.native.lock import LIBRARY
from staticgrad.native.undisturbed import begin

usual_interval = sys.getswitchinterval()
begun, end = threading.Barrier(3), threading.Event()

def work():
    begun.wait()
    end.wait()
    return sys.getswitchinterval()

calls = [begin(work) for _ in range(2)]
begun.wait()
during = sys.getswitchinterval()
end.set()
assert max(during, *(call.result() for call in calls)) < usual_interval / 5
with LIBRARY:  # both have left their places
    assert sys.getswitchinterval() == usual_interval
"""


def test_the_interpreter_switches_more_often_while_calls_run():
    """In a process of its own, whose interval nothing has set before."""
    python("-c", SWITCHES)


def test_a_call_that_is_cancelled_before_it_begins_is_not_made():
    done = []
    with LIBRARY:  # nobody begins
        call = begin(lambda: done.append(1))
        time.sleep(0.05)  # its thread waits for a place
        call.cancel()
    time.sleep(0.05)
    assert done == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_for_what_runs_and_the_child_makes_what_waits():
    """Neither process hangs: what has no thread in the child is made by who asks for it."""
    begun, end = threading.Event(), threading.Event()

    def work():
        begun.set()
        return end.wait(0.2)

    running = [begin(work) for _ in LIBRARY.places]
    waiting = begin(lambda: 7)
    begun.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(waiting.result() != 7 or LIBRARY.is_busy())
    assert [call.result() for call in running] == [False] * len(running)
    assert waiting.result() == 7
    assert os.waitpid(child, 0)[1] == 0


ENDS = """
import threading
from staticgrad.native import jit, loader
from tests.native.test_calls import text_of
texts = [text_of(float(constant)) for constant in range(50)]
calls = [jit.begin_ir(*each, loader.host()) for each in texts]
calls[0].result()
print("ends")
"""


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_the_interpreter_ends_while_code_is_emitted(attempt):
    actual = python("-c", ENDS)
    assert (actual.stdout.split(), actual.stderr) == (["ends"], "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_is_raised_when_the_call_has_ended(interrupts):
    done = []

    def work():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)
        done.append(1)

    with pytest.raises(KeyboardInterrupt):
        run_uninterrupted(work)
    assert done == [1]
