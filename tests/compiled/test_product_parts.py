"""Products of few rows and columns over many terms: the bits of one sum, in several iterations."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.kernels.stages import Gemm
from staticgrad.lowering.fuse import fuse
from staticgrad.preparation.products import with_product_parts

RNG = np.random.default_rng(5)


def product(terms, rows, columns, transposed, dtype):
    """a.T @ b and a step by it, each factor as it is or stored the other way round."""
    shapes = ((terms, rows), (terms, columns))
    a, b = (
        sg.input(name, shape[::-1] if other else shape, dtype)
        for name, shape, other in zip("ab", shapes, transposed, strict=True)
    )
    w = sg.input("w", (rows, columns), dtype)
    y = sg.matmul(a if transposed[0] else a.T, b.T if transposed[1] else b)
    return sg.Graph({"y": y, "stepped": w - 0.25 * y})


def most_iterations(graph):
    """The iterations of the products that have most of them."""
    return max(
        int(step.total)
        for step in fuse(pipeline("O1")(graph)).steps
        for kernel in step.kernels()
        if any(isinstance(stage, Gemm) for stage in kernel.stages)
    )


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("terms", "rows", "columns", "transposed", "dtype"),
    [
        (8192, 5, 3, (False, False), "float32"),
        (10000, 32, 16, (False, False), "float64"),
        (12289, 2, 32, (True, False), "float32"),
        (20480, 17, 9, (False, True), "float64"),
        (9000, 33, 31, (True, True), "float32"),
        (135167, 2, 2, (False, False), "float32"),
    ],
)
def test_parts_have_the_bits_of_one_sum(terms, rows, columns, transposed, dtype):
    """With named terms there is one product; both give equal bytes, also on two threads."""
    shapes = ((terms, rows), (terms, columns))
    feeds = {"w": RNG.normal(size=(rows, columns)).astype(dtype)}
    for name, shape, other in zip("ab", shapes, transposed, strict=True):
        feeds[name] = RNG.normal(size=shape[::-1] if other else shape).astype(dtype)
    named, known = (product(size, rows, columns, transposed, dtype) for size in ("n", terms))
    assert most_iterations(known) == terms // 4096
    wanted = sg.compile(named).run(feeds)
    a, b = (feeds[name].astype("f8") for name in "ab")
    true = (a if transposed[0] else a.T) @ (b.T if transposed[1] else b)
    np.testing.assert_allclose(wanted["y"], true, atol=2e-3)
    for options in ({"threads": 1}, {"threads": 2}, {"fuse": False}):
        found = sg.compile(known, **options).run(feeds)
        assert all(same_bytes(found[name], wanted[name]) for name in wanted), options


@pytest.mark.parametrize(
    ("terms", "rows", "columns"),
    [(8191, 4, 4), (8192, 65, 4), (8192, 4, 33), ("n", 4, 4), (33 * 4096, 4, 4)],
)
def test_others_stay_one_product(terms, rows, columns):
    """Fewer terms, more rows or columns than one iteration has, more blocks than a sum's group."""
    graph = pipeline("O1")(product(terms, rows, columns, (False, False), "float32"))
    assert with_product_parts(graph) is graph
