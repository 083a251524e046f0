"""The loops of a Map: whole vectors apart from the rest where the body is short."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.codegen import stages

SIZES = (1, 15, 16, 17, 31, 32, 33, 48, 100, 4095, 4096, 4097, 8200)


def program():
    x = sg.input("x", (3, "n"), "float32")
    sums, most = sg.sum(x, axis=1), sg.max(x, axis=1)
    return sg.Graph({"y": sg.maximum(x * x - 1.0, 0.0), "sums": sums, "most": most})


def test_a_long_body_takes_several_whole_vectors_at_a_time():
    x = sg.input("x", ("n",), "float32")
    short, long = sg.compile(x + 1.0), sg.compile(sg.erfc(sg.tanh(x)))
    y = x * 0.5 + 1.0
    wide = sg.compile(sg.erfc(sg.tanh(x)) * sg.log(y) + sg.exp(y) * sg.sin(x) - y)
    assert "while j + 16 <= end:" in short.kernels[0].source
    chain = 128 if native.vector_bits() == 512 else 64
    assert f"while j + {chain} <= end:" in long.kernels[0].source
    assert "while j + 64 <= end:" in wide.kernels[0].source


@pytest.mark.thinned(2)
@pytest.mark.parametrize("backend", ["vector", "numba"])
def test_a_split_loop_changes_no_bit(backend, monkeypatch):
    rng = np.random.default_rng(5)
    feeds = [{"x": rng.normal(size=(3, n)).astype("float32")} for n in SIZES]
    found = []
    for longest in (0, 1000):
        monkeypatch.setattr(stages, "SHORT", longest)
        with sg.options(backend=backend):
            f = sg.compile(program())
            found.append([f.run(feed) for feed in feeds])
    for whole, split in zip(*found, strict=True):
        assert all(same_bytes(whole[name], split[name]) for name in whole)
