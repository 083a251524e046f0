"""Vectors side by side in a map's loop: when, how many, and no bit of a result changes."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.backends import render
from staticgrad.codegen import stages
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.native.machine import Machine
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


def test_bodies_of_many_streams_stand_alone():
    loads = [f"    %{n}: f32 = load p1[j*{n}]\n" for n in range(40, 60)]
    sums = [f"    %{n + 20}: f32 = add %{n}, %{n + 19}\n" for n in range(40, 60)]
    text = TEXT.replace("    store p0", "".join([*loads, *sums]) + "    store p0")
    assert "j + 16 <= stop" in render(parse_kernel(text.replace("sum %39", "sum %79")))


def chain(links):
    """A kernel of so many multiplications, each of the one before."""
    lines = [f"    %{k}: f32 = mul %{k - 1}, %{k - 1}\n" for k in range(2, links + 2)]
    start, end = TEXT.index("    %1:"), TEXT.index("    store p0")
    head, rest = TEXT[:start] + "    %1: f32 = mul %0, %0\n", TEXT[end:]
    return head + "".join(lines) + rest.replace("%39", f"%{links + 1}")


@pytest.mark.parametrize(("links", "bits", "count"), [(100, 512, 8), (100, 256, 4), (700, 512, 4)])
def test_chains_of_few_values_take_more(links, bits, count):
    source = render(parse_kernel(chain(links)), Machine(vector_bits=bits))
    assert f"while j + {16 * count} <= stop:" in source


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


def test_what_is_the_same_twice_is_written_once():
    x = sg.input("x", ("n",), "float32")
    y = sg.exp(x) * 2.0 + sg.tanh(sg.exp(x) * 2.0)
    source = sg.compile(y, pipeline="").kernels[0].source
    masked = source[source.index("while j < end") :]
    assert masked.count("exp_f32(") == 1
    assert masked.count("* f32x16(2.0)") == 1


@pytest.mark.slow
def test_a_row_of_one_vector_has_no_loop_and_makes_its_masks_before_all_rows():
    """Windows beyond both ends of a row; what depends on the row's place is made for each."""
    array = np.random.default_rng(2).normal(size=(3, 5, 6, 37)).astype("float32")
    for wide in (7, 37):
        x = sg.input("x", ("n", 5, 6, wide))
        graph = sg.Graph({"y": sg.nn.avg_pool(x, 3, stride=1, padding=1, count_include_pad=False)})
        found = (kernel.source for kernel in sg.compile(graph, threads=1).kernels)
        source = next(text for text in found if "for i2 in" in text)
        assert ("for j in" in source or "while j" in source) == (wide == 37)
        rows = source[source.index("for i2 in") :].splitlines()
        masks = [line for line in rows if " = mask" in line and "i2" not in line]
        assert bool(masks) == (wide == 37)
        given = {"x": array[..., :wide]}
        wanted = sg.evaluate(graph, given)["y"]
        for backend in ("vector", "numba"):
            y = sg.compile(graph, backend=backend).run(given)["y"]
            np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def short_bodies():
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
