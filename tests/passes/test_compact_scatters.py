"""A scatter-add of few rows that is read by element is looked up: equal bits, without the array."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.late.scatters import look_up_scattered_rows
from passes.pipelines import pipeline
from staticgrad.language.ops.indexing import IndexCopy
from tests.compiled.agreement import assert_same
from tests.compiled.ways import check, numbers
from tests.exporting.printed import load_exported

LIMITS = {"compact_elements": 1, "compact_row": 1}
WAYS = ({"threads": 2}, {"fuse": False}, {"backend": "numba"}, {"disable": ["compact-scatters"]})
TABLE, WIDTH = 4000, 64


def is_compact(graph):
    return look_up_scattered_rows(pipeline("O1")(graph)).has(IndexCopy)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(8, 60),
    trailing=st.lists(st.integers(1, 5), max_size=2),
    indices=st.lists(st.integers(-8, 7), min_size=1, max_size=2),
    dtype=st.sampled_from(["float32", "float64", "int64"]),
    is_matrix=st.booleans(),
)
def test_sums_are_those_of_numpy_in_the_order_of_the_indices(
    rows, trailing, indices, dtype, is_matrix
):
    shape = (1, len(indices)) if is_matrix else (len(indices),)
    places = np.array(indices).reshape(shape)
    added, base = numbers((*shape, *trailing), dtype), numbers((rows, *trailing), dtype, 1)
    x, at = sg.input("x", added.shape, dtype), sg.input("at", shape, "int64")
    p = sg.input("p", base.shape, dtype)
    summed = sg.scatter_add(x, at, rows)
    graph = sg.Graph({"y": p - summed * 2, "z": summed * summed})
    expected = np.zeros_like(base)
    with np.errstate(all="ignore"):
        np.add.at(expected, places, added)
        results = {"y": base - expected * 2, "z": expected * expected}
    feeds = {"x": added, "at": places, "p": base}
    with sg.options(limits=LIMITS):
        assert is_compact(graph) == (4 * len(indices) <= rows)
        for way in ({"threads": 1}, {"fuse": False}):
            assert_same(sg.compile(graph, **way).run(feeds), results, way)
        assert_same(sg.evaluate(look_up_scattered_rows(pipeline("O1")(graph)), feeds), results)


def embedding_step(optimizer, shape=(4, 25)):
    """Return the graph of a step that trains a table, whose rows a batch looks up."""
    ids = sg.input("ids", shape, "int64")
    draw = np.random.default_rng(0).normal
    table = sg.parameter("table", draw(size=(TABLE, WIDTH)).astype("float32"))
    w = sg.parameter("w", draw(size=(WIDTH, 3)).astype("float32"))
    loss = sg.mean(sg.tanh(table[ids] @ w) ** 2)
    return optimizer.minimize(loss, [table, w])


def batch(shape=(4, 25)):
    ids = np.random.default_rng(1).integers(-40, 40, shape)
    return {"ids": ids}


OPTIMIZERS = {
    "sgd": sg.optim.SGD(0.1),
    "momentum": sg.optim.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "adam": sg.optim.Adam(0.01),
    "adamw": sg.optim.AdamW(0.01),
    "rmsprop": sg.optim.RMSprop(0.01),
    "lion": sg.optim.Lion(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_stores_the_gradient_of_a_table(name):
    feeds, trained = batch(), []
    ways = ({}, {"threads": 2}, {"disable": ["compact-scatters"]}, {"fuse": False})
    for way in ways:
        f = sg.compile(embedding_step(OPTIMIZERS[name]), **way)
        if way in ways[:2]:
            assert f.peak_bytes < 4 * TABLE * WIDTH / 4
        for _ in range(3):
            f.run(feeds)
        trained.append({str(k): np.array(p.value) for k, p in enumerate(f.graph.parameters)})
    for way, values in zip(ways, trained, strict=True):
        assert_same(values, trained[0], way)


def test_a_batch_of_a_named_size_is_looked_up_at_every_size():
    graph = embedding_step(OPTIMIZERS["adam"], ("batch", 5))
    assert is_compact(graph)
    f, plain = (
        sg.compile(embedding_step(OPTIMIZERS["adam"], ("batch", 5)), disable=names)
        for names in ([], ["compact-scatters"])
    )
    for size in (3, 1, 2000, 0, 7):
        for program in (f, plain):
            program.run(batch((size, 5)))
        pairs = zip(f.graph.parameters, plain.graph.parameters, strict=True)
        assert all(a.value.tobytes() == b.value.tobytes() for a, b in pairs), size


def test_a_gradient_whose_norm_is_read_is_stored():
    assert is_compact(embedding_step(sg.optim.Adam(0.01, max_value=1.0)))
    assert not is_compact(embedding_step(sg.optim.Adam(0.01, max_norm=1.0)))


def test_an_output_and_a_product_of_a_scatter_are_not_looked_up():
    x, at = sg.input("x", (10, WIDTH)), sg.input("at", (10,), "int64")
    summed = sg.scatter_add(x, at, TABLE)
    rows = sg.input("rows", (WIDTH,))
    assert is_compact(sg.Graph({"y": summed * 2.0}))
    for outputs in (
        {"y": summed},
        {"y": summed * 2.0, "z": summed},
        {"y": summed * 2.0, "z": sg.exp(summed) @ rows},
        {"y": summed * sg.ones((2, 1, 1), "float32")},
        {"y": summed[:5] * 2.0},
    ):
        assert not is_compact(sg.Graph(outputs)), outputs


def test_many_or_short_rows_and_small_results_are_stored():
    def step(count, size, width):
        x, at = sg.input("x", (count, width)), sg.input("at", (count,), "int64")
        return sg.Graph({"y": sg.scatter_add(x, at, size) * 2.0})

    assert is_compact(step(TABLE // 4, TABLE, WIDTH))
    assert not is_compact(step(TABLE // 4 + 1, TABLE, WIDTH))
    assert not is_compact(step(10, 100_000, 8))
    assert not is_compact(step(10, 100, WIDTH))


def test_an_index_outside_of_the_table_is_the_same_error_and_leaves_parameters():
    x = sg.input("x", (3, WIDTH))
    at = sg.input("at", (3,), "int64")
    table = sg.parameter("table", np.ones((TABLE, WIDTH), "float32"))
    step = sg.Graph({}, updates={table: table - sg.scatter_add(x, at, TABLE)})
    feeds = {"x": np.ones((3, WIDTH), "float32"), "at": np.array([1, TABLE, 2])}
    errors = []
    for names in ([], ["compact-scatters"]):
        with pytest.raises(sg.errors.IndexOutOfRange) as error:
            sg.compile(step, disable=names).run(feeds)
        errors.append(str(error.value))
        assert (table.value == 1.0).all()
    assert "index 4000 is out of range for an axis of size 4000" in errors[0]
    assert errors[0].splitlines()[0] == errors[1].splitlines()[0]


def test_budgets_debugging_and_exported_files_give_the_same_bits(tmp_path):
    x, at = sg.input("x", (9, WIDTH)), sg.input("at", (9,), "int64")
    table = sg.input("table", (TABLE, WIDTH))
    graph = sg.Graph({"y": table - 0.1 * sg.scatter_add(sg.sin(x), at, TABLE)})
    random = np.random.default_rng(2)
    feeds = {
        "x": random.normal(size=(9, WIDTH)).astype("float32"),
        "at": np.array([3, 5, 3, -1, 7, 3, -1, 0, 3999]),
        "table": random.normal(size=(TABLE, WIDTH)).astype("float32"),
    }
    f = check(graph, feeds, ways=(*WAYS, {"debug": True}))
    budget = sg.compile(graph, memory_budget=f.peak_bytes)
    file = load_exported(f.export(tmp_path / "program.py"))
    result = f.run(feeds)
    assert_same(budget.run(feeds), result)
    assert_same(file["run"](feeds), result)
