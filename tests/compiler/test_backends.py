"""``backend=``: who compiles a program's kernels, who decides it, and backends from outside."""

import copy
import ctypes
import gc
import inspect
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import backends, native
from staticgrad.backends import render
from staticgrad.errors import ConfigError, NameConflictError
from tests.helpers.processes import python
from tests.native.support import assert_same

FEEDS = {"x": np.linspace(-2, 2, 42, dtype="float32").reshape(14, 3)}


def program():
    """An elementwise kernel, a product, a reduction, and their derivatives."""
    x = sg.input("x", ("n", 3))
    w = sg.parameter("w", np.ones((3, 2), np.float32))
    loss = sg.nn.softmax(sg.tanh(x) @ w).max()
    return {"loss": loss, "slope": sg.grad(loss, x)}


def compilers(compiled):
    return {kernel.compiler for kernel in compiled.kernels}


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True, "nan"])
def test_every_backend_gives_the_same_bytes(debug):
    actual = [sg.compile(program(), backend=b, debug=debug).run(FEEDS) for b in backends.BUILT_IN]
    for results in actual[1:]:
        assert_same(results["slope"], actual[0]["slope"], "slope")
        assert_same(results["loss"], actual[0]["loss"], "loss")


def test_an_argument_goes_before_options_environment_and_project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STATICGRAD_BACKEND", raising=False)
    y = sg.tanh(sg.input("x", (3,)))
    assert compilers(sg.compile(y)) == {"vector"}
    Path("pyproject.toml").write_text('[tool.staticgrad]\nbackend = "numba"\n')
    assert compilers(sg.compile(y)) == {"numba"}
    monkeypatch.setenv("STATICGRAD_BACKEND", "vector")
    assert compilers(sg.compile(y)) == {"vector"}
    with sg.options(backend="numba"):
        assert compilers(sg.compile(y)) == {"numba"}
        assert compilers(sg.compile(y, backend="vector")) == {"vector"}
        assert compilers(sg.compile(y, backend=None)) == {"numba"}


@pytest.mark.parametrize(
    ("wrong", "hint"), [("vectr", "vector"), ("Numba", "numba"), ("jax", ""), (3, ""), ("", "")]
)
def test_a_wrong_name_is_one_error_with_the_names_and_the_nearest(wrong, hint):
    with pytest.raises(ConfigError, match=r"backend=: .* is not one of auto, vector, numba") as of:
        sg.compile(sg.input("x", (3,)) * 2, backend=wrong)
    assert of.value.hint == (f"did you mean {hint!r}? " if hint else "")
    assert Path(of.value.at.resolve().file).name == "test_backends.py"


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))]
)
def test_a_copy_keeps_the_argument_and_leaves_a_setting_to_its_process(again):
    with sg.options(backend="numba"):
        by_setting, by_argument = sg.compile(program()), sg.compile(program(), backend="vector")
        assert compilers(by_setting) == {"numba"}
    assert compilers(again(by_setting)) == {"vector"}  # whose setting is auto
    with sg.options(backend="numba"):
        assert compilers(again(by_argument)) == {"vector"}
    assert_same(again(by_argument).run(FEEDS)["slope"], by_setting.run(FEEDS)["slope"], "slope")


def run_in_python(kernel):
    """Code that calls back into Python: the kernel's source over NumPy lanes."""
    source = render(kernel)
    with sg.options(jit=False):
        python = native.kernel(source).python
    words = [ctypes.c_int64] * len(inspect.signature(python).parameters)
    called = ctypes.CFUNCTYPE(None, *words)(python)
    address = ctypes.cast(called, ctypes.c_void_p).value
    return backends.Code("interpreted", address, source, "tests.interpreted", keep=called)


ASKED = []


def _compile(kernel):
    ASKED.append(kernel)
    return run_in_python(kernel)


INTERPRETED = backends.register(backends.Backend("tests.interpreted", _compile))


@pytest.mark.usefixtures("collected_apart")
def test_a_backend_that_is_registered_compiles_kernels():
    ASKED.clear()
    f = sg.compile(program(), backend="tests.interpreted")
    assert compilers(f) == {"tests.interpreted"}
    assert len(ASKED) == len(f.kernels) == f.stats.compiles
    gc.collect()  # nobody but the process holds the code
    assert_same(f.run(FEEDS)["slope"], sg.compile(program()).run(FEEDS)["slope"], "slope")
    with sg.options(backend="tests.interpreted"):
        again = sg.compile(program())
    assert compilers(again) == {"tests.interpreted"}
    assert len(ASKED) == len(f.kernels) == again.stats.memory_hits


def begun_and_ended(kernels):
    return sg.backends.begin(kernels)()


@pytest.mark.parametrize(
    ("prepare", "op"), [(sg.backends.prepare, sg.arcsinh), (begun_and_ended, sg.arccosh)]
)
def test_kernels_are_prepared_together_at_once_or_in_two_parts(prepare, op):
    x = sg.input("x", (7, 5))
    outputs = {"one": op(x).sum(axis=1), "other": op(x + 0.5).max()}
    steps = sg.compile(outputs, backend="numba").schedule.steps
    kernels = {kernel for step in steps for kernel in step.kernels()}
    with sg.options(tier="auto"):
        actual = prepare(kernels)  # but those that other tests have compiled
        codes = [sg.backends.compiled(kernel) for kernel in kernels]
    assert actual.keys() <= kernels
    assert {(code.compiler, code.origin) for code in codes} == {("vector", "memory")}
    with pytest.raises(ConfigError, match="nowhere"):
        sg.backends.prepare(kernels, "nowhere")


def test_its_name_is_known_and_belongs_to_it_alone():
    assert backends.backend_names()[:3] == ("auto", "vector", "numba")
    assert "tests.interpreted" in backends.backend_names()
    assert backends.register(INTERPRETED) is INTERPRETED
    with pytest.raises(NameConflictError, match="a backend 'vector' already"):
        backends.register(backends.Backend("vector", run_in_python))
    with pytest.raises(sg.errors.ArgumentError, match="takes a Backend, not a function"):
        backends.register(run_in_python)


def test_a_kernel_that_a_backend_refuses_is_an_error_at_its_line():
    def refuse(kernel):
        raise sg.errors.CompileError("tests.refusing takes no kernel")

    backends.register(backends.Backend("tests.refusing", refuse))
    with pytest.raises(sg.errors.CompileError, match="takes no kernel") as of:
        sg.compile(sg.exp(sg.input("x", (3,))), backend="tests.refusing")
    assert Path(of.value.at.resolve().file).name == "test_backends.py"
    assert "def kernel(" in "".join(of.value.__notes__)


def test_a_kernel_that_llvm_refuses_is_an_error_that_names_numba(monkeypatch):
    """No kernel is known that it refuses, so LLVM fails here; the hint is followed."""

    def fail(*_):
        raise sg.errors.CompileError("LLVM refused a kernel")

    y = sg.tanh(sg.input("x", (4,), "float64")) * 1.625
    monkeypatch.setattr(native, "kernel", fail)
    with sg.options(tier="full"), pytest.raises(sg.errors.CompileError, match="refused") as of:
        sg.compile(y)
    assert of.value.hint == 'backend="numba" compiles kernels as plain loops'
    by_numba = sg.compile(y, backend="numba")
    monkeypatch.undo()
    feeds = {"x": np.linspace(-2, 2, 4)}
    assert_same(by_numba.run(feeds), sg.compile(y).run(feeds), "y")


def test_a_backend_may_show_its_machine_code():
    def compile_shown(kernel):
        return replace(run_in_python(kernel), compiler="tests.shown")

    backends.register(
        backends.Backend("tests.shown", compile_shown, lambda source, form: f"{form} of {source}")
    )
    y = sg.exp(sg.input("x", (3,), "float64")) - 2.5
    (shown,) = sg.compile(y, backend="tests.shown").kernels
    assert shown.asm == f"asm of {shown.source}"
    (interpreted,) = sg.compile(y, backend="tests.interpreted").kernels
    with pytest.raises(sg.errors.ArgumentError, match=r"ran by 'tests\.interpreted'"):
        _ = interpreted.llvm


ANNOUNCED = """
from staticgrad import backends
from tests.compiler.test_backends import run_in_python
mine = backends.Backend("mine", run_in_python)
"""
USE = """
import staticgrad as sg
f = sg.compile(sg.input("x", (3,)) * 2)
print(f.kernels[0].compiler, f.options.backend, f.run({"x": [1, 2, 3]}).tolist())
try:
    sg.compile(sg.input("x", (3,)) * 2, backend="none_of_them")
except sg.StaticgradError as error:
    print(error.headline)
"""


@pytest.mark.slow
def test_a_package_may_announce_one(tmp_path):
    (tmp_path / "own.py").write_text(ANNOUNCED)
    about = tmp_path / "own-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[staticgrad.backends]\nmine = own:mine\nnone_of_them = own:run_in_python\n"
    )
    paths = f"{tmp_path}{os.pathsep}{Path.cwd()}"
    run = python("-c", USE, env={"STATICGRAD_BACKEND": "mine", "PYTHONPATH": paths})
    assert run.stdout.splitlines() == [
        "tests.interpreted None [2.0, 4.0, 6.0]",
        "a package announces 'none_of_them' as a backend: that is a function",
    ], run.stderr
