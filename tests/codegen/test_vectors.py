"""Vectors side by side in a map's loop: when, how many, and no bit of a result changes."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.backends import render
from staticgrad.codegen import stages
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.codegen.kernel_runs import run
from tests.diagonals import diagonals
from tests.native.support import MODES, assert_same

LINES = "".join(f"    %{k}: f32 = mul %{k - 1}, %{k - 1}\n" for k in range(3, 40))
TEXT = f"""\
kernel(p0: inout f32, p1: in f32, p2: out f32; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = load p1[i0]
    %2: f32 = add %0, %1
{LINES}    store p0[i0*n1 + j] = %39
    @r0: f32 = sum %39
  }}
  scalar {{
    store p2[i0] = @r0
  }}
}}
"""


def loop_of(text):
    """The head of a kernel's first loop along its vectors."""
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    lines = (line.strip() for line in render(kernel).splitlines())
    return next(line for line in lines if line.startswith(("while j", "for j")))


def test_bodies_that_wait_stand_side_by_side():
    assert loop_of(TEXT) == "while j + 64 <= stop:"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("store p0[i0*n1 + j]", "store p0[i0*n1 + j*2]"),  # another vector's element
        ("store p0[i0*n1 + j]", "store p0[i0]"),  # one element for all vectors
    ],
)
def test_vectors_that_meet_in_memory_stand_alone(old, new):
    assert "while j + 64" not in render(parse_kernel(TEXT.replace(old, new)))


@diagonals(
    2, ("sizes", [(2, 63), (2, 64), (1, 200), (2, 4096 + 130)]), ("mode", MODES), daily="vector"
)
def test_no_bit_depends_on_vectors_side_by_side(sizes, mode, monkeypatch):
    kernel = parse_kernel(TEXT)
    rng = np.random.default_rng(5)
    first = rng.uniform(-1, 1, sizes).astype("float32")
    added = rng.uniform(-0.01, 0.01, sizes[0]).astype("float32")

    def results():
        given = {"p0": first.copy(), "p1": added, "p2": np.empty(sizes[0], "float32")}
        found = run(kernel, sizes, mode, given)
        return [found["p0"], found["p2"]]

    several = results()
    monkeypatch.setattr("staticgrad.codegen.stages.whole_vectors_of", lambda *_: 1)
    for one, other in zip(several, results(), strict=True):
        assert_same(one, other, "bytes")


def short_bodies():
    x = sg.input("x", (3, "n"), "float32")
    sums, most = sg.sum(x, axis=1), sg.max(x, axis=1)
    return sg.Graph({"y": sg.maximum(x * x - 1.0, 0.0), "sums": sums, "most": most})


@pytest.mark.thinned(2)
@pytest.mark.parametrize("backend", ["vector", "numba"])
def test_a_split_loop_changes_no_bit(backend, monkeypatch):
    rng = np.random.default_rng(5)
    feeds = [
        {"x": rng.normal(size=(3, n)).astype("float32")}
        for n in (1, 15, 16, 17, 31, 32, 33, 48, 100, 4095, 4096, 4097, 8200)
    ]
    found = []
    for longest in (0, 1000):
        monkeypatch.setattr(stages, "SHORT", longest)
        with sg.options(backend=backend):
            f = sg.compile(short_bodies())
            found.append([f.run(feed) for feed in feeds])
    for whole, split in zip(*found, strict=True):
        assert all(same_bytes(whole[name], split[name]) for name in whole)
