"""The setting ``target``: other instructions, the same bytes, in one process."""

import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.native import jit, loader
from staticgrad.native.language.parts import external
from staticgrad.native.target import ladder

pytestmark = pytest.mark.skipif(ladder()[-1].cpu != "x86-64-v3", reason="no such processor")


def program():
    """A product, a scan, rows and columns, a sort, a convolution and a pool, with gradients."""
    x = sg.input("x", ("n", 37), "float32")
    w = sg.input("w", (37, 21), "float32")
    hidden = sg.nn.softmax(sg.tanh(x @ w)) + sg.sort(sg.cumsum(x[:, :21], axis=1), axis=0)
    loss = (sg.nn.layer_norm(hidden, sg.ones((21,)), sg.zeros((21,))) ** 3).mean()
    filters = sg.reshape(w, (37, 3, 7))[:33]
    windows = sg.nn.conv(sg.reshape(x[:, :36], (-1, 3, 12)), filters, padding="same")
    loss = loss + (sg.nn.max_pool(windows, 2) ** 2).mean()
    slopes = sg.grad(loss, [x, w])
    return sg.Graph({"loss": loss, "hidden": hidden, "dx": slopes[0], "dw": slopes[1]})


@pytest.mark.slow
def test_results_have_the_same_bytes_on_every_target():
    make = np.random.default_rng(0)
    feeds = {
        "x": make.normal(size=(29, 37)).astype("f4"),
        "w": make.normal(size=(37, 21)).astype("f4"),
    }
    graph = program()
    widths, actual = set(), []
    for name in ("host", "x86-64-v3", "host"):
        with sg.options(target=name):
            widths.add(loader.host().vector_bits)
            results = sg.compile(graph).run(feeds)
        actual.append({name: value.tobytes() for name, value in results.items()})
    assert actual[0] == actual[1] == actual[2]
    assert 256 in widths
    assert len(widths) == 1 + (ladder()[0].vector_bits == 512)


def test_portable_code_needs_no_feature_beyond_its_level():
    """Those of the levels 1 to 3 in the System V ABI; LLVM has names of its own for some."""
    features = "cmov cx8 x87 fxsr mmx sse sse2 cx16 sahf popcnt sse3 sse4.1 sse4.2 ssse3"
    features += " avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave 64bit crc32"
    required = [f[1:] for f in ladder()[-1].features.split(",") if f.startswith("+")]
    assert {"avx2", "fma"} <= {*required} <= {*features.split()}


def test_each_target_has_code_of_its_own():
    x = sg.input("x", ("n",), "float32")
    graph = sg.Graph({"y": sg.tanh(x) * 0.123})
    addresses = set()
    for name in ("host", "x86-64-v3", "host"):
        with sg.options(target=name):
            addresses.add(sg.compile(graph).kernels[0].address)
    assert len(addresses) == 2


def test_an_unknown_target_is_refused():
    with (
        pytest.raises(sg.errors.ConfigError, match="one of host, x86-64-v3"),
        sg.options(target="avx2"),
    ):
        pass


def test_what_other_objects_define_is_bound_when_it_is_loaded():
    """The attribute is the function's: of a result LLVM refuses it, and with it every kernel."""
    text = f"{external('getpid', 'i64', ()).text}\ndefine i64 @sg_pid() #0 {{\n"
    text += "  %1 = call i64 @getpid()\n  ret i64 %1\n}\n"
    with jit.compiler(loader.host()) as compiler:
        module = str(compiler.module(text))
    (number,) = re.findall(r"^declare i64 @getpid\(\) #(\d+)", module, re.MULTILINE)
    assert f"attributes #{number} = {{ nonlazybind }}" in module
