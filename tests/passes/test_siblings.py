"""Reductions, and maps, of the same large arrays are one kernel that reads them once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.summation import tree_sum
from staticgrad.lowering.fuse import fuse
from tests.diagonals import diagonals


def logistic(rows: Any, columns: int, dtype: str, across: bool = False) -> dict[str, Any]:
    """Loss, gradient and Hessian-vector product of a logistic regression."""
    x = sg.input("x", (columns, rows) if across else (rows, columns), dtype)
    w, v = sg.input("w", (columns,), dtype), sg.input("v", (columns,), dtype)
    loss = sg.nn.softplus((x.T if across else x) @ w).sum()
    return {"loss": loss, "dw": sg.grad(loss, w), "hvp": sg.hvp(loss, w, v)}


def readers_of(outputs: dict[str, Any], name: str = "in.x") -> int:
    """How many kernels read an input."""
    schedule = fuse(pipeline("O1")(sg.Graph(outputs)))
    return sum(any(b.buffer == name for b in step.operands) for step in schedule.steps)


def drawn(outputs: dict[str, Any], **sizes: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for each in sg.Graph(outputs).inputs:
        shape = [sizes.get(str(extent), extent) for extent in each.shape]
        found[each.node.op.label] = rng.normal(size=shape).astype(each.dtype.numpy)
    return found


def assert_bytes_of_single_kernels(outputs: dict[str, Any], **sizes: int) -> None:
    feeds = drawn(outputs, **sizes)
    wanted = sg.compile(outputs, fuse=False).run(feeds)
    for threads in (1, 3):
        found = sg.compile(outputs, threads=threads).run(feeds)
        assert all(same_bytes(found[name], array) for name, array in wanted.items())


@pytest.mark.parametrize("across", [False, True])
def test_a_loss_its_gradient_and_its_curvature_read_the_matrix_together(across: bool) -> None:
    """Once where the slope is known at the end of a row, twice where it is at the end of all."""
    wanted = 2 if across else 1
    assert readers_of(logistic(700, 100, "float32", across)) == wanted
    assert readers_of(logistic("n", 100, "float32", across)) == wanted


@pytest.mark.thinned
@diagonals(
    2,
    ("across", [False, True]),
    ("rows,columns", [(4500, 37), (700, 100), (257, 300)]),
    ("dtype", ["float32", "float64"]),
)
def test_bytes_are_those_of_single_kernels(
    rows: int, columns: int, dtype: str, across: bool
) -> None:
    """Rests of lanes, of blocks, of vectors, and of rows side by side."""
    assert_bytes_of_single_kernels(logistic(rows, columns, dtype, across))


@pytest.mark.thinned(5)
@pytest.mark.parametrize("rows", [0, 1, 15, 64, 65, 4097])
def test_bytes_at_any_size_of_a_named_axis(rows: int) -> None:
    assert_bytes_of_single_kernels(logistic("n", 48, "float32"), n=rows)


@pytest.mark.parametrize("size", ["n", 70_000])
def test_a_reduction_that_reads_another_of_one_row_waits_for_it(size: Any) -> None:
    """They were one kernel, which read what it had not written yet, and the program was refused."""
    x, a = sg.input("x", (size,), "float32"), sg.input("a", (size,), "float32")
    least = x.min()
    outputs = {"least": least, "rest": sg.where(x > least, 0.0, a).sum()}
    assert readers_of(outputs) == 2
    assert_bytes_of_single_kernels(outputs, n=300)


def test_what_waits_for_the_other_reads_the_matrix_again() -> None:
    x = sg.input("x", (400, 400), "float32")
    w = sg.input("w", (400,), "float32")
    apart = {"y": sg.tanh(x @ w) @ x, "z": x @ (x @ w)}
    assert readers_of(apart) == 3
    assert_bytes_of_single_kernels(apart)
    chained = {"y": x @ sg.tanh(x @ sg.tanh(x @ w))}
    assert readers_of(chained) == 3
    assert_bytes_of_single_kernels(chained)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [63, 64, 200, 4096 + 129])
def test_sums_across_memory_follow_the_rule(rows: int, dtype: str) -> None:
    """NumPy's side of the rule adds the same terms: rows of several lanes, blocks, and rests."""
    x, u, v = (
        sg.input(n, s, dtype) for n, s in (("x", (rows, 48)), ("u", (rows,)), ("v", (rows,)))
    )
    feeds = drawn({"a": (u + v) @ x})
    found = sg.compile({"a": u @ x, "b": v @ x}).run(feeds)
    for name, factor in (("a", feeds["u"]), ("b", feeds["v"])):
        assert same_bytes(found[name], tree_sum(feeds["x"].T * factor, (1,)))


def test_only_so_many_at_a_time() -> None:
    """Of each sum there are accumulators, and those have to lie near."""
    x = sg.input("x", (300, 300), "float32")
    vectors = [sg.input(f"v{k}", (300,), "float32") for k in range(9)]
    outputs = {f"y{k}": v @ x for k, v in enumerate(vectors)}
    assert readers_of(outputs) == 3
    assert_bytes_of_single_kernels(outputs)


def test_sums_of_several_dtypes_read_the_array_together() -> None:
    x = sg.input("x", (500, 200), "float32")
    wide = x.astype("float64")
    u = sg.input("u", (500,), "float32")
    outputs = {"a": u @ x, "b": (wide * wide).sum(0), "c": x.sum(1), "d": wide.sum(1)}
    assert_bytes_of_single_kernels(outputs)


@pytest.mark.slow
def test_a_budget_holds_and_keeps_the_bytes() -> None:
    """What is merged runs in the first phase that it can: policies may run it again."""
    x = sg.input("x", (700, 100), "float32")
    w, v = sg.input("w", (100,), "float32"), sg.input("v", (100,), "float32")
    h = sg.tanh(x @ w)
    for _ in range(3):
        h = sg.tanh(h * h)
    loss = (h * h).sum()
    outputs = {"loss": loss, "dw": sg.grad(loss, w), "hvp": sg.hvp(loss, w, v)}
    feeds = drawn(outputs)
    wanted = sg.compile(outputs, fuse=False).run(feeds)
    for policy in ("store_all", "recompute", "sqrt"):
        f = sg.compile(outputs, checkpoint=policy)
        found = f.run(feeds)
        assert f.peak_bytes == f.plan().peak_bytes
        assert all(same_bytes(found[name], array) for name, array in wanted.items())


def transposed(way: str, rows: Any = 300) -> dict[str, Any]:
    """Both parts of a rotation, each of four arrays, and where they go."""
    x, cosine = sg.input("x", (rows, 512), "float32"), sg.input("c", (rows, 256), "float32")
    sine, w = sg.input("s", (rows, 256), "float32"), sg.input("w", (rows, 512), "float32")
    a, b = (x[:, ::2], x[:, 1::2]) if way == "pairs" else (x[:, :256], x[:, 256:])
    one, other = a * cosine - b * sine, a * sine + b * cosine
    if way == "apart":
        return {"one": one, "other": other}
    if way == "far":  # one is read, and gone, before the other is
        return {"y": sg.cumsum(one, 1)[:, -1] * sg.cumsum(other, 1)[:, -1]}
    both = sg.reshape(sg.stack([one, other], axis=-1), x.shape)
    both = both if way == "pairs" else sg.concatenate([one, other], axis=1)
    return {"z": both} if way != "slopes" else {"g": sg.grad((both * w).sum(), x)}


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    ("way", "kernels"), [("apart", 1), ("halves", 1), ("pairs", 1), ("slopes", 1), ("far", 2)]
)
def test_maps_of_the_same_arrays_read_them_once(way: str, kernels: int) -> None:
    """Where what they store lives at the same time. Of the last, one is read before the other."""
    assert readers_of(transposed(way), "in.c") == kernels
    assert readers_of(transposed(way, "n"), "in.c") == kernels
    assert_bytes_of_single_kernels(transposed(way))
    assert_bytes_of_single_kernels(transposed(way, "n"), n=17)


def test_maps_that_differ_in_one_array_stay_apart() -> None:
    x, y, z = (sg.input(name, (300, 256), "float32") for name in "xyz")
    assert readers_of({"one": x * y, "other": x + y * z}) == 2
