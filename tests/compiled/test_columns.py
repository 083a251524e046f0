"""Arrays that are joined of columns: one kernel copies them, or computes and stores several."""

import numpy as np
import pytest

import staticgrad as sg

RANDOM = np.random.default_rng(0)
N = 300


def vectors(count, dtype="float64", size=N):
    return [RANDOM.normal(size=size).astype(dtype) for _ in range(count)]


def run(program, arrays, **options):
    inputs = [sg.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    compiled = sg.compile(program(sg, inputs), **options)
    feeds = {f"x{k}": a for k, a in enumerate(arrays)}
    return compiled, compiled.run({name: feeds[name] for name in compiled.graph.input_types})


def orbit(xp, x):
    """Columns of which each reads the one before."""
    columns = [x[0]]
    for k in range(1, len(x)):
        columns.append(xp.sin(columns[-1]) * 0.5 + x[k])
    return xp.stack(columns, axis=1)


#: Programs over a list of vectors, of NumPy's functions or ours.
PROGRAMS = {
    "copies": lambda xp, x: xp.stack(x, axis=1),
    "computed": lambda xp, x: xp.stack([v * v + k for k, v in enumerate(x)], axis=1),
    "copies and computed": lambda xp, x: xp.stack([*x[:2], *[v * 2.0 for v in x[2:]]], axis=1),
    "columns that read each other": orbit,
    "cross products": lambda xp, x: xp.stack(
        [x[1] * x[2] - x[0], x[2] * x[0] - x[1], x[0] * x[1] - x[2]], axis=-1
    ),
    "long formulas": lambda xp, x: xp.stack(
        [xp.sin(xp.exp(v) / (1.0 + xp.cos(v) ** 2)) for v in x], axis=1
    ),
    "with a column of ones": lambda xp, x: xp.stack([v * 0.0 + 1.0 for v in x[:1]] + x, axis=1),
    "columns of pairs": lambda xp, x: xp.concatenate(
        [xp.stack([v, v * 3.0], axis=1) for v in x], axis=1
    ),
    "in two arrays": lambda xp, x: (
        xp.stack([v + 1.0 for v in x], axis=1) + xp.stack([v * v for v in x[::-1]], axis=1)
    ),
    "rows of columns": lambda xp, x: xp.stack(
        [xp.reshape(v, (3, N // 3)) * 2.0 for v in x], axis=-1
    ),
    "on the first axis": lambda xp, x: xp.stack([v * 2.0 for v in x], axis=0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [3, 8, 35])
@pytest.mark.parametrize("name", PROGRAMS)
def test_values(name, count, dtype):
    arrays = vectors(count, dtype)
    _, result = run(PROGRAMS[name], arrays)
    tolerance = 1e-12 if dtype == "float64" else 5e-6
    expected = PROGRAMS[name](np, arrays)
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["copies", "computed", "cross products"])
def test_columns_of_one_array_are_one_kernel(name):
    compiled, _ = run(PROGRAMS[name], vectors(3))
    assert len(compiled.schedule.steps) == 1


def test_integers_and_bools_are_copied():
    integers = [RANDOM.integers(-9, 9, N).astype("int16") for _ in range(5)]
    _, result = run(lambda xp, x: xp.stack(x, axis=1), integers)
    np.testing.assert_array_equal(result, np.stack(integers, axis=1))
    flags = [RANDOM.random(N) > 0.5 for _ in range(5)]
    _, result = run(lambda xp, x: xp.stack(x, axis=1), flags)
    np.testing.assert_array_equal(result, np.stack(flags, axis=1))


@pytest.mark.parametrize("length", [1, 7, 16, 1000])
def test_named_sizes(length):
    inputs = [sg.input(f"x{k}", ("n",), "float64") for k in range(4)]
    compiled = sg.compile(sg.stack([*inputs, *[x * x for x in inputs]], axis=1))
    arrays = vectors(4, size=length)
    result = compiled.run({f"x{k}": a for k, a in enumerate(arrays)})
    np.testing.assert_array_equal(result, np.stack([*arrays, *[a * a for a in arrays]], axis=1))


def test_gradients_through_columns():
    arrays = vectors(3)
    inputs = [sg.input(f"x{k}", (N,), "float64") for k in range(3)]
    joined = PROGRAMS["cross products"](sg, inputs)
    weights = RANDOM.normal(size=(N, 3))
    slopes = sg.grad((joined * weights).sum(), inputs)
    compiled = sg.compile(sg.Graph({"joined": joined, **dict(zip("abc", slopes, strict=True))}))
    results = compiled.run({f"x{k}": a for k, a in enumerate(arrays)})
    a, b, c = arrays
    u, v, w = weights.T
    np.testing.assert_allclose(results["a"], -u + c * v + b * w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(results["b"], c * u - v + a * w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(results["c"], b * u + a * v - w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["copies", "columns of pairs", "with a column of ones"])
def test_limits_of_rows_are_no_conditions(name):
    """A row of one element has no loop of its own, however short rows may be."""
    arrays = vectors(4)
    with sg.options(limits={"copied_row": 1, "copied_rows": 1}):
        _, result = run(PROGRAMS[name], arrays)
    np.testing.assert_array_equal(result, PROGRAMS[name](np, arrays))
