"""Functions that kernels share: compiled once, kept on disk, found again or made anew."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
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
from tests.native.support import call
from tests.native.test_shared import source
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


def made(constant):
    """What the kernel of a constant makes of sixteen ones."""
    x = np.ones(16, "f4")
    call(source(constant), [x], [], 0, 16)
    return x


def test_kernels_that_are_prepared_count_when_they_are_asked_for():
    sources = [source(c) for c in (11.0, 12.0, 13.0)]
    before = native.statistics()
    native.prepare([*sources, sources[0]])
    assert native.statistics() == before
    found = [native.kernel(each) for each in sources]
    assert [code.origin for code in found] == ["compiled"] * 3
    assert {code.compiler for code in found} == {"vector"}
    assert native.statistics().compiled == before.compiled + 3
    native.prepare(sources)
    assert {native.kernel(each).origin for each in sources} == {"memory"}
    assert [float(made(c)[0]) for c in (11.0, 12.0, 13.0)] == [289, 339, 393]


SEVERAL = """
import numpy as np
from staticgrad import native
from tests.native.test_shared import made, source
constants = (1.0, 2.0, 3.0, 4.0)
native.prepare([source(constant) for constant in constants])
for constant in constants:
    assert (made(constant) == 2 * (1 + constant) ** 2 + 1).all()
found = native.statistics()
print(found.compiled, found.disk)
"""


@pytest.mark.slow
def test_what_is_lost_of_a_bundle_is_made_anew(tmp_path):
    assert run(tmp_path, SEVERAL) == ["4", "0"]
    files = [*(tmp_path / "kernels").glob("*.kernel")]
    whole = [path for path in files if path.read_bytes().count(b"sg_v_") > 1]
    assert len(whole) == 1  # four kernels have one object
    (bundle,) = whole
    assert run(tmp_path, SEVERAL) == ["0", "4"]
    content = bundle.read_bytes()
    bundle.write_bytes(content[:-1])
    assert run(tmp_path, SEVERAL) == ["4", "0"]
    assert run(tmp_path, SEVERAL) == ["0", "4"]
    for path in (tmp_path / "kernels").glob("*.kernel"):
        if path.read_bytes().count(b"sg_v_") > 1:
            path.unlink()
    assert run(tmp_path, SEVERAL) == ["4", "0"]
    assert run(Path("/dev/null/nowhere"), SEVERAL) == ["4", "0"]


def test_a_kernel_that_is_refused_leaves_the_others(monkeypatch):
    wrong = source(21.0).replace("load16(p, i)", "load17(p, i)")
    native.prepare([source(22.0), wrong, source(23.0)])
    assert native.kernel(source(22.0)).origin == "compiled"
    with pytest.raises(CompileError, match="load17 is not defined"):
        native.kernel(wrong, backend="vector")

    def refuses(*_):
        raise CompileError("LLVM refused a kernel")

    monkeypatch.setattr(jit, "merged", refuses)
    native.prepare([source(24.0), source(25.0)])
    assert [native.kernel(source(c)).origin for c in (24.0, 25.0)] == ["compiled"] * 2
    assert float(made(24.0)[0]) == 1251


def test_modules_are_of_one_level_and_not_too_long(monkeypatch):
    monkeypatch.setattr(loader, "LONGEST", 100)
    runs = "\n".join(["x", *["  %v = add i64 1, 2"] * 60])  # a long run of instructions
    short = "\n".join(["x", *["  br label %b"] * 60])
    parts = [*loader._modules({"a": runs, "b": short, "c": runs, "d": short, "e": "x\n  br b"})]
    assert [[*part] for _, part in parts] == [["b"], ["d", "e"], ["a"], ["c"]]
    assert [level for level, _ in parts] == [1, 1, 2, 2]


@pytest.mark.slow
def test_a_program_has_fewer_objects_than_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path))
    x = sg.input("x", ("n", 7), "float64")
    # Numbers that no other test has: a kernel that the process has already is not compiled.
    y = sg.tanh(x @ sg.exp(0.81251 * x).T + 0.34567).sum(0) * 1.0625003
    f = sg.compile(sg.Graph({"y": y, "slope": sg.grad(y.sum(), x)}))
    at = np.linspace(-1, 1, 21).reshape(3, 7)
    np.testing.assert_allclose(
        f.run({"x": at})["y"], np.tanh(at @ np.exp(0.81251 * at).T + 0.34567).sum(0) * 1.0625003
    )
    objects = [path for path in tmp_path.rglob("*.kernel") if b"\x7fELF" in path.read_bytes()]
    fresh = [kernel for kernel in f.kernels if kernel.origin == "compiled"]
    assert len(fresh) >= 3
    named = [path for path in objects if path.read_bytes().count(b"sg_v_") > 1]
    assert 1 <= len(named) < len(fresh)
