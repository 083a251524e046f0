"""Two backends, one meaning: equal bytes, the setting that chooses, Python that Numba takes."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from staticgrad import native
from staticgrad.errors import CompileError, ConfigError
from staticgrad.native import jit, loader, target
from staticgrad.support.config import options
from tests.native.support import run_table

SCALARS = """
def series(x, terms):
    total = 0.0
    for k in range(terms):
        total += math.pow(x, float(k)) if k else 1.0
    return total

def wave(x):
    if math.fabs(x) > 1.0:
        return math.sin(x), math.atan2(x, 2.0)
    return x / 2.0, float(int(x * 8.0) // 3)

def kernel(t, own, begin, end):
    p = ptr_f64(t[0]); q = ptr_f32(t[1]); r = ptr_f64(t[2])
    for i in range(begin, end):
        x = real(load1(p, i))
        up, down = wave(x)
        store1(q, i, f32x1(max(up, -0.75)))
        store1(r, i, f64x1(down) + f64x1(0.5))
"""


def wave(x):
    if abs(x) > 1:
        return math.sin(x), math.atan2(x, 2)
    return x / 2, float(int(x * 8) // 3)


def test_what_numba_takes_runs_without_being_asked_for():
    x = np.linspace(-3, 3, 41)
    wanted = np.array([wave(value) for value in x])
    for on in (True, False):
        q, r = np.zeros(41, np.float32), np.zeros(41)
        with options(jit=on):
            kernel = native.kernel(SCALARS)
            assert not on or kernel.symbol.startswith("sg_n")
            record = np.array([a.ctypes.data for a in (x, q, r)], np.int64)
            table = np.array([native.Row(kernel.address, record.ctypes.data, 0, 41, 0)], np.int64)
            run_table(table, 0, 1)
            assert native.kernel(SCALARS).origin == "memory"
        np.testing.assert_array_equal(q, np.maximum(wanted[:, 0], -0.75).astype(np.float32))
        np.testing.assert_array_equal(r, wanted[:, 1] + 0.5)
    with pytest.raises(CompileError, match="Attribute is not part of the kernel language"):
        native.kernel(SCALARS, backend="vector")


def test_a_source_that_nobody_takes_is_refused_with_both_reasons():
    source = "def kernel(t, own, begin, end):\n    v = unknown(t)\n"
    with pytest.raises(CompileError, match="unknown is not defined") as error:
        native.kernel(source)
    assert "nor does Numba take the source" in "".join(error.value.__notes__)


@pytest.mark.parametrize("statement", ["raise ValueError", "assert end > 0"])
def test_kernels_cannot_raise(statement):
    with pytest.raises(CompileError, match=r"line 2: a kernel cannot raise"):
        native.kernel(f"def kernel(t, own, begin, end):\n    {statement}\n", backend="numba")


def test_math_that_the_process_lacks_is_refused():
    source = """
def kernel(t, own, begin, end):
    store1(ptr_f64(t[0]), 0, f64x1(math.frexp(real(load1(ptr_f64(t[0]), 0)))[0]))
"""
    host, symbol = target.host(), jit.symbol_of(source, "numba")
    code = jit.compile_ir(jit.modules(native.SourceText(source), "numba", host), symbol, host)
    with pytest.raises(CompileError, match="which nobody defines"):
        loader.check(code.elf, symbol, host)


ADD = """
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    for i in range(begin, end, 16):
        m = mask16(end - i)
        store(p, i, load(p, i, m) + {constant}, m)
"""


def test_the_setting_chooses_the_backend(monkeypatch):
    source = ADD.format(constant="3.0")
    assert native.kernel(source).symbol.startswith("sg_v")
    monkeypatch.setenv("STATICGRAD_BACKEND", "numba")
    assert native.kernel(source).symbol.startswith("sg_n")
    with options(backend="vector"):
        assert native.kernel(source).symbol.startswith("sg_v")
        assert native.kernel(source, backend="numba").symbol.startswith("sg_n")
    with pytest.raises(ConfigError, match="not one of auto, numba, vector"), options(backend="c"):
        pass


USER = """
import operator, sys
import numba, numpy as np
from numba.core import config, datamodel, typing
from numba.core.registry import cpu_target

@numba.njit
def f(x, y):
    return x + y * 0.5

assert f(1.0, 2) == 2.0
cpu_target.target_context.refresh()
before = {k: getattr(config, k) for k in dir(config) if k.isupper()}
magic = cpu_target.target_context.codegen().magic_tuple()
models = dict(datamodel.default_manager._handlers)
adders = len(cpu_target.typing_context.resolve_value_type(operator.add).templates)

from staticgrad import native
head = "def kernel(t, own, begin, end):\\n    p = ptr_f32(t[0])\\n"
source = head + "    store4(p, 0, load4(p, 0) * 3.0)\\n"
kernel = native.kernel(source, backend="numba")
x = np.ones(4, np.float32)
record = np.array([x.ctypes.data], np.int64)
table = np.array([native.Row(kernel.address, record.ctypes.data, 0, 1, 0)], np.int64)
block = np.array(native.Head(table.ctypes.data), np.int64)
native.driver()(block.ctypes.data, 0, 1)
assert (x == 3).all()

assert before == {k: getattr(config, k) for k in before}
assert magic == cpu_target.target_context.codegen().magic_tuple()
assert models == datamodel.default_manager._handlers

@numba.njit
def g(x):
    return f(x, x) - 1

assert g(2) == 2.0
assert adders == len(cpu_target.typing_context.resolve_value_type(operator.add).templates)
from tests.native.support import assembly
print(assembly(source, backend="numba"))
"""


def user_program(**environment):
    done = subprocess.run(
        [sys.executable, "-c", USER],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_numba_settings_change_nothing_and_numba_stays_as_it_was(tmp_path):
    odd = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_OPT": "0",
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_DEBUGINFO": "1",
        "NUMBA_EXTEND_VARIABLE_LIFETIMES": "1",
        "NUMBA_DISABLE_JIT": "1",
        "NUMBA_CAPTURED_ERRORS": "new_style",
    }
    plain = user_program(STATICGRAD_CACHE_DIR=str(tmp_path / "plain"))
    assert "mulps" in plain
    assert plain == user_program(STATICGRAD_CACHE_DIR=str(tmp_path / "odd"), **odd)
