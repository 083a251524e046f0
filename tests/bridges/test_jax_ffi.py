"""Calls of ``sg.jax.function`` in programs of XLA: native code over XLA's buffers, or Python."""

import pathlib
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import staticgrad as sg

jax = pytest.importorskip("jax")
jnp = jax.numpy

from staticgrad.jax import ffi as jax_ffi  # noqa: E402 - it reads JAX's classes
from staticgrad.native.entry.words import XlaWord  # noqa: E402


def calls_of(name):
    """Return for each call of programs with this name if native code runs it."""
    calls = [c for c in jax_ffi._calls.values() if c._programs.name == name]
    return [bool(call._words[XlaWord.HEAD]) for call in calls]


def call_repeatedly(f, *args, times=6):
    """The result of the latest of some calls."""
    return [jax.block_until_ready(f(*args)) for _ in range(times)][-1]


def arrays(*shapes, dtype="float32"):
    generator = np.random.default_rng(7)
    return [jnp.asarray(generator.normal(size=shape).astype(dtype)) for shape in shapes]


def test_native_code_runs_values_and_gradients():
    def native_layer(x, w):
        return sg.tanh(x @ w).sum()

    x, w = arrays((4, 8), (8, 3))
    plain = jax.jit(jax.value_and_grad(lambda x, w: jnp.tanh(x @ w).sum(), (0, 1)))
    ours = jax.jit(jax.value_and_grad(sg.jax.function(native_layer), (0, 1)))
    for factor in (1.0, 0.5):
        actual, expected = call_repeatedly(ours, x * factor, w), plain(x * factor, w)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), actual, expected)
    assert calls_of("native_layer.forward") == [True]


def test_operands_and_results_in_any_order():
    def in_any_order(unused, b, a):
        return {"second": a - b, "first": (b * 2, a.sum())}

    a, b = arrays((3,), (3,))
    run = jax.jit(sg.jax.function(in_any_order))
    actual = call_repeatedly(run, jnp.zeros(5), b, a)
    np.testing.assert_array_equal(actual["second"], a - b)
    np.testing.assert_array_equal(actual["first"][0], b * 2)
    np.testing.assert_allclose(actual["first"][1], a.sum(), 1e-6)
    assert calls_of("in_any_order") == [True]


def test_results_that_the_program_does_not_write():
    def odd(x):
        doubled = x * 2
        return doubled, doubled, 3.0, sg.argmax(x), np.arange(3.0)

    (x,) = arrays((4,))
    actual = call_repeatedly(jax.jit(sg.jax.function(odd)), x)
    for array, reference in zip(
        actual, (x * 2, x * 2, 3.0, x.argmax(), np.arange(3.0)), strict=True
    ):
        np.testing.assert_array_equal(array, reference)
    assert calls_of("odd") == [False]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 4)])
def test_element_types_and_shapes(dtype, shape):
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
    bare = lambda x: (sg.where(x > 0, x, x), x == x)  # noqa: E731
    actual = call_repeatedly(jax.jit(sg.jax.function(bare)), x)
    np.testing.assert_array_equal(np.asarray(actual[0], "float32"), np.asarray(x, "float32"))
    assert actual[0].dtype == x.dtype
    assert actual[1].dtype == bool
    assert bool(actual[1].all())


def test_complex_arrays_and_python_numbers():
    (x,) = arrays((4,))
    z = x + 1j
    turn = sg.jax.function(lambda z, c: z * 1j * c)
    for c in (2.0, 3.0, 4.0):
        actual = call_repeatedly(jax.jit(lambda z: turn(z, c)), z)  # noqa: B023
        np.testing.assert_allclose(actual, z * 1j * c, 1e-6)


def test_an_index_out_of_range_is_an_error_of_xla():
    run = jax.jit(sg.jax.function(lambda x, k: sg.take(x, k, axis=0)))
    (x,) = arrays((4, 2))
    good, bad = jnp.array([0, 3]), jnp.array([0, 4])
    call_repeatedly(run, x, good)
    for _ in range(3):
        with pytest.raises((RuntimeError, ValueError), match=r"IndexOutOfRange.*index 4"):
            jax.block_until_ready(run(x, bad))
        np.testing.assert_array_equal(run(x, good), x[good])


def test_what_is_around_the_function_is_read_at_each_call():
    around, p = np.ones(3, "float32"), sg.parameter("p", np.ones(3, "float32"))
    scaled = jax.jit(sg.jax.function(lambda x: x * around))
    shifted = jax.jit(sg.jax.function(lambda x: x + p))
    (x,) = arrays((3,))
    np.testing.assert_array_equal(call_repeatedly(scaled, x), x)
    np.testing.assert_array_equal(call_repeatedly(shifted, x), x + 1)
    around[:] = 2
    p.update(np.full(3, 5, "float32"))
    np.testing.assert_array_equal(call_repeatedly(scaled, x), x * 2)
    np.testing.assert_array_equal(shifted(x), x + 5)


def test_in_loops_maps_and_branches():
    step = sg.jax.function(lambda x, w: sg.tanh(x @ w))
    x, w, batch = arrays((2, 3), (3, 3), (5, 2, 3))

    def loop(f, x, w):
        return jax.lax.scan(lambda x, _: (f(x, w), f(x, w).sum()), x, length=6)

    plain = lambda x, w: jnp.tanh(x @ w)  # noqa: E731
    for transform in (
        lambda f: loop(f, x, w),
        lambda f: jax.vmap(f, (0, None))(batch, w),
        lambda f: jax.lax.cond(w.sum() > 0, f, lambda x, w: -f(x, w), x, w),
        lambda f: jax.grad(lambda w: loop(f, x, w)[1].sum())(w),
    ):
        actual, expected = call_repeatedly(jax.jit(lambda: transform(step))), transform(plain)  # noqa: B023
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), actual, expected)


def test_threads_and_long_runs():
    x, w = arrays((300, 300), (300, 300))
    run = jax.jit(sg.jax.function(lambda x, w: sg.tanh(x @ w).sum(axis=0)))
    expected = call_repeatedly(run, x, w)
    wrong = []

    def work():
        wrong.extend(1 for _ in range(20) if not np.array_equal(run(x, w), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_outside_of_jit_xla_runs_repeated_calls():
    f = sg.jax.function(lambda x: {"y": x * 2})
    (x,) = arrays((3,))
    for _ in range(8):
        actual = f(x)["y"]
        assert isinstance(actual, jax.Array)
        np.testing.assert_array_equal(actual, x * 2)
    with pytest.raises(sg.StaticgradError):
        sg.jax.function(lambda x, k: sg.take(x, k, axis=0))(x, jnp.array([7]))


SCRIPT = """
import sys
import jax, numpy as np, staticgrad as sg
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
run = jax.jit(sg.jax.function(lambda x: x * 2 + 1))
for _ in range(6):
    assert (run(np.ones(3, "float32")) == 3).all()
"""


@pytest.mark.slow
def test_programs_that_jax_stores_are_not_those_of_another_process(tmp_path):
    for _ in range(2):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        assert subprocess.run(command, timeout=120, check=False).returncode == 0


def test_the_versions_of_the_interface():
    """The numbers that are read in XLA's structures are those of its header."""
    header = pathlib.Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h").read_text()
    assert "#define XLA_FFI_API_MAJOR 0" in header
    assert "XLA_FFI_ExecutionStage_EXECUTE = 3" in header
    assert "XLA_FFI_Error_Code_INTERNAL = 13" in header
    fields = [
        ("XLA_FFI_CallFrame", "struct_size extension_start api ctx stage args rets attrs future"),
        ("XLA_FFI_Args", "struct_size extension_start size types args"),
        ("XLA_FFI_Attrs", "struct_size extension_start size types names attrs"),
        ("XLA_FFI_Buffer", "struct_size extension_start dtype data rank dims"),
        ("XLA_FFI_Metadata", "struct_size api_version traits state_type_id"),
        ("XLA_FFI_Error_Create_Args", "struct_size extension_start message errc"),
    ]
    for name, expected in fields:
        body = re.search(rf"struct {name} {{(.*?)}}", header, re.S).group(1)
        lines = re.sub(r"//.*", "", body).split(";")
        actual = [line.split()[-1].lstrip("*") for line in lines if line.split()]
        assert actual == expected.split(), name


def test_without_an_entry_calls_are_callbacks(monkeypatch):
    monkeypatch.setattr("staticgrad.jax.calls.target_name", lambda: None)
    (x,) = arrays((3,))

    def by_callback(x):
        return x * 3

    np.testing.assert_array_equal(call_repeatedly(jax.jit(sg.jax.function(by_callback)), x), x * 3)
    assert calls_of("by_callback") == []
