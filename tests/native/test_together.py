"""Kernels that are compiled together: found on disk one by one, and made anew if they are not."""

from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.errors import CompileError
from staticgrad.native import jit, loader
from tests.native.support import call
from tests.native.test_shared import run, source


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


PROGRAM = """
import numpy as np
from staticgrad import native
from tests.native.test_together import made, source
constants = (1.0, 2.0, 3.0, 4.0)
native.prepare([source(constant) for constant in constants])
for constant in constants:
    assert (made(constant) == 2 * (1 + constant) ** 2 + 1).all()
found = native.statistics()
print(found.compiled, found.disk)
"""


@pytest.mark.slow
def test_what_is_lost_of_a_bundle_is_made_anew(tmp_path):
    assert run(tmp_path, PROGRAM) == ["4", "0"]
    files = [*(tmp_path / "kernels").glob("*.kernel")]
    whole = [path for path in files if path.read_bytes().count(b"sg_v_") > 1]
    assert len(whole) == 1  # four kernels have one object
    (bundle,) = whole
    assert run(tmp_path, PROGRAM) == ["0", "4"]
    content = bundle.read_bytes()
    bundle.write_bytes(content[:-1])
    assert run(tmp_path, PROGRAM) == ["4", "0"]
    assert run(tmp_path, PROGRAM) == ["0", "4"]
    for path in (tmp_path / "kernels").glob("*.kernel"):
        if path.read_bytes().count(b"sg_v_") > 1:
            path.unlink()
    assert run(tmp_path, PROGRAM) == ["4", "0"]
    assert run(Path("/dev/null/nowhere"), PROGRAM) == ["4", "0"]


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
