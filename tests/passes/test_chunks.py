"""Wide products in chunks of rows: the values, and the bytes that chunks save."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.strategies import integers

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.language.ops.loops import Loop

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


def test_products_that_are_results_are_not_divided():
    hidden, matrix = rows(512), columns()
    h, w = sg.input("h", (512, WIDTH), "float32"), sg.input("w", (WIDTH, COLUMNS), "float32")
    program = sg.compile(sg.Graph({"y": h @ w}))
    check(program, {"h": hidden, "w": matrix}, {"y": hidden.astype(np.float64) @ matrix})
    assert not in_chunks(program)


# -- small programs, as the pass rewrites them; NumPy evaluates both graphs ------------------------


def squared_distances(x, y):
    return (x * x).sum(1, keepdims=True) + (y * y).sum(1) - 2.0 * (x @ y.T)


def contrastive(x, y, labels):
    scores = x @ y.T / 0.5
    diagonal = sg.arange(min(x.shape[0], y.shape[0]))
    by_rows = sg.nn.cross_entropy(scores[: diagonal.shape[0]], diagonal)
    return by_rows + sg.nn.cross_entropy(scores.T[: diagonal.shape[0]], diagonal)


def without_itself(x, y, labels):
    scores = sg.where(sg.eye(x.shape[0], dtype="bool"), -1e9, x @ x.T)
    return sg.nn.logsumexp(scores, 1).sum()


def chamfer(x, y, labels):
    distances = squared_distances(x, y)
    return distances.min(1).sum() + distances.min(0).sum()


def column_means(x, y, labels):
    means = sg.nn.softmax(x @ y.T).mean(0)
    return (means * sg.log(means)).sum()


def normalize_by_all(x, y, labels):
    scores = sg.nn.softmax(x @ y.T)
    return ((scores * scores.max()) ** 2).sum()


def normalize_columns(x, y, labels):
    scores = x @ y.T
    scores = (scores - scores.mean(0)) / sg.sqrt(scores.var(0) + 0.1)
    return (sg.tanh(scores) @ y).sum()


def mask(scores, least=0.2):
    """Return scores that are -inf in whole columns but the last, and below a number."""
    columns = sg.arange(scores.shape[1])
    hidden = (columns < scores.shape[1] - 1) & ((columns < 5) | (scores < least))
    return sg.where(hidden, -np.inf, scores)


#: Name -> a loss of points (n, 2), points (m, 2) and a label for each of the first.
LOSSES = {
    "cross entropy": lambda x, y, labels: sg.nn.cross_entropy(x @ y.T, labels),
    "focal": lambda x, y, labels: (
        (1.0 - sg.take_along_axis(sg.nn.softmax(x @ y.T), labels[:, None], 1)) ** 2
    ).sum(),
    "squared normalizer": lambda x, y, labels: (sg.nn.logsumexp(x @ y.T, 1) ** 2).sum(),
    "kernel of both": lambda x, y, labels: sg.exp(-squared_distances(x, y)).mean(),
    "kernel of one": lambda x, y, labels: (sg.exp(-squared_distances(x, x)) @ x).var(),
    "soft minimum": lambda x, y, labels: sg.nn.logsumexp(-squared_distances(x, y), 1).sum(),
    "softmax of columns": lambda x, y, labels: (sg.nn.softmax(x @ y.T, 0) ** 2).sum(),
    "two products in a row": lambda x, y, labels: sg.nn.cross_entropy(
        sg.tanh(sg.nn.softmax(x @ y.T) @ y) @ y.T, labels
    ),
    "largest ones": lambda x, y, labels: sg.topk(x @ y.T, 1)[0].sum(),
    "running sums": lambda x, y, labels: sg.cumsum(sg.tanh(x @ y.T), 1).mean(),
    "positions": lambda x, y, labels: (
        sg.tanh(x @ y.T) * (sg.arange(x.shape[0])[:, None] > sg.arange(y.shape[0]))
    ).sum(),
    "contrastive": contrastive,
    "without itself": without_itself,
    "chamfer": chamfer,
    "column means": column_means,
    "normalized by all": normalize_by_all,
    "normalized columns": normalize_columns,
    "masked": lambda x, y, labels: sg.nn.cross_entropy(mask(x @ y.T), labels),
    "nothing to sum": lambda x, y, labels: sg.exp(sg.nn.logsumexp(mask(x @ y.T, 0.0), 1)).sum(),
}


#: Losses of the first points alone, and those that take literal sizes.
OF_ONE = ("kernel of one", "without itself")
LITERAL = ("contrastive", "without itself", "positions")


def losses_and_gradients(name, count, width, named):
    sizes = (sg.dim("n", hint=count), sg.dim("m", hint=width)) if named else (count, width)
    x, y = (sg.input(of, (size, 2), "float64") for of, size in zip("xy", sizes, strict=True))
    labels = sg.input("labels", (sizes[0],), "int64")
    loss = LOSSES[name](x, y, labels)
    results = {"loss": loss, "dx": sg.grad(loss, x)}
    if name not in OF_ONE:
        results["dy"] = sg.grad(loss, y)
    return sg.Graph(results)


def divide(graph, elements, name="row-chunks"):
    """Return the graph with products of so many elements and more in chunks of four rows."""
    lower = {"wide_product": elements * 8, "chunk_rows": 4, "byte_flops": 1000, "chunk_share": 1000}
    with sg.options(limits=lower):
        return pipeline(f"O1,marks,{name}").run(graph)[0]


@pytest.mark.parametrize("by", ["row-chunks", "recomputed-products"])
@pytest.mark.parametrize("shape", [(), (16,), (12, 1), (1, 16), (1, 1), (2, 12, 16), (2, 1, 1)])
def test_chunks_of_products_whose_readers_broadcast(shape, by):
    """Operands of fewer axes, of axes of one element, and of more axes beside rows of a product."""
    x, y = (sg.input(name, (size, 3), "float64") for name, size in (("x", 12), ("y", 16)))
    factor = sg.input("factor", shape, "float64")
    rows = sg.sin((x @ y.T) * factor + 0.5)
    loss = (rows * sg.nn.softmax(rows, -1)).sum() + (factor * (x @ y.T)).sum(-1).sum()
    outputs = {"loss": loss}
    for value in (x, y) if len(shape) > 2 else (x, y, factor):  # its gradient is as wide
        outputs[f"d{value.name}"] = sg.grad(loss, value)
    graph = sg.Graph(outputs)
    changed = divide(graph, 12 * 16, by)
    assert any(isinstance(node.op, Loop) for node in changed.nodes)
    draw = np.random.default_rng(len(shape))
    feeds = {value.name: draw.standard_normal(value.shape) for value in (x, y, factor)}
    expected, results = sg.evaluate(graph, feeds), sg.evaluate(changed, feeds)
    for key, array in expected.items():
        np.testing.assert_allclose(results[key], array, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("by", ["row-chunks", "recomputed-products"])
def test_a_shift_that_reads_more_than_the_maximum_has_a_loop_of_its_own(by):
    """A sum of exponentials less the maximum and a variance, which a second loop finds."""
    x, y = sg.input("x", (40, 3), "float64"), sg.input("y", (6, 3), "float64")
    scores = x @ y.T
    largest = scores.max(0)
    variance = ((scores - largest) ** 2).sum(0)
    loss = (sg.exp(scores - (largest + 0.01 * variance)).sum(0) ** 1.5).sum()
    graph = sg.Graph({"loss": loss, "dx": sg.grad(loss, x)})
    changed = divide(graph, 40 * 6, by)
    assert not any(kind.shape == (40, 6) for node in changed.nodes for kind in node.types)
    draw = np.random.default_rng(0)
    feeds = {value.name: draw.standard_normal(value.shape) for value in (x, y)}
    products = feeds["x"] @ feeds["y"].T
    shift = products.max(0) + 0.01 * ((products - products.max(0)) ** 2).sum(0)
    by_hand = (np.exp(products - shift).sum(0) ** 1.5).sum()
    results, expected = sg.evaluate(changed, feeds), sg.evaluate(graph, feeds)
    np.testing.assert_allclose(results["loss"], by_hand, rtol=1e-12)
    np.testing.assert_allclose(results["dx"], expected["dx"], rtol=1e-9)


def check_small(name, count, width, named, other_count, by="row-chunks"):
    graph = losses_and_gradients(name, count, width, named)
    changed = divide(graph, count * (count if name in OF_ONE else width), by)
    if count >= 8 and width >= 8:
        assert any(isinstance(node.op, Loop) for node in changed.nodes)
    for number in (count, other_count) if named else (count,):
        draw = np.random.default_rng(number)
        feeds = {"x": draw.standard_normal((number, 2)), "y": draw.standard_normal((width, 2))}
        feeds["labels"] = draw.integers(0, width, number)
        feeds = {name: feeds[name] for name in (value.node.label for value in graph.inputs)}
        expected, results = sg.evaluate(graph, feeds), sg.evaluate(changed, feeds)
        for key, array in expected.items():
            np.testing.assert_allclose(results[key], array, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.thinned(5, budgeted=True)  # 3 s together
@pytest.mark.parametrize("name", LOSSES)
@given(count=integers(1, 30), width=integers(1, 30))
@example(count=24, width=9)
@example(count=9, width=9)
@settings(max_examples=4, deadline=None)
def test_loops_over_chunks_compute_what_the_graph_computes(name, count, width):
    for by in ("row-chunks", "recomputed-products"):
        check_small(name, count, count if name == "contrastive" else width, False, count, by)


@pytest.mark.parametrize("by", ["row-chunks", "recomputed-products"])
@pytest.mark.parametrize("name", [name for name in LOSSES if name not in LITERAL])
def test_rows_of_a_named_size_fill_any_number_of_chunks(name, by):
    for other_count in (1, 3, 4, 21):
        check_small(name, 24, 9, True, other_count, by)


def test_an_index_along_the_rows_is_checked():
    x, y = sg.input("x", (16, 2), "float64"), sg.input("y", (9, 2), "float64")
    index = sg.input("index", (9,), "int64")
    scores = x @ y.T
    loss = sg.take_along_axis(scores, index[None], 0).sum() + sg.exp(scores).sum(1).mean()
    graph = sg.Graph({"loss": loss, "dx": sg.grad(loss, x)})
    changed = divide(graph, scores.size)
    assert any(isinstance(node.op, Loop) for node in changed.nodes)
    draw = np.random.default_rng(0)
    feeds = {"x": draw.standard_normal((16, 2)), "y": draw.standard_normal((9, 2))}
    feeds["index"] = draw.integers(-16, 16, 9)
    expected, results = sg.evaluate(graph, feeds), sg.evaluate(changed, feeds)
    for key, array in expected.items():
        np.testing.assert_allclose(results[key], array, rtol=1e-9, err_msg=key)
    feeds["index"][3] = 16
    for program in (graph, changed):
        with pytest.raises(sg.errors.IndexOutOfRange):
            sg.evaluate(program, feeds)


# -- compiled --------------------------------------------------------------------------------------


def test_rows_of_a_named_size_are_compiled_once_for_all():
    h, w = sg.input("h", ("n", WIDTH), "float32"), sg.input("w", (WIDTH, COLUMNS), "float32")
    y = sg.input("y", ("n",), "int64")
    loss = sg.nn.cross_entropy(h @ w, y)
    program = sg.compile(sg.Graph({"loss": loss, "dh": sg.grad(loss, h), "dw": sg.grad(loss, w)}))
    matrix = columns()
    for count in (1, 200, 600):
        hidden, labels = rows(count), GENERATOR.integers(0, COLUMNS, count)
        logits = hidden.astype(np.float64) @ matrix
        error = softmax(logits)
        picked = np.log(error[np.arange(count), labels])
        error[np.arange(count), labels] -= 1.0
        expected = {
            "loss": -picked.mean(),
            "dh": error @ matrix.T.astype(np.float64) / count,
            "dw": hidden.T.astype(np.float64) @ error / count,
        }
        check(program, {"h": hidden, "w": matrix, "y": labels}, expected)
    assert program.plan(n=8192).peak_bytes < 1.1 * program.plan(n=1024).peak_bytes


@pytest.mark.parametrize("width", [WIDTH, 512])
def test_sums_over_rows_may_take_more_memory_than_the_product(width):
    """The gradient of a matrix of 512 x 33,000 is as large as the logits of 512 rows."""
    h, w = sg.input("h", (512, width), "float32"), sg.input("w", (width, COLUMNS), "float32")
    loss = sg.nn.cross_entropy(h @ w, sg.input("y", (512,), "int64"))
    graph = sg.Graph({"loss": loss, "dh": sg.grad(loss, h), "dw": sg.grad(loss, w)})
    assert in_chunks(sg.compile(graph)) == (width == WIDTH)


@pytest.mark.parametrize("columns_count", [COLUMNS, 33_013])  # no number divides a prime one
def test_a_budget_computes_logits_in_chunks_of_columns(columns_count):
    """Neither logits nor a second gradient of the matrix, as large as they are, is stored."""
    draw = np.random.default_rng(3)
    hidden = draw.standard_normal((512, 96)).astype(np.float32)
    matrix = draw.standard_normal((columns_count, 96)).astype(np.float32)
    matrix[: columns_count // 2] *= 3.0  # the first chunks have the larger maxima, of most rows
    labels = draw.integers(0, columns_count, 512)
    h, w = sg.input("h", hidden.shape, "float32"), sg.input("w", matrix.shape, "float32")
    loss = sg.nn.cross_entropy(h @ w.T, sg.input("y", (512,), "int64"))
    graph = sg.Graph({"loss": loss, "dh": sg.grad(loss, h), "dw": sg.grad(loss, w)})
    budget = 4_000_000 + (matrix.nbytes if columns_count % 2 else 0)
    program = sg.compile(graph, memory_budget=budget)
    logits = hidden.astype(np.float64) @ matrix.T
    assert arena(program) <= budget < logits.size * 4 // 4
    error = softmax(logits)
    log_likelihood = np.log(error[np.arange(512), labels])
    error[np.arange(512), labels] -= 1.0
    expected = {
        "loss": -log_likelihood.mean(),
        "dh": error @ matrix.astype(np.float64) / 512,
        "dw": error.T @ hidden.astype(np.float64) / 512,
    }
    check(program, {"h": hidden, "w": matrix, "y": labels}, expected)


@pytest.mark.slow
@pytest.mark.parametrize("width", [8, 512])
def test_products_are_computed_again_where_it_is_cheap_or_a_budget_asks(width):
    count = 4100
    a, b = (sg.input(name, (count, width), "float32") for name in "ab")
    labels = sg.arange(count)
    scores = a @ b.T / width
    loss = sg.nn.cross_entropy(scores, labels) + sg.nn.cross_entropy(scores.T, labels)
    graph = sg.Graph({"loss": loss, "da": sg.grad(loss, a), "db": sg.grad(loss, b)})
    free = sg.compile(graph)
    assert in_chunks(free) == (width == 8)
    small = sg.compile(graph, memory_budget="48MB")
    assert arena(small) <= 48_000_000 < scores.size * 4
    feeds = {name: rows(count * width // WIDTH).reshape(count, width) for name in "ab"}
    expected, results = free.run(feeds), small.run(feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(results[name], array, rtol=2e-4, atol=2e-6, err_msg=name)
