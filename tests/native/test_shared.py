"""Functions that kernels share: compiled once, kept on disk, found again or made anew."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from staticgrad import native
from staticgrad.errors import CompileError
from staticgrad.native import jit, loader, target
from staticgrad.native.language import frontend
from tests.native.support import MODES, assert_same, call

SHARED = """\
def twice(v):
    return v + v


def shared_grow(p, i, v):
    store16(p, i, twice(v) * v + 1.0)


"""
KERNEL = """\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    for i in range(begin, end, 16):
        shared_grow(p, i, load16(p, i) + {constant})
"""


def source(constant):
    return SHARED + KERNEL.format(constant=constant)


@pytest.mark.parametrize("mode", MODES)
def test_shared_functions_compute_what_they_say(mode):
    for constant in (1.0, 3.0):
        x = np.arange(64, dtype="f4")
        wanted = 2 * (x + np.float32(constant)) ** 2 + 1
        call(source(constant), [x], [], 0, 64, mode=mode)
        assert_same(x, wanted, mode)


def test_kernels_with_a_shared_function_leave_it_out():
    first, second = (frontend.modules(source(c), f"k{c:.0f}") for c in (1.0, 2.0))
    assert first.shared == second.shared
    ((symbol, text),) = first.shared.items()
    assert f"define void @{symbol}(" in text
    assert "@twice" in text
    for one in (first, second):
        assert f"declare void @{symbol}(" in one.kernel
        assert "define" in one.kernel
        assert f"define internal void @{symbol}" not in one.kernel
    assert f"define internal void @{symbol}(" in frontend.module_text(source(1.0), "k")


def test_another_content_is_another_function():
    changed = source(1.0).replace("v + v", "v * v")
    (first,), (second,) = (frontend.modules(text, "k").shared for text in (source(1.0), changed))
    assert first != second


def test_a_kernel_whose_shared_function_nobody_loaded_is_refused():
    text = source(5.0).replace("grow", "nowhere")
    (kernel,), shared = jit.parts(text, "vector")
    symbol = jit.symbol_of(text, "vector")
    code = jit.compile_ir([kernel], symbol, target.host())
    assert loader.missing(code.elf, target.host()) == list(shared)
    with pytest.raises(CompileError, match=r"shared_nowhere.*nobody defines"):
        loader.load(code.elf, symbol, target.host())


PROGRAM = """
import sys
import numpy as np
from staticgrad import native
from tests.native.test_shared import source
from tests.native.support import call
x = np.ones(16, np.float32)
call(source(1.0), [x], [], 0, 16)
assert (x == 9).all()
found = native.statistics()
print(found.compiled, found.disk)
"""


def run(folder, program=PROGRAM):
    """What a program prints in a process with a cache of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"STATICGRAD_CACHE_DIR": str(folder), "PYTHONPATH": str(Path.cwd()), "HOME": "/none"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout.split()


@pytest.mark.slow
def test_a_shared_function_is_found_on_disk_or_made_anew(tmp_path):
    assert run(tmp_path) == ["1", "0"]
    assert run(tmp_path) == ["0", "1"]
    entries = list((tmp_path / "kernels").glob("*.kernel"))
    shared = [path for path in entries if b"shared_grow" in path.read_bytes()[:200]]
    assert len(shared) == 1
    shared[0].unlink()
    assert run(tmp_path) == ["1", "0"]
    assert run(tmp_path) == ["0", "1"]


@pytest.mark.parametrize("mode", MODES)
def test_an_address_is_a_word_that_makes_a_pointer_again(mode):
    text = """\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    place = address(p)
    if begin > 3:
        q = local_f32(16)
        place = address(q)
    store16(ptr_f32(place), 0, load16(p, 0) + 1.0)
"""
    x = np.zeros(16, "f4")
    for begin in (0, 4):
        call(text, [x], [], begin, 5, mode=mode)
    assert_same(x, np.ones(16, "f4"), mode)


def test_an_address_of_no_pointer_is_refused():
    text = "def kernel(t, own, begin, end):\n    a = address(begin)\n"
    for backend in ("vector", "numba"):
        with pytest.raises(CompileError, match="does not take"):
            native.kernel(text, backend=backend)
