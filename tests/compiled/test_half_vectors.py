"""Rows that fill half of a vector at most: maps in narrower registers, to the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes


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
