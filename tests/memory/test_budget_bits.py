"""Budgets and policies change no bit, but where ``explain`` says so."""

import numpy as np
import pytest

import staticgrad as sg

ROWS, WIDTH, COLUMNS = 64, 4, 600
SAYS = "differ in the last digits from those without memory_budget= and checkpoint="
QUICK = [{"memory_budget": 0.5}, {"checkpoint": "recompute"}]
OPTIONS = [*QUICK, {"memory_budget": 0.9}, {"memory_budget": 0.25}, {"checkpoint": "sqrt"}]


@pytest.fixture(autouse=True)
def low_limits():
    """Products of 128 KB are wide, and chunks have 16 rows and more."""
    with sg.options(limits={"wide_product": 1 << 17, "chunk_rows": 16}):
        yield


def inputs(dtype, rows=ROWS):
    return (
        sg.input("x", (rows, WIDTH), dtype),
        sg.input("w", (WIDTH, COLUMNS), dtype),
        sg.input("y", (rows,), "int64"),
    )


def with_gradients(loss, *wrt):
    return {"loss": loss, **{f"by{k}": g for k, g in enumerate(sg.grad(loss, [*wrt]))}}


def cross_entropy(dtype):
    x, w, y = inputs(dtype)
    return with_gradients(sg.nn.cross_entropy(x @ w, y), x, w)


def cross_entropy_of_named_rows(dtype):
    x, w, y = inputs(dtype, sg.dim("rows", hint=ROWS))
    return with_gradients(sg.nn.cross_entropy(x @ w, y), x, w)


def squares(dtype):
    x, w, _ = inputs(dtype)
    return with_gradients((sg.nn.relu(x @ w) ** 2).mean(), x, w)


def largest(dtype):
    x, w, _ = inputs(dtype)
    return with_gradients(sg.nn.logsumexp(x @ w, axis=1).sum(), x, w)


def normalized_columns(dtype):
    x, w, _ = inputs(dtype)
    product = x @ w
    centred = product - product.mean(axis=0)
    return with_gradients((centred / sg.sqrt((centred**2).mean(axis=0) + 0.1)).max(1).sum(), x, w)


def layers(dtype):
    x, w, _ = inputs(dtype)
    h = x
    for _ in range(6):
        h = sg.tanh(h @ w[:, :WIDTH])
    return with_gradients((h * h).sum(), x, w)


def recurrence(dtype):
    x, w, _ = inputs(dtype)
    start = sg.zeros((ROWS, WIDTH), dtype)
    last, _ = sg.scan(
        lambda h, k: (sg.tanh(h @ w[:, :WIDTH] + x * k), None), start, sg.arange(6, dtype=dtype)
    )
    return with_gradients((last * last).sum(), x, w)


def elementwise(dtype):
    x, w, _ = inputs(dtype)
    return with_gradients(sg.sin(sg.exp(w) * 0.1).sum() + sg.tanh(x).sum(), x, w)


PROGRAMS = [
    cross_entropy, cross_entropy_of_named_rows, squares, largest, normalized_columns, layers,
    recurrence, elementwise,
]  # fmt: skip


def check(make, dtype, all_options):
    """Compare bits and what ``explain`` says with and without options, and without the pass."""
    draw = np.random.default_rng(0)
    values = {
        "x": draw.normal(size=(ROWS, WIDTH)).astype(dtype),
        "w": draw.normal(size=(WIDTH, COLUMNS)).astype(dtype),
        "y": draw.integers(0, COLUMNS, ROWS),
    }
    graph = sg.Graph(make(dtype))
    feeds = {value.name: values[value.name] for value in graph.inputs}
    sizes = {"sizes": {"rows": ROWS}} if graph.sizes else {}
    plain = sg.compile(graph, threads=1, **sizes)
    assert SAYS not in plain.explain()
    expected = plain.run(feeds)
    differ = set()
    for options in all_options:
        says = True
        for disable in ((), ("recomputed-products",)):
            if not says:
                break
            try:
                f = sg.compile(graph, threads=1, disable=[*disable], **sizes, **options)
            except sg.errors.BudgetInfeasible:
                break
            actual = f.run(feeds)
            is_equal = all(np.array_equal(actual[name], expected[name]) for name in expected)
            says = SAYS in f.explain()
            assert is_equal or says, (options, disable)
            assert not (says and disable)
            if says:
                assert "disable=['recomputed-products']" in f.explain()
                differ.add(is_equal)
            for name, array in expected.items():  # close in any case
                scale = np.abs(array).max() + 1.0
                tolerance = 1e-4 if dtype == "float32" else 1e-12
                assert np.abs(actual[name] - array).max() <= tolerance * scale
    if make in (cross_entropy, squares):
        assert False in differ, "no budget brought in the pass"
    if make in (layers, recurrence, elementwise):
        assert not differ


@pytest.mark.parametrize("make", [cross_entropy, squares, layers, recurrence])
def test_other_bits_are_said(make):
    check(make, "float32", QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("make", PROGRAMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_bits_are_said_for_every_budget(make, dtype):
    check(make, dtype, OPTIONS)
