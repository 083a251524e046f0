"""Helpers whose copies would fill the processor's cache of code are called, with the same bytes."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.native import jit


def sines(count):
    """A sum of sines, each of other angles, and its gradient."""
    x = sg.input("x", ("n",), "float32")
    total = sum((sg.sin(x * (1.0 + 0.37 * k)) for k in range(count)), start=x)
    return sg.Graph({"y": total, "dx": sg.grad(total.sum(), x)}, name="sines")


def calls(graph):
    """How many calls of its kernels are not inlined."""
    texts = [jit.parts(kernel.source, "vector")[0][0] for kernel in sg.compile(graph).kernels]
    return sum(text.count(") noinline\n") for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, 15, 100, 1003])
def test_copies_that_would_be_long_are_calls_and_give_the_same_bytes(size):
    graph = sines(100)
    x = np.random.default_rng(size).normal(scale=30.0, size=size).astype("float32")
    together, apart = (sg.compile(graph, fuse=fuse).run({"x": x}) for fuse in (True, False))
    for name, found in together.items():
        assert found.tobytes() == apart[name].tobytes()
    angles = np.multiply.outer(1.0 + 0.37 * np.arange(100), x.astype("float64"))
    np.testing.assert_allclose(together["y"], x + np.sin(angles).sum(axis=0), rtol=1e-3, atol=2e-3)


def test_only_those_are_called_that_a_kernel_has_often():
    assert calls(sines(4)) == 0
    assert calls(sines(100)) >= 200  # of sines and of cosines, in the loop of whole vectors alone
