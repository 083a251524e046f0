"""Kernels of plain loops by Numba: what is compiled, machine code on disk, settings of Numba."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.compiler import by_numba
from staticgrad.compiler.by_numba import source
from staticgrad.errors import CompileError, ConfigError
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.native import cache
from staticgrad.support.options import options
from tests.native.support import ENTRY


def program():
    """A product of matrices, functions of numbers and sums."""
    x = sg.input("x", ("n", 5), "float32")
    w = np.linspace(-1, 1, 35, dtype="float32").reshape(5, 7)
    return (sg.tanh(x @ w) * 3).sum(axis=0)


def test_a_name_that_is_no_backend_is_refused():
    with pytest.raises(ConfigError, match="not one of auto, numba, vector"), options(backend="c"):
        pass


def test_a_text_that_numba_does_not_take_is_refused():
    text = "@entry\ndef kernel(record, own, begin, end):\n    unknown(begin)\n"
    with pytest.raises(CompileError, match="Numba does not compile a kernel"):
        by_numba.compile_text(text)


def test_a_kernel_is_what_one_reads(tmp_path):
    """Its text is the function that Numba compiles, and code of other kernels stays as it is."""
    with options(backend="numba", cache_dir=tmp_path):
        f = sg.compile(sg.input("x", ("n",), "float32") * 2.5)
    (kernel,) = f.kernels
    assert kernel.compiler == "numba"
    assert kernel.source == source(f.schedule.kernels[0])
    assert kernel.source.endswith(
        "    for j in range(begin, end):\n        p1[at(j)] = p0[at(j)] * f32(2.5)\n"
    )
    assert "define " in kernel.llvm
    assert ("fmul" if platform.machine() in ("aarch64", "arm64") else "mulps") in kernel.asm


@pytest.mark.slow
def test_machine_code_is_on_disk_beside_the_text_of_a_kernel(tmp_path):
    text = source(sg.compile(sg.input("x", ("n",), "float32") + 7.25).schedule.kernels[0])
    script = (
        "import sys; from staticgrad.compiler import by_numba\n"
        "print(by_numba.compile_text(sys.argv[1]).origin)"
    )
    for origin in ("compiled", "disk"):
        run = subprocess.run(
            [sys.executable, "-c", script, text],
            env={**os.environ, "STATICGRAD_CACHE_DIR": str(tmp_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert run.stdout == f"{origin}\n"
    (folder,) = (tmp_path / "kernels" / "numba").iterdir()
    assert len([*folder.glob("staticgrad_kernel_*.py")]) == 1


def test_clearing_the_cache_removes_what_numba_made(tmp_path):
    with options(cache_dir=tmp_path):
        folder = cache.folder_for("numba")
        assert folder is not None
        (folder / "kernel.py").write_text("")
        others = folder.with_name("another")
        others.mkdir()
        native.prune_cache()
        assert [*folder.parent.iterdir()] == [folder]
        native.clear_cache()
        assert [*folder.parent.iterdir()] == []


@pytest.mark.parametrize("loops", ["i0: n0, i1: n1", "j: n0"])
def test_a_call_computes_some_iterations(loops):
    """Rows of several loops, and rows that are lanes of vectors where LLVM IR is written."""
    place = "i0*n1 + i1" if "i1" in loops else "j"
    text = f"""\
kernel(p0: in f32, p1: out f32; n0, n1) over {loops} {{
  scalar {{
    %0: f32 = load p0[{place}]
    store p1[{place}] = %0
  }}
}}
"""
    code = by_numba.compile_text(source(parse_kernel(text)))
    x, actual = np.arange(15, dtype="f4"), np.zeros(15, "f4")
    record = np.array([x.ctypes.data, actual.ctypes.data, 3, 5], np.int64)
    ENTRY(code.address)(record.ctypes.data, record.ctypes.data, 4, 11)
    np.testing.assert_array_equal(actual, np.where((x >= 4) & (x < 11), x, 0))


USER = """
import sys
import numba, numpy as np
from numba.core import config
from numba.core.registry import cpu_target

@numba.njit
def f(x, y):
    return x + y * 0.5

assert f(1.0, 2) == 2.0
cpu_target.target_context.refresh()
before = {k: getattr(config, k) for k in dir(config) if k.isupper()}
magic = cpu_target.target_context.codegen().magic_tuple()

import staticgrad as sg
from tests.compiler.test_by_numba import program
g = sg.compile(program(), backend="numba")
x = np.linspace(-2, 2, 500, dtype="float32").reshape(100, 5)
assert {k.compiler for k in g.kernels} == {"numba"}

assert before == {k: getattr(config, k) for k in before}
assert magic == cpu_target.target_context.codegen().magic_tuple()

@numba.njit
def h(x):
    return f(x, x) - 1

assert h(2) == 2.0
assert g.run({"x": x}).tobytes() == sg.compile(program()).run({"x": x}).tobytes()
"""


@pytest.mark.slow
def test_numba_settings_change_no_result_and_numba_stays_as_it_was(tmp_path):
    settings = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_OPT": "0",
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_DEBUGINFO": "1",
        "NUMBA_EXTEND_VARIABLE_LIFETIMES": "1",
    }
    paths = {"PYTHONPATH": str(Path.cwd()), "STATICGRAD_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", USER],
        env={**os.environ, **paths, **settings},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_kernel_without_memory_for_its_scratch_notes_it():
    """Numba prints what a C function raises, and the run would go on with wrong numbers."""
    v = sg.parameter("v", np.array([3.0, 1.0, 2.0], "float32"))
    f = sg.compile(sg.Graph({}, {v: sg.sort(v)}), backend="numba")
    (kernel,) = f._executor.program.failing
    failures = np.full(2, -1)
    words = [0] * (len(kernel.operands) - sum(o.is_own for o in kernel.operands))
    absurd = [1 << 60] * len(kernel.arguments)
    record = np.array([*words, *absurd, failures.ctypes.data])
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(
        f._executor.program.kernels[kernel].address
    )
    entry(record.ctypes.data, np.zeros(9, np.int64).ctypes.data, 0, 1)
    assert failures.tolist() == [1, -1]


def test_a_run_whose_kernel_got_no_memory_changes_no_parameter(monkeypatch):
    """The kernel of the product writes the parameter, so it runs behind the commit."""
    w, x = sg.parameter("w", np.ones((4, 4), "float32")), sg.input("x", (4, 4), "float32")
    f = sg.compile(sg.Graph({}, {w: w - x @ x}), backend="numba")
    feeds = {"x": np.ones((4, 4), "float32")}
    f.run(feeds)
    assert (w.value == -3).all()
    table = f._executor._latest_table()
    drive_all = table._driver

    def drive(block, first, last):
        drive_all(block, first, last)
        table._failures[0] = 1 if last == table.all_rows else -1

    monkeypatch.setattr(table, "_driver", drive)
    with pytest.raises(sg.errors.OutOfMemory, match=r"\[SG410\] a kernel that Numba compiled"):
        f.run(feeds)
    assert (w.value == -3).all()
    monkeypatch.undo()
    f.run(feeds)
    assert (w.value == -7).all()
