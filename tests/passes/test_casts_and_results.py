"""Passes on chains of casts over all dtypes, and on ops with several results."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.ir.verify import verify_graph
from tests.passes.test_properties import PIPELINES, assert_same_bytes

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
)  # fmt: skip


def drawn(seed: int) -> tuple[sg.Graph, dict[str, np.ndarray]]:
    """Values of several dtypes, and results of ops with several, through chains of casts."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
    pool = []
    for name in ("a", "b"):
        dtype = str(rng.choice(DTYPES))
        pool.append(sg.input(name, (4, 4), dtype))
        low = 0 if dtype.startswith(("u", "b")) else -3
        feeds[name] = rng.integers(low, 4, (4, 4)).astype(dtype)
    matrix = sg.input("m", (4, 4), "float64")
    feeds["m"] = rng.normal(size=(4, 4))
    pool += [*sg.linalg.svd(matrix), *sg.linalg.qr(matrix), *sg.topk(matrix, 4)]
    for _ in range(12):
        value = pool[rng.integers(len(pool))]
        if rng.integers(3) == 0:
            of_float = value if value.dtype.is_float else value.astype("float64")
            pool.append(sg.exp(of_float))
        elif value.dtype.is_float and rng.integers(2):
            pool.append(value * 2.0)
        elif value.dtype.is_float:
            pool.append(value.astype(str(rng.choice(("float32", "float64")))))
        else:
            for _ in range(rng.integers(1, 4)):
                value = value.astype(str(rng.choice(DTYPES)))
                pool.append(value)
    return sg.Graph({f"y{n}": value for n, value in enumerate(pool)}), feeds


@pytest.mark.parametrize("text", PIPELINES)
def test_passes_change_no_value(text: str) -> None:
    run = pipeline(text)
    for seed in range(25):
        graph, feeds = drawn(seed)
        after = run(graph)
        verify_graph(after)
        assert_same_bytes(sg.evaluate(graph, feeds), sg.evaluate(after, feeds))


def test_functions_of_two_results_of_one_op_are_two_values() -> None:
    u, s, v = sg.linalg.svd(sg.input("x", (3, 3), "float64"))
    graph = sg.Graph({"a": sg.exp(u), "b": sg.exp(v), "c": s})
    after = pipeline("cse")(graph)
    assert [node.op.name for node in after.nodes].count("exp") == 2
    x = np.random.default_rng(0).normal(size=(3, 3))
    found, (left, _, right) = sg.evaluate(after, {"x": x}), np.linalg.svd(x)
    np.testing.assert_allclose(np.abs(np.log(found["a"])), np.abs(left), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.log(found["b"])), np.abs(right), atol=1e-12)


def test_a_cast_through_an_unsigned_dtype_is_not_left_out() -> None:
    for signed, unsigned in (("int32", "uint64"), ("int8", "uint16"), ("int16", "uint16")):
        x = sg.input("x", (2,), signed)
        f = sg.compile(x.astype(unsigned).astype("float64"))
        given = np.array([-1, 2], signed)
        np.testing.assert_array_equal(f.run({"x": given}), given.astype(unsigned).astype("f8"))
