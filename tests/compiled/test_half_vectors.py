"""Rows that fill half of a vector at most: maps in narrower registers, to the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_bytes_are_those_of_the_evaluator(dtype: str) -> None:
    rng, sources = np.random.default_rng(5), ""
    for width in (3, 7, 8):
        x = sg.input("x", (2, 3, 4, width + 1), dtype)
        graph = sg.Graph({"y": sg.nn.max_pool(x, (3, 2), stride=1, padding=((1, 1), (0, 0)))})
        at = {"x": rng.integers(-9, 9, x.shape).astype(dtype)}
        program = sg.compile(graph, threads=2)
        found, wanted = program.run(at)["y"], sg.evaluate(graph, at)["y"]
        assert same_bytes(np.asarray(found), np.asarray(wanted)), width
        sources += "".join(kernel.source for kernel in program.kernels)
    half = 4 if dtype == "float64" else 8
    assert (f"m{half} = mask{half}(" in sources) == (dtype != "float16")  # of 128 bits


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 16), ("float64", 8)])
def test_only_rows_of_half_a_vector_take_half_of_one(dtype: str, lanes: int) -> None:
    for width, taken in ((lanes // 2 - 1, lanes // 2), (lanes // 2 + 1, lanes)):
        x, w = sg.input("x", (2, 3, 4, width), dtype), sg.input("w", (3, 1, 3, 3), dtype)
        (kernel,) = sg.compile(sg.nn.conv(x, w, padding=1, groups=3)).kernels
        assert f"mask{taken}({width})" in kernel.source


@pytest.mark.thinned(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_under_masks_that_wait_on_the_stack_stay_in_their_array(dtype: str) -> None:
    rng = np.random.default_rng(6)
    x, s = sg.input("x", (5, 3, 4, 8), dtype), [sg.input(n, (3, 1, 1), dtype) for n in "abcd"]
    y = sg.nn.relu((x - s[0]) * s[1] * s[2] + s[3])
    pooled, w = sg.nn.max_pool(y, (2, 2)), sg.input("w", (5, 3, 2, 4), dtype)
    loss = (sg.tanh(pooled) * w).sum()
    graph = sg.Graph({"of_x": sg.grad(loss, x), "of_b": sg.grad((pooled * w * w).sum(), s[1])})
    at = {name: rng.normal(size=(3, 1, 1)).astype(dtype) for name in "abcd"}
    at |= {"x": rng.normal(size=x.shape).astype(dtype), "w": rng.normal(size=w.shape).astype(dtype)}
    found, wanted = sg.compile(graph, debug=True).run(at), sg.evaluate(graph, at)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4, err_msg=name)
