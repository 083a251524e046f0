"""The driver and the process around it: threads, forks, floating-point state, other Numba users."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from staticgrad import native
from staticgrad.errors import CPUError, SelfTestError
from staticgrad.native import loader, target
from staticgrad.support.options import options
from tests.native.support import run_table

ADD = """
def kernel(t, own, begin, end):
    p = ptr_f64(t[0]); q = ptr_f64(t[1])
    for i in range(begin, end, 8):
        m = mask8(end - i)
        store(q, i, load(q, i, m) + load(p, i, m) * {factor}, m)
"""


def python(program, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_imports_nothing():
    program = """
import sys, staticgrad.native
print(*(name in sys.modules for name in ("numba", "llvmlite", "scipy")))
"""
    assert python(program) == "False False False"


@pytest.mark.parametrize("on", [True, False])
def test_rows_run_in_order(on):
    with options(jit=on):
        kernels = [native.kernel(ADD.format(factor=f"{factor}.0")) for factor in (1, 10)]
        x, y = np.arange(20.0), np.zeros(20)
        forth = np.array([x.ctypes.data, y.ctypes.data], np.int64)
        back = np.array([y.ctypes.data, x.ctypes.data], np.int64)
        rows = [
            native.Row(kernels[0].address, forth.ctypes.data, 0, 20, 0),
            native.Row(kernels[1].address, back.ctypes.data, 0, 17, 8),
            native.Row(kernels[0].address, forth.ctypes.data, 0, 0, 0),
            native.Row(kernels[1].address, forth.ctypes.data, 0, 1000000, 0),
        ]
        table = np.array(rows, np.int64)
        assert table.shape[1] == native.ROW_WORDS
        run_table(table, 0, 3)
        run_table(table, 2, 2)
        run_table(table, 3, 1)
    expected = np.arange(20.0)
    expected[:17] *= 11
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(y, np.arange(20.0))
    assert all(kernel.native is on for kernel in kernels)


def test_threads_share_one_compilation():
    sources = [ADD.format(factor=f"{k}.375") for k in range(4)]
    actual = []
    barrier = threading.Barrier(6)

    def work():
        barrier.wait()
        for source in sources:
            kernel = native.kernel(source)
            actual.append((kernel.symbol, kernel.address))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(actual) == 24
    assert len(set(actual)) == 4


def _in_child(factor):
    x, y = np.full(3, 2.0), np.zeros(3)
    record = np.array([x.ctypes.data, y.ctypes.data], np.int64)
    address = native.kernel(ADD.format(factor=factor)).address
    table = np.array([native.Row(address, record.ctypes.data, 0, 3, 0)], np.int64)
    run_table(table, 0, 1)
    return float(y[2])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_compile_and_run():
    assert _in_child("3.0") == 6.0
    stop = threading.Event()

    def keep_compiling():
        k = 0
        while not stop.is_set():
            native.kernel(ADD.format(factor=f"{k}.0625"))
            k += 1

    busy = threading.Thread(target=keep_compiling)
    busy.start()
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            results = pool.map(_in_child, ["3.0", "4.5", "5.5", "6.5"])
    finally:
        stop.set()
        busy.join()
    assert results == [6.0, 9.0, 11.0, 13.0]


@pytest.mark.slow
def test_numba_of_the_user_is_left_alone():
    program = """
import numba, numpy as np
from numba.core import config
from numba.core.registry import cpu_target
before = {k: getattr(config, k) for k in dir(config) if k.isupper()}
@numba.njit
def f(x):
    return x + 1
assert f(1) == 2
magic = cpu_target.target_context.codegen().magic_tuple()
from staticgrad import native
source = "def kernel(t, own, begin, end):\\n    store1(ptr_f32(t[0]), 0, f32x1(2.5))\\n"
kernel = native.kernel(source)
x = np.zeros(1, np.float32)
record = np.array([x.ctypes.data], np.int64)
table = np.array([native.Row(kernel.address, record.ctypes.data, 0, 1, 0)], np.int64)
block = np.array(native.Head(table.ctypes.data), np.int64)
native.driver()(block.ctypes.data, 0, 1)
assert x[0] == 2.5
assert before == {k: getattr(config, k) for k in before}
assert magic == cpu_target.target_context.codegen().magic_tuple()
@numba.njit
def g(x):
    return f(x) * 2
assert g(1) == 4
print("same")
"""
    odd = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_OPT": "0"}
    assert python(program, **odd) == "same"


def test_a_target_that_fails_is_left_for_a_safer_one(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path))
    ladder = target.ladder()
    asked = []

    def only_the_last(candidate, levels):
        asked.append(candidate.level)
        return candidate is ladder[-1]

    monkeypatch.setattr(loader, "is_sound", only_the_last)
    assert loader.first_sound(ladder) is ladder[-1]
    assert asked == [rung.level for rung in ladder]
    assert len(ladder) == 1 or "safer" in caplog.text
    assert loader.first_sound(ladder) is ladder[-1]
    assert len(asked) == len(ladder), "the verdict is remembered"
    with pytest.raises(SelfTestError, match="wrong on this processor"):
        loader.first_sound(ladder[:-1])


def test_every_rung_of_this_machine_passes_the_self_test():
    assert all(loader.is_sound(rung) for rung in target.ladder())


def test_the_self_test_sees_wrong_code(monkeypatch):
    host = loader.host()  # which tests itself, where the cache is empty
    honest = loader.mask_source
    monkeypatch.setattr(
        loader, "mask_source", lambda *form: honest(*form).replace("& ~load(res", "& load(res")
    )
    assert not loader.is_sound(host)


@pytest.mark.parametrize("missing", ["avx2", "fma"])
def test_old_processors_are_refused_with_a_code(missing):
    features = dict.fromkeys(target._REQUIRED_X86, True) | {missing: False}
    with pytest.raises(CPUError, match=rf"no {missing}; .*x86-64-v3") as error:
        target._x86_ladder("x86_64-unknown-linux-gnu", "core2", features)
    assert "SG502" in str(error.value)
