"""Functions that kernels share: compiled once, kept on disk, found again or made anew."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from staticgrad import native
from staticgrad.errors import CompileError
from staticgrad.native import jit
from tests.native.support import SOURCES, assert_same, call

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


@pytest.mark.parametrize("mode", SOURCES)
def test_shared_functions_compute_what_they_say(mode):
    for constant in (1.0, 3.0):
        x = np.arange(64, dtype="f4")
        expected = 2 * (x + np.float32(constant)) ** 2 + 1
        call(source(constant), [x], [], 0, 64, mode=mode)
        assert_same(x, expected, mode)


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
    """Run a program in a process with a cache of its own; return the words that it prints."""
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


def run_on_ones(constant):
    """Run the kernel of a constant on sixteen ones."""
    x = np.ones(16, "f4")
    call(source(constant), [x], [], 0, 16)
    return x


SEVERAL = """
import numpy as np
from staticgrad import native
from tests.native.test_shared import run_on_ones, source
constants = (1.0, 2.0, 3.0, 4.0)
native.begin([source(constant) for constant in constants])()
for constant in constants:
    assert (run_on_ones(constant) == 2 * (1 + constant) ** 2 + 1).all()
found = native.statistics()
print(found.compiled, found.disk)
"""


@pytest.mark.slow
def test_what_is_lost_of_a_bundle_is_made_anew(tmp_path):
    assert run(tmp_path, SEVERAL) == ["4", "0"]
    files = [*(tmp_path / "kernels").glob("*.kernel")]
    bundles = [path for path in files if path.read_bytes().count(b"sg_v_") > 1]
    assert len(bundles) == 1  # four kernels have one object
    (bundle,) = bundles
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
    together = native.begin([source(22.0), wrong, source(23.0)])()
    assert {text: code.origin for text, code in together.items()} == {
        source(22.0): "compiled",
        source(23.0): "compiled",
    }
    assert native.kernel(source(22.0)).origin == "memory"
    with pytest.raises(CompileError, match="load17 is not defined"):
        native.kernel(wrong)

    emit = jit.Compiler.emit

    def refuses(compiler, text, level=None):
        if len(re.findall(r"^define .*@sg_v_", text, re.MULTILINE)) > 1:
            raise RuntimeError("too much at once")
        return emit(compiler, text, level)

    monkeypatch.setattr(jit.Compiler, "emit", refuses)
    assert native.begin([source(24.0), source(25.0)])() == {}
    assert [native.kernel(source(c)).origin for c in (24.0, 25.0)] == ["compiled"] * 2
    assert float(run_on_ones(24.0)[0]) == 1251
