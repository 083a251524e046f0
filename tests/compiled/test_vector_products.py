"""Products with one row, one column or one inner index: sums by the lane rule, however they lie."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ir.summation import tree_sum
from staticgrad.language.ops.contract import MatMul
from tests.compiled.agreement import assert_same
from tests.helpers.diagonals import diagonals

#: (rows, inner, columns)
SIZES = [(1, 33, 1), (40, 17, 1), (1, 300, 40), (9, 1, 20), (1, 1, 1), (1, 4097, 9), (5, 0, 1)]
FLAGS = [(False, False), (True, False), (False, True), (True, True)]


def lane_product(a, b):
    """The lane rule over the inner axis of a[..., i, k] and b[..., k, j]."""
    if a.shape[-1] == 1:
        return a * b
    terms = a[..., :, None, :] * np.swapaxes(b, -1, -2)[..., None, :, :]
    return tree_sum(terms, (terms.ndim - 1,))


def operands(sizes, flags, dtype, batch=()):
    """Two matrices as they are stored, and as the product reads them."""
    rng = np.random.default_rng(list(sizes))
    rows, inner, columns = sizes
    stored = []
    for (m, n), flag in zip(((rows, inner), (inner, columns)), flags, strict=True):
        shape = (*batch, n, m) if flag else (*batch, m, n)
        stored.append((rng.normal(size=shape) * 9).astype(dtype))
    read = [np.swapaxes(x, -1, -2) if f else x for x, f in zip(stored, flags, strict=True)]
    return stored, read


@pytest.mark.thinned
@diagonals(2, ("flags", FLAGS), ("dtype", ["float32", "float64", "int32"]))
def test_they_follow_the_lane_rule_whatever_the_transposes(flags, dtype):
    outputs, feeds, references = {}, {}, {}
    for n, sizes in enumerate(SIZES):
        stored, read = operands(sizes, flags, dtype)
        a, b = (
            sg.input(f"{name}{n}", x.shape, dtype) for name, x in zip("ab", stored, strict=True)
        )
        outputs[str(sizes)] = MatMul(*flags)(a, b)
        feeds |= {f"a{n}": stored[0], f"b{n}": stored[1]}
        references[str(sizes)] = lane_product(*read)
    for options in ({}, {"pipeline": "O0"}, {"fuse": False}):
        assert_same(sg.compile(outputs, **options).run(feeds), references, options)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_those_that_add_down_follow_the_column_rule(flags):
    """But for a product of two vectors, which has no rows to add down; and whoever moves flags."""
    feeds, references, outputs = {}, {}, {}
    for n, sizes in enumerate([(40, 1300, 1), (1, 300, 40), (1, 33, 1), (9, 1, 20), (5, 0, 1)]):
        stored, (left, right) = operands(sizes, flags, "float32")
        a, b = (
            sg.input(f"{name}{n}", x.shape, "float32") for name, x in zip("ab", stored, strict=True)
        )
        name, transposed = str(sizes), not flags[0]
        outputs[name] = MatMul(*flags, True)(a, b)
        outputs[f"{name} transposed"] = MatMul(transposed, flags[1], True)(sg.transpose(a), b)
        down = tree_sum(left.T[:, :, None] * right[:, None, :], (0,))
        follows_lanes = sizes[0] == sizes[2] or sizes[1] == 1
        references[name] = references[f"{name} transposed"] = (
            lane_product(left, right) if follows_lanes else down
        )
        feeds |= {f"a{n}": stored[0], f"b{n}": stored[1]}
    for options in ({}, {"pipeline": "O0"}, {"fuse": False}):
        assert_same(sg.compile(outputs, **options).run(feeds), references, options)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_matrices_are_read_in_long_runs_to_the_same_bits(dtype):
    outputs, feeds, expected = {}, {}, {}
    for rows in (517, 4200):  # of two blocks; 1,100 columns are more than a run, not whole vectors
        (a, b), _ = operands((1, rows, 1100), (False, False), dtype)
        feeds |= {f"a{rows}": a, f"b{rows}": b}
        terms = a.T * b
        inputs = [sg.input(f"{name}{rows}", x.shape, dtype) for name, x in (("a", a), ("b", b))]
        for down in (False, True):
            outputs[f"{rows} {down}"] = MatMul(down=down)(*inputs)
            summed = tree_sum(terms, (0,)) if down else tree_sum(terms.T, (1,))
            expected[f"{rows} {down}"] = summed[None]
    for threads in (1, 3):
        assert_same(sg.compile(outputs, threads=threads).run(feeds), expected, threads)


def test_batches_broadcast():
    (a, _), _ = operands((6, 50, 1), (False, False), "float32", (4, 3))
    (_, b), _ = operands((6, 50, 1), (False, False), "float32", (3,))
    x, y = sg.input("x", a.shape, "float32"), sg.input("y", b.shape, "float32")
    actual = sg.compile(x @ y).run({"x": a, "y": b})
    assert same_bytes(actual, lane_product(a, np.broadcast_to(b, (4, 3, 50, 1))))


def test_transposes_that_rewrites_move_change_no_byte():
    """A broadcast of a transpose is not a transpose of a broadcast to whom looks at flags alone."""
    x, y = sg.input("x", (40,), "float32"), sg.input("y", (70,), "float32")
    spread = sg.broadcast_to(sg.expand_dims(x, 1), (40, 70))
    ways = {
        "one": spread @ y,
        "two": sg.transpose(sg.broadcast_to(x, (70, 40))) @ y,
        "three": sg.transpose(sg.transpose(spread)) @ y,
        "four": sg.transpose(y @ sg.broadcast_to(x, (70, 40))),
    }
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=40).astype("f4"), "y": rng.normal(size=70).astype("f4")}
    results = [
        array
        for level in ("O0", "O1")
        for array in sg.compile(ways, pipeline=level).run(feeds).values()
    ]
    for array in results[1:]:
        assert same_bytes(array, results[0])


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_products_of_few_terms_go_from_registers_to_memory(dtype):
    """Each row once, also where the result is written over what is added to it: no row of a last
    few may be computed twice."""
    random = np.random.default_rng(4)
    for rows, inner, columns in (
        (3, 2, 5),
        (9, 3, 33),
        (113, 7, 40),
        (6, 8, 2100),
        (61, 2, 300),
        (61, 1, 150),
    ):
        a, b, start = (
            random.integers(-4, 4, shape).astype(dtype)
            for shape in ((rows, inner), (inner, columns), (rows, columns))
        )
        x, y = sg.input("x", ("m", "k"), dtype), sg.input("y", ("k", "n"), dtype)
        transposed = sg.input("transposed", ("k", "m"), dtype)
        sums = sg.compile(sg.Graph({"nn": x @ y, "tn": transposed.T @ y}))
        actual = sums.run({"x": a, "y": b, "transposed": np.ascontiguousarray(a.T)})
        assert same_bytes(actual["nn"], a @ b)
        assert same_bytes(actual["tn"], a @ b)
        if columns == 40:  # of a number of rows that is named, two or more
            literal_rows, wide = (
                sg.input("x", ("m", inner), dtype),
                sg.input("y", b.shape[::-1], dtype),
            )
            half = sg.compile(sg.Graph({"nn": literal_rows @ sg.transpose(wide)}))
            for part in (a, a[:2], a[:1]):
                actual = half.run({"x": part, "y": np.ascontiguousarray(b.T)})
                assert same_bytes(actual["nn"], part @ b)
        if dtype != "int32":
            w = sg.parameter("w", start)
            sg.compile(sg.Graph({}, updates={w: w - x @ y})).run({"x": a, "y": b})
            assert same_bytes(w.value, start - a @ b)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("named", [0, 1])
def test_one_inner_index_may_have_a_name_in_one_factor(named, flags):
    """A name that must be 1 was spread over the rows of the other factor."""
    stored, (left, right) = operands((64, 1, 9), flags, "float32")
    shapes = [x.shape for x in stored]
    shapes[named] = tuple("n" if size == 1 else size for size in shapes[named])
    a, b = (sg.input(name, shape) for name, shape in zip("ab", shapes, strict=True))
    actual = sg.compile(MatMul(*flags)(a, b)).run(dict(zip("ab", stored, strict=True)))
    assert same_bytes(actual, left * right)


def product(terms, rows, columns, transposed, dtype):
    """a.T @ b and a step by it, each factor as it is or stored the other way round."""
    shapes = ((terms, rows), (terms, columns))
    a, b = (
        sg.input(name, shape[::-1] if is_transposed else shape, dtype)
        for name, shape, is_transposed in zip("ab", shapes, transposed, strict=True)
    )
    w = sg.input("w", (rows, columns), dtype)
    y = sg.matmul(a if transposed[0] else a.T, b.T if transposed[1] else b)
    return sg.Graph({"y": y, "stepped": w - 0.25 * y})
