"""Streaming stores: the results that they write, bitwise equal to those of other stores."""

import numpy as np
import pytest

import staticgrad as sg
from tests.compiled.agreement import assert_same

#: As many rows as no cache holds, as the hint tells; what runs has fewer.
ROWS = sg.dim("rows", hint=1 << 16)
WIDTH = 264


def count_streaming_stores(graph):
    """The streaming stores in a program's kernels."""
    return str(sg.compile(graph).schedule).count(" stream p")


def layer_norm(x):
    gain = sg.input("gain", (WIDTH,), "float32")
    y = sg.nn.layer_norm(x, gain)
    return {"y": y, **dict(zip("ab", sg.grad((y * sg.sin(x)).sum(), [x, gain]), strict=True))}


def narrower(x):
    return {"half": sg.astype(x, "float16"), "wide": sg.astype(x, "float64")}


FORMS = {
    "two results of a map": (2, lambda x: {"a": sg.exp(x), "b": x * x}),
    "a map and its sums": (1, lambda x: {"a": x + 1.0, "s": (x * x).sum(axis=0)}),
    "rows": (1, lambda x: {"y": sg.nn.softmax(x)}),
    "rows with sums of columns": (2, layer_norm),
    "of several widths": (1, narrower),
    "transposed": (1, lambda x: {"t": x.T * 2.0}),
    "a copy": (1, lambda x: {"c": x[:, ::-1], "n": x.max()}),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", FORMS)
def test_large_results_are_streamed_with_the_same_bytes(name):
    count, form = FORMS[name]
    graphs = [
        sg.Graph(form(sg.input("x", (rows, WIDTH), "float32")))
        for rows in (ROWS, sg.dim("rows", hint=64))
    ]
    assert [*map(count_streaming_stores, graphs)] == [count, 0]
    f, plain = (sg.compile(graph, threads=2) for graph in graphs)
    random = np.random.default_rng(4)
    for rows in (1, 67):
        feeds = {"x": random.normal(size=(rows, WIDTH)).astype("f")}
        feeds |= {"gain": np.ones(WIDTH, "f")} if form is layer_norm else {}
        expected = plain.run(feeds)
        assert_same(f.run(feeds), expected)
        room = {key: np.empty(v.size + 1, v.dtype)[1:] for key, v in expected.items()}
        unaligned = {key: room[key].reshape(v.shape) for key, v in expected.items()}
        f.run(feeds, out=unaligned)
        assert_same(unaligned, expected)
