"""The things that signal handlers, finalizers and debuggers may do in the middle of a step.

The trials run in children, so that a hang is one failed test.
"""

import textwrap

import pytest

from tests.helpers.processes import python
from tests.safety.child import ROOT, run_child

#: More of the moments of steps that have many.
MORE_MOMENTS = (
    (("off", "13"), {"STATICGRAD_BACKEND": "numba"}),
    (("off", "1"), {}),
    (("off", "199"), {"STATICGRAD_JIT": "0"}),
    (("checks", "29"), {}),
    (("nan", "499", "read", "set", "run_sharing", "ask"), {}),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("off", "3"), {}),
        (("off", "1997"), {"STATICGRAD_JIT": "0"}),
        (("checks", "397"), {}),
        (("nan", "3989", "read", "set", "run_sharing", "ask"), {}),
        *(pytest.param(*more, marks=pytest.mark.exhaustive) for more in MORE_MOMENTS),
    ],
)
def test_at_every_moment_of_a_step(arguments, environment):
    """Parameters can be read, whole; what is not possible is refused; nothing hangs."""
    assert run_child("interrupting", *arguments, **environment).endswith("done\n")


def script(text):
    """Return what a program printed that must end by itself."""
    return python("-W", "error", "-c", textwrap.dedent(text), cwd=ROOT, timeout=60).stdout


@pytest.mark.slow
def test_a_signal_handler_saves_parameters_in_the_middle_of_training():
    """Python runs it when a native call returns, and the step still has its locks there."""
    out = script("""
        import os, signal, threading, numpy as np, staticgrad as sg
        x = sg.input("x", ("n", 64))
        w = sg.parameter("w", np.zeros((64, 64), "float32"))
        f = sg.compile(sg.Graph({"s": sg.tanh(x @ w).sum()}, {w: w + 1.0}))
        feeds = {"x": np.ones((20_000, 64), "float32")}
        saved = []
        signal.signal(signal.SIGTERM, lambda *_: saved.append((w.value, f.runs_then)))
        type(f).runs_then = property(lambda self: self.stats.runs)
        ended = threading.Event()
        def send():
            while not ended.wait(0.003):
                os.kill(os.getpid(), signal.SIGTERM)
        thread = threading.Thread(target=send)
        thread.start()
        while len(saved) < 20:
            f.run(feeds)
        ended.set()
        thread.join()
        for value, runs in saved:
            assert (value == value[0, 0]).all() and value[0, 0] in (runs, runs + 1), (value, runs)
        print("saved")
    """)
    assert out == "saved\n"


@pytest.mark.slow
def test_a_finalizer_reads_a_parameter_in_the_middle_of_a_watched_step():
    out = script("""
        import gc, numpy as np, staticgrad as sg
        w = sg.parameter("w", np.zeros(8, "float32"))
        f = sg.compile(sg.Graph({"s": w.sum()}, {w: w + 1.0}), debug=True)
        read = []
        class Noisy:
            def __init__(self):
                self.me = self
            def __del__(self):
                read.append(w.value[0])
                if going:
                    Noisy()  # for the next collection
        going = [True]
        gc.set_threshold(1)
        Noisy()
        for _ in range(50):
            f.run()
        going.clear()
        gc.set_threshold(0)
        assert (w.value == 50).all() and sorted(read) == read and len(set(read)) > 40
        print("read")
    """)
    assert out == "read\n"


@pytest.mark.slow
def test_the_refusal_says_what_to_do():
    out = script("""
        import signal, numpy as np, staticgrad as sg
        w = sg.parameter("w", np.zeros(2_000_000, "float32"))
        f = sg.compile(sg.Graph({"s": w.sum()}, {w: w + 1.0}))
        f._executor._make_entry = lambda: None  # nothing interrupts a native step
        said = set()
        def handler(*_):
            for act in (f.run, lambda: setattr(w, "value", w.value)):
                try:
                    act()
                except sg.errors.ReentryError as error:
                    said.add(str(error).splitlines()[0])
        signal.signal(signal.SIGALRM, handler)
        while len(said) < 2:
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            for _ in range(20):
                f.run()
        print(*sorted(said), sep="\\n")
    """)
    assert out == (
        "[SG413] parameter 'w' is in use by a step, and this code interrupts one\n"
        "[SG413] this program is running, and what interrupts its step calls it again\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("source", ["signals", "threads"])
@pytest.mark.parametrize("interrupts", [200, pytest.param(100_000, marks=pytest.mark.exhaustive)])
def test_interrupts_leave_nothing_held_and_nothing_half_written(source, interrupts):
    """Amid reading, setting, running, planning and compiling."""
    out = run_child("storm", source, str(interrupts), timeout=1500)
    assert "interrupts, 0 held, 0 half written" in out


@pytest.mark.slow
def test_interrupts_amid_the_work_of_llvm():
    """llvmlite frees an object twice where an interrupt keeps it from noting the first time."""
    assert "0 held" in run_child("storm", "signals", "500", "1", "compile_anew")


@pytest.mark.slow
def test_a_step_runs_after_ctrl_c_in_an_assignment():
    out = script("""
        import signal, threading, numpy as np, staticgrad as sg
        w = sg.parameter("w", np.zeros(1_000_000, "float32"))
        f = sg.compile(sg.Graph({"s": w.sum()}, {w: w + 1.0}))
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for n in range(1, 11):
            big = np.full(1_000_000, n, "float32")
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                while True:
                    w.value = big
            except KeyboardInterrupt:
                pass
            assert (w.value == n).all()
            f.run()
            assert (w.value == n + 1).all()
        print("ran")
    """)
    assert out == "ran\n"


@pytest.mark.slow
def test_an_interrupt_between_rows_ends_the_step_and_changes_nothing(interrupts):
    """Ctrl-C comes while the first piece of a long step runs; a second one while it commits."""
    out = script("""
        import os, signal, numpy as np, staticgrad as sg
        x = sg.input("x", ("n", 512))
        w = sg.parameter("w", np.full((512, 512), 1e-3, "float32"))
        h = x
        for _ in range(40):
            h = sg.tanh(h @ w)
        f = sg.compile(sg.Graph({"s": h.sum()}, {w: w + h.sum() * 0.0 + 1.0}))
        feeds = {"x": np.ones((2000, 512), "float32")}
        f.run(feeds)
        (prepared,) = f._executor._tables.values()
        table = prepared.table
        honest, calls, at = table._driver, [], [0]
        commit = table.plan.commit
        assert len(table.pace.pieces) > 5, table.pace.pieces
        def driver(address, first, last):
            calls.append((first, last))
            honest(address, first, last)
            if first == at[0]:
                os.kill(os.getpid(), signal.SIGINT)  # as while the rows ran: it is seen here
        table._driver = driver
        for at[0], new, rows in ((0, 0, 1), (commit, 1, len(table.pace.pieces) + 1)):
            before, calls[:] = w.value, []
            try:
                f.run(feeds)
            except KeyboardInterrupt:
                pass
            else:
                raise SystemExit("nothing came")
            assert (w.value == before + new).all()
            assert len(calls) == rows, calls
        print("ended", calls[-1] == (commit, len(table.plan.steps)))
    """)
    assert out == "ended True\n"
