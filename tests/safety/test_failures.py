"""All old or all new: allocations, compilations and the disk fail at every turn, and Ctrl-C comes.

The trials run in children, so that a lock that is left taken or a crash is one failed test.
"""

import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from staticgrad.native import cache
from tests.helpers.processes import python
from tests.safety.child import ROOT, entry_at, run_child

needs_hooks = pytest.mark.skipif(
    find_spec("_testcapi") is None, reason="this Python cannot refuse single allocations"
)


exhaustive = pytest.mark.exhaustive
#: Kinds of steps, and of how many places to fail at one is tried. A first step plans as well.
QUICK = ["warm/1", "staged/3", "new/151", "grown/151"]
THOROUGH = ["staged/1", "new/41", "grown/41"]
amount = pytest.mark.parametrize(
    "kinds", [QUICK, pytest.param(THOROUGH, marks=exhaustive)], ids=len
)


@pytest.mark.slow
@amount
@pytest.mark.parametrize("failure", [pytest.param("memory", marks=needs_hooks), "interrupt"])
def test_an_allocation_fails_or_ctrl_c_comes_at_the_nth_moment_of_a_step(failure, kinds):
    assert run_child("failing_steps", failure, *kinds).count("done") == len(kinds)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [4999, pytest.param(97, marks=exhaustive)])
def test_ctrl_c_at_the_nth_moment_between_rows_of_python(stride):
    """Such a step may be interrupted behind its commit, before a check that an earlier one
    implies: what is written by then is not a parameter yet."""
    assert "done" in run_child("failing_steps", "interrupt", f"warm/{stride}", STATICGRAD_JIT="0")


@pytest.mark.slow
@pytest.mark.parametrize("most", [0, *(pytest.param(most, marks=exhaustive) for most in (1, 4))])
def test_the_nth_call_of_a_compilation_fails(most, tmp_path):
    """Every call of each function; else some failures of the first one, and all others of it."""
    assert "done" in run_child("failing_compiles", str(tmp_path), str(most))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space")
@pytest.mark.parametrize("kind", ["vector", "numba", "import"])
def test_too_little_address_space_for_a_compilation(kind):
    """LLVM would end the process; what it may ask for is asked for before."""
    assert "refused" in run_child("scarce", kind)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space")
def test_a_kernel_of_numba_without_memory_for_its_scratch():
    """Numba prints what a C function raises, and goes on with wrong numbers."""
    assert "done" in run_child("starved")


@pytest.mark.slow
def test_threads_run_in_a_small_stack_or_say_that_it_is_too_small():
    ran, refused = run_child("small_stacks").splitlines()
    assert ran == "True"
    assert refused == "[SG410] threads have stacks of 256 KiB, and kernels may take 1024"


WRITER = """
import itertools, sys
from staticgrad.native import cache
from staticgrad.native.jit import ObjectCode
print("writing", flush=True)
for n in itertools.count():
    cache.write(f"entry{n % 5}", ObjectCode(bytes([n % 251]) * 200_000, f"symbol{n}"))
"""


def whole_entries(folder):
    """Return the number of entries; all of them are whole."""
    paths = list(folder.glob("*" + cache.SUFFIX))
    for path in paths:
        actual = entry_at(path)
        assert actual is not None, path
        assert len(set(actual.elf)) == 1
    return len(paths)


@pytest.mark.slow
def test_kill_9_while_the_cache_is_written(tmp_path, monkeypatch):
    """Entries stay whole; what was half written is swept away once nobody can be writing it."""
    environment = {**os.environ, "STATICGRAD_CACHE_DIR": str(tmp_path)}
    folder = tmp_path / "kernels"
    delays = random.Random(0)
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER], cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        time.sleep(0.01 + delays.uniform(0, 0.01))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert whole_entries(folder) <= 5
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path))
    left, young = folder / ".new-left", folder / ".new-young"
    folder.mkdir(exist_ok=True)  # a loaded machine may kill both before their first entry
    for path in (left, young):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    cache._fills.clear()
    assert cache.write("entry", cache.ObjectCode(b"x", "symbol"))
    assert not left.exists()
    assert young.exists()


FULL_DISK = """
import resource, signal, sys
import numpy as np
import staticgrad as sg
from staticgrad import native
x = sg.input("x", ("n",), "float32")
f = sg.compile(sg.exp(x))                          # the self-test's verdict fits
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))  # no file may grow beyond
g = sg.compile(sg.tanh(x) * 3 + 1)
assert g.stats.compiles == 1, g.stats
y = g.run({"x": np.zeros(4, np.float32)})
assert y.tolist() == [1.0] * 4
"""


@pytest.mark.slow
def test_a_full_disk_only_costs_time(tmp_path):
    python("-c", FULL_DISK, cwd=ROOT, env={"STATICGRAD_CACHE_DIR": str(tmp_path)})
    names = sorted(path.name for path in (tmp_path / "kernels").iterdir())
    assert not [name for name in names if not name.endswith(cache.SUFFIX)]
    for path in (tmp_path / "kernels").iterdir():
        assert entry_at(path) is not None
