"""Small axes as values of their own: the same bits, one kernel, and only where that pays."""

import re

import numpy as np
import pytest

import staticgrad as sg
from passes.late.base import TOLERANCE
from passes.pipelines import PRICED, pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.indexing import Concat, Pad

ROWS = 7


def cross(a, b):
    return np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        axis=-1,
    )


def normalize(x):
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True))


def normals(a, b):
    return (cross(normalize(cross(a, b)), a) * b).sum()


def rotate(q, x):
    twice = 2.0 * cross(q[:, :3], x)
    return np.sin(x + q[:, 3:] * twice + cross(q[:, :3], twice)).sum()


def project(x, t):
    camera = np.stack([x[:, 0] - t[:, 0], x[:, 1] - t[:, 1], x[:, 2] ** 2 + 1.0], axis=1)
    uv = camera[:, :2] / camera[:, 2:]
    return (uv * (1.0 + 0.1 * (uv**2).sum(axis=1, keepdims=True))).sum()


def colours(x, y):
    matrix = np.array([[0.4, 0.4, 0.2], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]])
    linear = np.tanh((x[:, None, :] * matrix).sum(axis=-1))
    lab = np.stack([linear[:, 1], linear[:, 0] - linear[:, 1], linear[:, 2]], axis=-1)
    return ((lab - y) ** 2).max(axis=-1).sum()


def inverses(x, y):
    rows = [x + np.array([3.0, 0.0, 0.0]), y + np.array([0.0, 3.0, 0.0]), np.ones_like(x)]
    m = np.stack(rows, axis=1)
    cofactors = np.stack([cross(m[:, i - 2], m[:, i - 1]) for i in range(3)], axis=2)
    return np.sin(cofactors / (m[:, 0] * cofactors[:, :, 0]).sum(axis=-1)[:, None, None]).sum()


def in_front(x, y):
    """Vectors along the first axis, which the sum of a column adds one after the other."""
    a, b = x.T, y.T
    s = np.stack([a[0] * b[1], a[1] + b[2], a[2] * a[0]])[::-1]
    return np.tanh(s.sum(axis=0) * s[1:].max(axis=0)).sum()


def corners(x, y):
    """Triangles of points that indices name."""
    faces = np.array([[0, 1, 2], [3, 5, 4], [6, 0, 3], [2, 4, 6]])
    corner = np.take(x * y, faces, axis=0)
    return np.sqrt(((cross(corner[:, 1] - corner[:, 0], corner[:, 2])) ** 2).sum(-1) + 0.1).sum()


def turn(x, y):
    """Points turned by matrices that are made of vectors and multiplied."""
    zero = np.zeros_like(x[:, 0])
    rows = [
        np.stack([zero, -x[:, 2], x[:, 1]], axis=1),
        np.stack([x[:, 2], zero, -x[:, 0]], axis=1),
        np.stack([-x[:, 1], x[:, 0], zero], axis=1),
    ]
    k = np.stack(rows, axis=1)
    m = np.eye(3) + 0.3 * k + 0.1 * (k @ k) @ np.swapaxes(k, 1, 2)
    return np.tanh((m @ y[:, :, None])[:, :, 0]).sum()


PROGRAMS = {
    "normals": (normals, 3),
    "quaternions": (rotate, 4),
    "cameras": (project, 3),
    "colours": (colours, 3),
    "inverses": (inverses, 3),
    "products of matrices": (turn, 3),
    "vectors in front": (in_front, 3),
    "corners of triangles": (corners, 3),
}


def arguments(width, dtype=np.float64):
    random = np.random.default_rng(0)
    return [random.normal(size=(ROWS, n)).astype(dtype) for n in (width, 3)]


def joint_graph(function, arrays, rows="n"):
    """Return value and gradients of a function over matrices of a named number of rows."""
    values = [
        sg.input(name, (rows, array.shape[1]), array.dtype)
        for name, array in zip("ab", arrays, strict=True)
    ]
    value = function(*values)
    return sg.Graph(
        {"value": value, **dict(zip(("da", "db"), sg.grad(value, values), strict=True))}
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_vectors_have_the_bits_that_they_have_by_arrays(name, dtype):
    function, width = PROGRAMS[name]
    arrays = arguments(width, dtype)
    graph = joint_graph(function, arrays, ROWS if name == "corners of triangles" else "n")
    feeds = dict(zip("ab", arrays, strict=True))
    program, plain = sg.compile(graph), sg.compile(graph, disable=[PRICED])
    assert PRICED in {r.name for r in program.explanation().late if r.changed}
    results, expected = program.run(feeds), plain.run(feeds)
    for output, array in expected.items():
        assert same_bytes(results[output], array), output
    assert len(program.schedule.steps) < len(plain.schedule.steps)


def differences(function, arrays, place, step=1e-5):
    """Return the slopes of a function of arrays by one of them, from central differences."""
    slopes = np.empty_like(arrays[place])
    for index in np.ndindex(slopes.shape):
        ends = []
        for sign in (1, -1):
            copies = [array.copy() for array in arrays]
            copies[place][index] += sign * step
            ends.append(function(*copies))
        slopes[index] = (ends[0] - ends[1]) / (2 * step)
    return slopes


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients_are_those_of_numpy(name):
    function, width = PROGRAMS[name]
    arrays = arguments(width)
    value = sg.function(function)
    np.testing.assert_allclose(value(*arrays), function(*arrays), rtol=1e-12)
    for place, slopes in enumerate(sg.function(sg.grad(function, (0, 1)))(*arrays)):
        expected = differences(function, arrays, place)
        np.testing.assert_allclose(slopes, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["normals", "quaternions", "inverses"])
def test_second_derivatives_are_differences_of_the_first(name):
    function, width = PROGRAMS[name]
    arrays = arguments(width)
    gradient = sg.function(sg.grad(function))

    def along(a, b):
        return (sg.grad(function)(a, b) * sg.cos(a)).sum()

    for place, slopes in enumerate(sg.function(sg.grad(along, (0, 1)))(*arrays)):
        expected = differences(lambda a, b: (gradient(a, b) * np.cos(a)).sum(), arrays, place)
        np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-6)


def test_a_jacobian_of_each_row_is_that_by_hand():
    def polar(p):
        return np.stack([p[0] * np.sin(p[1]), p[0] * np.cos(p[1])])

    points = arguments(2)[0]
    r, t = points.T
    expected = [[np.sin(t), r * np.cos(t)], [np.cos(t), -r * np.sin(t)]]
    program = sg.function(sg.vmap(sg.jacobian(polar)))
    np.testing.assert_allclose(program(points), np.moveaxis(expected, -1, 0), rtol=1e-13)


@pytest.mark.parametrize("name", ["normals", "quaternions", "colours", "inverses"])
def test_a_gradient_by_vectors_is_one_kernel(name):
    function, width = PROGRAMS[name]
    arrays = arguments(width)
    graph = joint_graph(function, arrays)
    gradients = sg.Graph({name: graph.outputs[name] for name in ("da", "db")})
    assert len(sg.compile(gradients).schedule.steps) == 1


def test_neither_stacks_nor_pads_are_left_between_vectors():
    graph = pipeline("O1")(joint_graph(normals, arguments(3)))
    rewritten = pipeline("scalarization")(graph)
    verify_graph(rewritten)
    joins = [node for node in rewritten.nodes if isinstance(node.op, Concat | Pad)]
    assert [node.types[0].shape for node in joins] == [graph.outputs["da"].shape] * 2


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 3, 3), (2, 4, 3), (4, 3, 4)])
def test_small_products_have_the_bits_of_matrix_products(sizes, dtype):
    """Rounding errors of a sum of products show in which order, and how often, it was rounded."""
    rows, inner, columns = sizes
    random = np.random.default_rng(1)
    feeds = {
        "a": (8 * random.normal(size=(50, inner, rows))).astype(dtype),
        "b": (8 * random.normal(size=(50, columns, inner))).astype(dtype),
        "c": (8 * random.normal(size=(columns, rows))).astype(dtype),
    }
    feeds["a"][0], feeds["b"][0] = 0, -1
    a, b, c = (sg.input(name, array.shape, dtype) for name, array in feeds.items())
    product = sg.swapaxes(a, 1, 2) @ sg.swapaxes(b, 1, 2)
    graph = sg.Graph({"product": product, "chain": sg.abs(product @ c + 1)})
    rewritten = pipeline("O1,scalarization")(graph)
    assert not rewritten.has(MatMul)
    results = sg.compile(rewritten, disable=[PRICED]).run(feeds)
    for plain in (sg.compile(graph, disable=[PRICED]), sg.compile(graph, fuse=False)):
        for name, array in plain.run(feeds).items():
            assert same_bytes(results[name], array), name


def test_gradients_of_parts_of_a_row_of_parameters_are_one_kernel():
    """Eleven parameters of a camera: each formula reads some, and its gradient is a pad."""

    def image(c, x):
        y = cross(c[:, :3], x - c[:, 3:6])
        uv = y[:, :2] / (y[:, 2:] ** 2 + 1.0)
        near = 1.0 + c[:, 9:10] * (uv * uv).sum(axis=1, keepdims=True)
        return (np.tanh(uv * near * c[:, 6:7] + c[:, 7:9])).sum()

    random = np.random.default_rng(2)
    arrays = [random.normal(size=(ROWS, 11)), random.normal(size=(ROWS, 3))]
    graph = joint_graph(image, arrays)
    gradients = sg.Graph({name: graph.outputs[name] for name in ("da", "db")})
    program = sg.compile(gradients)
    assert max(len(step.label.split()) for step in program.schedule.steps) > 3
    assert len(program.schedule.steps) <= 3
    results = program.run(dict(zip("ab", arrays, strict=True)))
    for place, name in enumerate(gradients.outputs):
        expected = differences(image, arrays, place)
        np.testing.assert_allclose(results[name], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_product_alone_is_one_kernel_of_its_components(dtype):
    """It takes 0.3 (float32) to 0.6 of the time of a product of small matrices."""
    a, b = (sg.input(name, (50, 3, 3), dtype) for name in "ab")
    program = sg.compile(a @ b + 1)
    assert PRICED in {r.name for r in program.explanation().late if r.changed}
    assert len(program.schedule.steps) == 1
    feeds = {name: np.random.default_rng(0).normal(size=(50, 3, 3)).astype(dtype) for name in "ab"}
    expected = feeds["a"].astype("float64") @ feeds["b"].astype("float64") + 1
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(program.run(feeds), expected, rtol=tolerance, atol=tolerance)


def test_components_that_cost_more_than_they_save_are_left_out():
    x = sg.input("x", (4096, 4, 4), "float32")
    y = sg.concatenate([sg.sin(x[:, :2]), sg.cos(x[:, 2:])], axis=1) @ np.ones((4, 64), "f4")
    assert PRICED not in {r.name for r in sg.compile(y).explanation().late if r.changed}


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_slices_of_a_small_axis_may_be_empty(stop):
    x, flag = sg.input("x", (2, 2), "float64"), sg.input("flag", (), "bool")
    chosen = sg.where(flag, x + 1.0, np.nan)
    outputs = {"y": chosen[:stop, :1] * 2.0, "s": sg.sum(chosen[:stop, 0] * chosen[:stop, 1])}
    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    got = sg.compile(outputs).run({"x": array, "flag": True})
    np.testing.assert_array_equal(got["y"], (array[:stop, :1] + 1.0) * 2.0)
    assert got["s"] == ((array[:stop, 0] + 1.0) * (array[:stop, 1] + 1.0)).sum()


def unit_normals(p, q):
    normals = sg.cross(p, q)
    return normals / sg.sqrt((normals**2).sum(1, keepdims=True))


def products_of_pairs(p, q):
    pairs = sg.stack([p[:, 0] * q[:, 1], p[:, 1] - q[:, 0]], 1)
    return pairs @ sg.constant(np.ones((2, 40), "float32"))


@pytest.mark.parametrize(
    ("program", "rows", "decision"),
    [(unit_normals, 20000, "kept"), (products_of_pairs, 400, "left out")],
)
def test_explanations_say_both_prices(program, rows, decision):
    p, q = sg.input("p", (rows, 3)), sg.input("q", (rows, 3))
    y = program(p, q)
    text = str(sg.compile({"y": y, "slope": sg.grad((y * y).sum(), p)}).explain())
    note = re.search(r"scalarization: .*\n +(.*): predicted (\S+) us with it, (\S+) without", text)
    assert note[1] == decision
    # Components have to be faster by more than what predictions differ by without meaning.
    assert (float(note[2]) < float(note[3]) * (1 - TOLERANCE)) == (decision == "kept")
