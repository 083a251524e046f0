"""Wide products in chunks of rows: the values, and the bytes that chunks save."""

import numpy as np
import pytest

import staticgrad as sg

WIDTH = 4
COLUMNS = 33_000  # 512 rows of these are wide
GENERATOR = np.random.default_rng(0)


def rows(count):
    return GENERATOR.standard_normal((count, WIDTH)).astype(np.float32)


def columns():
    return GENERATOR.standard_normal((WIDTH, COLUMNS)).astype(np.float32)


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def in_chunks(program):
    return "row-chunks:" in program.explain()


def arena(program):
    (line,) = [line for line in program.explain().splitlines() if line.startswith("arena: ")]
    return int(line.split()[1])


def check(program, feeds, expected):
    results = program.run(feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(results[name], array, rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(("count", "smoothing"), [(512, 0.25), (515, 0.0)])
def test_losses_of_logits_that_are_never_stored_whole(count, smoothing):
    hidden, matrix = rows(count), columns()
    labels = GENERATOR.integers(0, COLUMNS, count)
    h, w = sg.input("h", (count, WIDTH), "float32"), sg.input("w", (WIDTH, COLUMNS), "float32")
    b, y = sg.input("b", (COLUMNS,), "float32"), sg.input("y", (count,), "int64")
    loss = sg.nn.cross_entropy(h @ w + b, y, label_smoothing=smoothing)
    dh, dw, db = sg.grad(loss, [h, w, b])
    program = sg.compile(sg.Graph({"loss": loss, "dh": dh, "dw": dw, "db": db}))
    bias = GENERATOR.standard_normal(COLUMNS).astype(np.float32)

    logits = hidden.astype(np.float64) @ matrix + bias
    targets = np.full(logits.shape, smoothing / COLUMNS)
    targets[np.arange(count), labels] += 1.0 - smoothing
    error = (softmax(logits) - targets) / count
    expected = {
        "loss": -(targets * np.log(softmax(logits))).sum() / count,
        "dh": error @ matrix.T.astype(np.float64),
        "dw": hidden.T.astype(np.float64) @ error,
        "db": error.sum(0),
    }
    check(program, {"h": hidden, "w": matrix, "b": bias, "y": labels}, expected)
    assert in_chunks(program)
    assert arena(program) < 1.3 * logits.size * 4  # of two arrays of logits before


def test_a_batch_of_sequences_is_chunked_where_its_axes_are_joined():
    hidden, matrix = rows(512).reshape(4, 128, WIDTH), columns()
    labels = GENERATOR.integers(0, COLUMNS, (4, 128))
    h, w = sg.input("h", hidden.shape, "float32"), sg.input("w", (WIDTH, COLUMNS), "float32")
    y = sg.input("y", (4, 128), "int64")
    loss = sg.nn.cross_entropy((h @ w).reshape(512, COLUMNS), y.reshape(512))
    program = sg.compile(sg.Graph({"loss": loss, "dh": sg.grad(loss, h)}))

    logits = hidden.reshape(512, WIDTH).astype(np.float64) @ matrix
    error = softmax(logits)
    log_likelihood = np.log(error[np.arange(512), labels.ravel()])
    error[np.arange(512), labels.ravel()] -= 1.0
    expected = {
        "loss": -log_likelihood.mean(),
        "dh": (error @ matrix.T.astype(np.float64) / 512).reshape(hidden.shape),
    }
    check(program, {"h": hidden, "w": matrix, "y": labels}, expected)
    assert in_chunks(program)


def test_distillation_reads_two_products_chunk_by_chunk():
    hidden, student, teacher = rows(512), columns(), columns()
    h, w = sg.input("h", (512, WIDTH), "float32"), sg.input("w", (WIDTH, COLUMNS), "float32")
    t = sg.input("t", (WIDTH, COLUMNS), "float32")
    likelihood = sg.nn.softmax(h @ t / 2.0) * sg.nn.log_softmax(h @ w / 2.0)
    program = sg.compile(sg.Graph({"dw": sg.grad(-likelihood.sum(-1).mean(), w)}))

    probabilities = softmax(hidden.astype(np.float64) @ teacher / 2.0)
    error = (softmax(hidden.astype(np.float64) @ student / 2.0) - probabilities) / 2.0 / 512
    expected = {"dw": hidden.T.astype(np.float64) @ error}
    check(program, {"h": hidden, "w": student, "t": teacher}, expected)
    assert in_chunks(program)
    assert arena(program) < 3 * 256 * COLUMNS * 4 + 2 * student.nbytes


def test_nearest_neighbours_store_no_matrix_of_distances():
    points, others = rows(1024), columns()
    x, c = sg.input("x", points.shape, "float32"), sg.input("c", others.shape, "float32")
    distances = (x * x).sum(1, keepdims=True) - 2.0 * (x @ c) + (c * c).sum(0)
    program = sg.compile(sg.Graph({"near": distances.min(1), "which": sg.argmin(distances, 1)}))

    squares = ((points.astype(np.float64)[:, :, None] - others) ** 2).sum(1)
    results = program.run({"x": points, "c": others})
    np.testing.assert_allclose(results["near"], squares.min(1), atol=1e-5)
    nearest = np.take_along_axis(squares, np.asarray(results["which"])[:, None], 1)[:, 0]
    np.testing.assert_allclose(nearest, squares.min(1), atol=1e-5)
    assert in_chunks(program)
    assert arena(program) < squares.size * 4 // 2


ROWS_OF_OTHERS = {
    "a slice behind the first row": lambda of, x: x[1:],
    "rows from the last one": lambda of, x: x[:-1][::-1],
    "every second row": lambda of, x: of.concatenate([x[:-1], x[:-1]])[::2],
    "a reshape that mixes rows": lambda of, x: (x[:-1].reshape(COLUMNS, 512) * 1.5).reshape(
        512, -1
    ),
    "positions along the rows": lambda of, x: x[:-1] * of.arange(512.0)[:, None],
    "a triangle": lambda of, x: of.tril(x[:-1]),
    "a transpose": lambda of, x: (x[:-1].T * 2.0).T,
    "running sums of rows": lambda of, x: of.cumsum(x[:-1] * 0.125, 0),
    "rows less their mean": lambda of, x: x[:-1] - x[:-1].mean(0),
    "rows by an index": lambda of, x: of.take_along_axis(
        x[:-1], of.broadcast_to(of.arange(511, -1, -1)[:, None], (512, COLUMNS)), 0
    ),
}


@pytest.mark.parametrize("way", ROWS_OF_OTHERS)
def test_wide_operands_are_read_at_the_rows_of_the_chunk(way):
    hidden, matrix = rows(512), columns()
    factors = GENERATOR.standard_normal((513, COLUMNS)).astype(np.float32)
    h, w = sg.input("h", hidden.shape, "float32"), sg.input("w", matrix.shape, "float32")
    x = sg.input("x", factors.shape, "float32")
    scaled = (h @ w) * ROWS_OF_OTHERS[way](sg, x)
    program = sg.compile(sg.Graph({"y": (scaled / COLUMNS).sum(1)}))

    wide = (hidden.astype(np.float64) @ matrix) * ROWS_OF_OTHERS[way](np, factors.astype(float))
    result = program.run({"h": hidden, "w": matrix, "x": factors})["y"]
    np.testing.assert_allclose(result, wide.sum(1) / COLUMNS, rtol=1e-3, atol=1e-3)
    assert in_chunks(program)


@pytest.mark.parametrize("way", ["stored", "by columns", "total"])
def test_products_that_something_reads_whole_are_not_divided(way):
    hidden, matrix = rows(512), columns()
    h, w = sg.input("h", (512, WIDTH), "float32"), sg.input("w", (WIDTH, COLUMNS), "float32")
    logits = h @ w
    wide = hidden.astype(np.float64) @ matrix
    if way == "stored":
        results, expected = {"y": logits}, {"y": wide}
    elif way == "by columns":
        results, expected = {"y": sg.nn.softmax(logits, 0).sum(1)}, {}
        expected["y"] = softmax(wide.T).T.sum(1)
    else:
        scale = sg.nn.softmax(logits).max()
        results = {"y": (sg.nn.softmax(logits) * scale).max(1)}
        expected = {"y": (softmax(wide) * softmax(wide).max()).max(1)}
    program = sg.compile(sg.Graph(results))
    check(program, {"h": hidden, "w": matrix}, expected)
    assert not in_chunks(program)
