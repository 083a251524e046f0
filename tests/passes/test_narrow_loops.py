"""Products inside of loops, whose factors ``narrow{products=True}`` rounds to bfloat16."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.types.dtype import as_dtype
from staticgrad.native.target import ladder
from tests.compiled.agreement import assert_same

PASSES = "O1,narrow{products=True, readers='all'}"


def round_numbers(array):
    """Return an array rounded to bfloat16, in float64."""
    return np.asarray(array, "f4").astype(as_dtype("bfloat16").numpy).astype("f8")


def draw(*shape):
    random = np.random.default_rng(shape)
    return (random.normal(size=shape) / np.sqrt(shape[-2])).astype("f4")


def recurrent(rows, width, transposed=False, times=9):
    """A recurrent layer as a scan, whose state is multiplied by one matrix in each step."""
    arrays = {"x": draw(times, rows, width) * 2, "u": draw(width, width)}
    x, u = (sg.input(name, array.shape, "float32") for name, array in arrays.items())

    def step(state, at):
        state = sg.tanh(at + state @ (u.T if transposed else u))
        return state, state

    _, states = sg.scan(step, x[0], x)
    return states, arrays


def exact_states(x, u):
    """Return the states of the layer in float64; factors of products are rounded."""
    state, states, matrix = x[0].astype("f8"), [], round_numbers(u)
    for at in x:
        state = np.tanh(at + round_numbers(state) @ matrix)
        states.append(state)
    return np.stack(states)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 64), (3, 72), (16, 128), (40, 130)])
def test_states_of_loops_are_multiplied_rounded(rows, width, transposed):
    states, arrays = recurrent(rows, width, transposed)
    program = sg.compile(sg.Graph({"y": states}), pipeline=PASSES, verify=True)
    matrix = arrays["u"].T if transposed else arrays["u"]
    exact = exact_states(arrays["x"], matrix)
    result = program.run(arrays)["y"]
    # a state in float32 may lie on the other side of the middle between two bfloat16 numbers
    np.testing.assert_allclose(result, exact, rtol=0, atol=6e-3)
    unrounded = sg.compile(sg.Graph({"y": states})).run(arrays)["y"]
    assert 2 * np.abs(result - exact).mean() < np.abs(unrounded - exact).mean()
    products = {p.dtype for p in sg.precision(program, arrays, products=True, runs=1).products}
    assert products == {"bfloat16"}


@pytest.mark.parametrize(
    ("kind", "rows", "width"),
    [("rnn", 1, 64), ("gru", 3, 66), ("lstm", 16, 64), ("lstm", 33, 80), ("rnn", 4, 65)],
)
def test_recurrent_layers_have_the_same_bytes_everywhere(kind, rows, width):
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    x = sg.input("x", (6, rows, 20), "float32")
    shapes = ((20, gates * width), (width, gates * width), (gates * width,))
    arrays = [draw(1, *shape)[0] for shape in shapes]
    weights = [sg.parameter(f"w{k}", array) for k, array in enumerate(arrays)]
    outputs, _ = getattr(sg.nn, kind)(x, *weights)
    slopes = sg.grad((outputs * outputs).sum(), weights)
    graph = sg.Graph({"y": outputs, **{f"slope{k}": slope for k, slope in enumerate(slopes)}})
    feeds = {"x": draw(6, rows, 20)}
    usual = sg.compile(graph, pipeline=PASSES, verify=True).run(feeds)
    exact = sg.compile(graph).run(feeds)
    for name, array in exact.items():
        scale = np.abs(array).max()
        np.testing.assert_allclose(usual[name], array, rtol=0, atol=4e-2 * scale)
    settings = [{"jit": False}] if rows < 16 else []
    settings += [{"target": "x86-64-v3"}] * (ladder()[-1].cpu == "x86-64-v3")
    for setting in settings:
        with sg.options(**setting):
            assert_same(sg.compile(graph, pipeline=PASSES).run(feeds), usual, f"{setting}")
    assert_same(sg.compile(graph, pipeline=PASSES, fuse=False).run(feeds), usual, "unfused")


@pytest.mark.parametrize("transposed", [False, True])
def test_pairs_of_a_matrix_are_made_in_front_of_the_loop(transposed):
    states, _ = recurrent(4, 64, transposed)
    text = str(sg.compile(sg.Graph({"y": states}), pipeline=PASSES).schedule)
    front, loop = text.split("  loop ", 1)
    assert "bitcast" in front
    assert loop.count("] in u32") == 1
    assert "f32[2048]" in front  # words of two numbers, in the order in which they are read


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("columns", "width"), [(1, 64), (3, 72), (8, 66), (40, 130)])
def test_a_matrix_on_the_left_is_rounded_in_front_of_the_loop(columns, width, transposed):
    """Its products are those of the transposed layer: the same bits."""
    arrays = {"x": draw(9, width, columns) * 2, "u": draw(width, width)}
    x, u = (sg.input(name, array.shape, "float32") for name, array in arrays.items())

    def step(state, at):
        state = sg.tanh(at + (u.T if transposed else u) @ state)
        return state, state

    _, states = sg.scan(step, x[0], x)
    slopes = sg.grad((states * states).sum(), u)
    graph = sg.Graph({"y": states, "slope": slopes})
    program = sg.compile(graph, pipeline=PASSES, verify=True)
    results = program.run(arrays)
    matrix = arrays["u"] if transposed else arrays["u"].T
    rows = arrays["x"].transpose(0, 2, 1)
    np.testing.assert_allclose(
        results["y"].transpose(0, 2, 1), exact_states(rows, matrix), rtol=0, atol=6e-3
    )
    exact = sg.compile(graph).run(arrays)["slope"]
    np.testing.assert_allclose(results["slope"], exact, rtol=0, atol=4e-2 * np.abs(exact).max())
    forward = sg.compile(sg.Graph({"y": states}), pipeline=PASSES)
    products = sg.precision(forward, arrays, products=True, runs=1).products
    assert {product.dtype for product in products} == {"bfloat16"}
    layer, _ = recurrent(columns, width, not transposed)
    twin = sg.compile(sg.Graph({"y": layer}), pipeline=PASSES)
    same = twin.run({"x": rows.copy(), "u": arrays["u"]})["y"]
    assert_same({"y": results["y"].transpose(0, 2, 1).copy()}, {"y": same}, "rows")


def test_small_matrices_in_loops_stay_as_they_are():
    states, arrays = recurrent(4, 32)
    graph = sg.Graph({"y": states})
    results = sg.compile(graph, pipeline="O1,narrow{products=True}").run(arrays)
    assert_same(results, sg.compile(graph).run(arrays), "small matrices")


def test_products_of_slices_are_rounded():
    arrays = {"x": draw(3, 64, 80), "w": draw(3, 80, 96)}
    x, w = (sg.input(name, array.shape, "float32") for name, array in arrays.items())
    total, _ = sg.scan(
        lambda c, at: (c + at[0] @ at[1], None), sg.zeros((64, 96), "float32"), (x, w)
    )
    program = sg.compile(sg.Graph({"y": total}), pipeline=PASSES, verify=True)
    exact = sum(round_numbers(a) @ round_numbers(b) for a, b in zip(*arrays.values(), strict=True))
    np.testing.assert_allclose(program.run(arrays)["y"], exact, rtol=0, atol=2e-5)


def test_scopes_choose_products_of_loops():
    arrays = {"x": draw(5, 4, 64), "u": draw(64, 64)}
    x, u = (sg.input(name, array.shape, "float32") for name, array in arrays.items())

    def step(state, at):
        with sg.scope("exact"):
            return sg.tanh(at + state @ u), None

    graph = sg.Graph({"y": sg.scan(step, x[0], x)[0]})
    passes = "O1,narrow{products=True, scopes='!exact'}"
    assert_same(sg.compile(graph, pipeline=passes).run(arrays), sg.compile(graph).run(arrays), "")
